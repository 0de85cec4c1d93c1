"""Faults that need no content: a plain call and a stream see the same."""

import pytest

from loadtest.provider import Fault, Outcome, StandIn
from tests.loadtest.provider.wire_client import ask, chat, connected, request

ERRORS = [
    (400, "invalid_request_error", "invalid_value"),
    (401, "invalid_request_error", "invalid_api_key"),
    (403, "request_forbidden", "unsupported_country_region_territory"),
    (404, "invalid_request_error", "model_not_found"),
    (413, "invalid_request_error", "request_too_large"),
    (422, "invalid_request_error", None),
    (429, "requests", "rate_limit_exceeded"),
    (500, "server_error", None),
    (502, "server_error", None),
    (503, "service_unavailable_error", "server_is_overloaded"),
    (504, "server_error", None),
    (529, "overloaded_error", "overloaded"),
    (418, "invalid_request_error", None),
    (599, "server_error", None),
]


@pytest.mark.parametrize(("status", "kind", "code"), ERRORS)
async def test_status_answers_with_the_providers_own_error_body(
    provider: StandIn, stream: bool, status: int, kind: str, code: str | None
) -> None:
    provider.fault = Fault("status", code=status)

    seen = await ask(provider, chat(stream=stream))

    assert seen.status == status
    assert "retry-after" not in seen.headers
    error = seen.json["error"]
    assert (error["type"], error["code"]) == (kind, code)
    [record] = await provider.settled(1)
    assert (record.status, record.outcome) == (status, Outcome.FAULTED)


@pytest.mark.parametrize(("given_s", "header"), [(2, "2"), (0.5, "0.5"), (0, "0")])
async def test_status_sends_retry_after_when_told(
    provider: StandIn, stream: bool, given_s: float, header: str
) -> None:
    provider.fault = Fault("status", code=429, retry_after_s=given_s)

    seen = await ask(provider, chat(stream=stream))

    assert seen.headers["retry-after"] == header


async def test_status_can_carry_another_error_code(provider: StandIn) -> None:
    provider.fault = Fault("status", code=429, error_code="insufficient_quota")

    error = (await ask(provider, chat())).json["error"]

    assert error["code"] == "insufficient_quota"
    assert error["type"] == "insufficient_quota"


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        ("context_length", "context_length_exceeded"),
        ("content_filter", "content_filter"),
    ],
)
async def test_refusals_of_the_content_are_400_with_their_code(
    provider: StandIn, stream: bool, kind: str, code: str
) -> None:
    provider.fault = Fault(kind)

    seen = await ask(provider, chat(stream=stream))

    assert seen.status == 400
    assert seen.json["error"]["code"] == code


@pytest.mark.parametrize(("kind", "end"), [("reset", "reset"), ("close", "fin")])
async def test_the_connection_ends_before_any_header(
    provider: StandIn, stream: bool, kind: str, end: str
) -> None:
    provider.fault = Fault(kind)

    seen = await ask(provider, chat(stream=stream))

    assert seen.raw == b""
    assert seen.end == end
    [record] = await provider.settled(1)
    assert (record.status, record.outcome) == (None, Outcome.FAULTED)


async def test_silence_reads_the_request_and_never_answers(
    provider: StandIn, stream: bool
) -> None:
    provider.fault = Fault("silence")

    async with connected(provider) as wire:
        await wire.send(request(chat(stream=stream)))
        await provider.until(lambda p: len(p.log) == 1)
        assert await wire.is_quiet()
        assert provider.log[0].outcome is Outcome.IN_FLIGHT

    [record] = await provider.settled(1)
    assert (record.status, record.outcome) == (None, Outcome.CLIENT_GONE)


async def test_slow_headers_sends_nothing_until_the_delay_is_over(
    provider: StandIn, stream: bool
) -> None:
    provider.fault = Fault("slow_headers", delay_s=30)

    async with connected(provider) as wire:
        await wire.send(request(chat(stream=stream)))
        assert await wire.is_quiet()

    [record] = await provider.settled(1)
    assert (record.status, record.outcome) == (None, Outcome.CLIENT_GONE)


async def test_slow_first_token_sends_the_headers_at_once_and_nothing_else(
    provider: StandIn, stream: bool
) -> None:
    provider.fault = Fault("slow_first_token", delay_s=30)

    async with connected(provider) as wire:
        await wire.send(request(chat(stream=stream)))
        start = await wire.receive(least=b"\r\n\r\n")
        assert await wire.is_quiet()

    assert start.endswith(b"\r\n\r\n")
    [record] = await provider.settled(1)
    assert (record.status, record.tokens_sent) == (200, 0)


@pytest.mark.parametrize("kind", ["slow_headers", "slow_first_token"])
async def test_after_the_delay_the_whole_answer_follows(
    provider: StandIn, stream: bool, kind: str
) -> None:
    provider.fault = Fault(kind, delay_s=0.001)

    seen = await ask(provider, chat(stream=stream))

    assert seen.status == 200
    assert seen.complete
    assert b"alpha-7" in seen.raw
    assert provider.log[0].tokens_sent == 8


async def test_garbled_is_a_200_with_a_page(provider: StandIn, stream: bool) -> None:
    provider.fault = Fault("garbled")

    seen = await ask(provider, chat(stream=stream))

    assert seen.status == 200
    assert seen.complete
    assert seen.headers["content-type"].startswith("text/html")
    assert seen.sent_body.startswith(b"<!doctype html>")


async def test_garbled_can_pretend_to_be_what_was_asked_for(
    provider: StandIn, stream: bool
) -> None:
    provider.fault = Fault("garbled", how="mislabelled")

    seen = await ask(provider, chat(stream=stream))

    expected = "text/event-stream" if stream else "application/json"
    assert seen.headers["content-type"].startswith(expected)
    assert seen.sent_body.startswith(b"<!doctype html>")
