"""The log: what reached the stand-in, and how it ended on its side."""

import json
from typing import Any

import pytest

from loadtest.provider import KINDS, Fault, Outcome, StandIn
from tests.loadtest.provider.wire_client import ask, chat, connected, request

HANGING = {"silence", "stall", "keepalives", "role_only"}


async def test_a_record_holds_what_was_asked_and_how_it_ended(
    provider: StandIn,
) -> None:
    body = chat(model="some/model", stream=True, user="somebody")
    await ask(provider, body, headers={"X-Request-Id": "req_1"})

    [record] = await provider.settled(1)
    assert (record.method, record.path) == ("POST", "/v1/chat/completions")
    assert (record.model, record.stream, record.fault) == ("some/model", True, None)
    assert (record.status, record.outcome) == (200, Outcome.ANSWERED)
    assert record.tokens_sent == 8
    assert record.body == body
    assert record.headers["x-request-id"] == "req_1"
    assert record.ended_at is not None
    assert record.at <= record.ended_at


@pytest.mark.parametrize("kind", KINDS)
async def test_every_fault_is_logged_with_how_it_ended(
    provider: StandIn, stream: bool, kind: str
) -> None:
    quick = {"slow_headers": "delay_s", "slow_first_token": "delay_s"}
    quick |= {"dribble": "interval_s"}
    given: dict[str, Any] = {quick[kind]: 0.001} if kind in quick else {}
    provider.fault = Fault(kind, **given)

    async with connected(provider) as wire:
        await wire.send(request(chat(stream=stream), headers={"connection": "close"}))
        if kind in HANGING:
            await provider.until(lambda p: p.requests_in_flight == 1)
        else:
            await wire.drain()

    [record] = await provider.settled(1)
    gone = kind in HANGING
    assert record.fault == kind
    assert record.outcome is (Outcome.CLIENT_GONE if gone else Outcome.FAULTED)


async def test_a_client_that_goes_is_noticed_with_the_tokens_sent_so_far() -> None:
    async with StandIn(tokens=1000, tokens_per_s=100) as provider:
        async with connected(provider) as wire:
            await wire.send(request(chat(stream=True)))
            await wire.receive(least=b" alpha-2")
        [record] = await provider.settled(1)

    assert record.outcome is Outcome.CLIENT_GONE
    assert 3 <= record.tokens_sent < 1000
    assert record.fault is None


async def test_a_client_that_goes_before_the_first_token_got_nothing() -> None:
    async with StandIn(first_token_s=60) as provider:
        async with connected(provider) as wire:
            await wire.send(request(chat(stream=True)))
            await provider.until(lambda p: p.requests_in_flight == 1)
        [record] = await provider.settled(1)

    assert record.outcome is Outcome.CLIENT_GONE
    assert (record.status, record.tokens_sent) == (None, 0)


async def test_a_client_that_does_not_read_holds_the_answer_open(
    provider: StandIn,
) -> None:
    provider.fault = Fault("huge", size_bytes=32 * 2**20)

    async with connected(provider) as wire:
        await wire.send(request(chat()))
        await provider.until(lambda p: len(p.log) == 1 and p.log[0].status == 200)
        assert provider.log[0].outcome is Outcome.IN_FLIGHT
    [record] = await provider.settled(1)

    assert record.outcome is Outcome.CLIENT_GONE


async def test_a_refused_request_is_answered_with_its_status(
    provider: StandIn,
) -> None:
    await ask(provider, b"{not json")
    await ask(provider, chat(model="fault.nonsense"))

    first, second = await provider.settled(2)
    assert (first.status, first.outcome, first.body) == (400, Outcome.ANSWERED, None)
    assert (second.status, second.fault) == (400, None)


async def test_control_and_liveness_requests_are_not_logged(
    provider: StandIn,
) -> None:
    await ask(provider, method="GET", path="/livez")
    await ask(provider, method="GET", path="/control/log")

    assert provider.log == []


async def test_the_control_endpoint_shows_the_log_and_the_counts(
    provider: StandIn,
) -> None:
    provider.fault = Fault("reset", times=1)
    await ask(provider, chat(model="first"))
    await ask(provider, chat(model="second"))
    seen = await ask(provider, method="GET", path="/control/log")

    assert [row["model"] for row in seen.json["requests"]] == ["first", "second"]
    [row, _] = seen.json["requests"]
    assert (row["fault"], row["status"], row["outcome"]) == ("reset", None, "faulted")
    assert seen.json["count"] == 2
    assert seen.json["outcomes"] == {"faulted": 1, "answered": 1}
    assert seen.json["requests_in_flight"] == 0
    assert seen.json["connections_total"] == 3


async def test_the_log_can_be_limited_to_the_newest(provider: StandIn) -> None:
    for model in "abc":
        await ask(provider, chat(model=model))

    async def models(query: str) -> list[str]:
        path = f"/control/log?limit={query}"
        seen = await ask(provider, method="GET", path=path)
        return [row["model"] for row in seen.json["requests"]]

    assert await models("2") == ["b", "c"]
    assert await models("0") == []
    assert await models("99") == ["a", "b", "c"]
    wrong = await ask(provider, method="GET", path="/control/log?limit=x")
    assert wrong.status == 400


async def test_the_log_can_be_emptied(provider: StandIn) -> None:
    await ask(provider, chat())
    await ask(provider, method="DELETE", path="/control/log")
    seen = await ask(provider, method="GET", path="/control/log")

    assert (seen.json["requests"], seen.json["count"]) == ([], 0)


async def test_the_log_is_bounded_and_the_count_is_not() -> None:
    async with StandIn(log_limit=2) as provider:
        for model in "abc":
            await ask(provider, chat(model=model))
        seen = await ask(provider, method="GET", path="/control/log")

    assert [row["model"] for row in seen.json["requests"]] == ["b", "c"]
    assert seen.json["count"] == 3


async def test_a_body_too_large_to_keep_is_answered_but_not_kept(
    provider: StandIn,
) -> None:
    text = "word " * 100_000
    body = chat() | {"messages": [{"role": "user", "content": text}]}
    seen = await ask(provider, json.dumps(body).encode())

    assert seen.json["usage"]["prompt_tokens"] > 100_000
    assert provider.log[0].body is None


async def test_requests_on_one_connection_count_as_one_connection(
    provider: StandIn,
) -> None:
    async with connected(provider) as wire:
        for _ in range(3):
            await wire.send(request(chat()))
            await wire.receive(least=b"alpha-7")
        assert provider.connections_open == 1

    await provider.until(lambda p: p.connections_open == 0)
    assert provider.connections_total == 1
    assert len(provider.log) == 3
