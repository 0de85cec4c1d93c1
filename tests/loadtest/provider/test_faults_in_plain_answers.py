"""What each fault does to a plain answer, seen from the other end of the socket."""

import json

import pytest

from loadtest.provider import Fault, Outcome, StandIn
from tests.loadtest.provider.wire_client import Seen, ask, chat, connected, request

PLAIN = chat()
TEXT = "alpha-0 alpha-1 alpha-2 alpha-3 alpha-4 alpha-5 alpha-6 alpha-7"


def content(seen: Seen) -> str:
    text: str = json.loads(seen.sent_body)["choices"][0]["message"]["content"]
    return text


@pytest.mark.parametrize(("how", "end"), [("reset", "reset"), ("fin", "fin")])
@pytest.mark.parametrize("after", [0, 3, 8, 100])
async def test_cut_ends_before_the_declared_length(
    provider: StandIn, how: str, end: str, after: int
) -> None:
    provider.fault = Fault("cut", after_tokens=after, how=how)

    seen = await ask(provider, PLAIN)

    declared = int(seen.headers["content-length"])
    share = min(declared * after // 8, declared - 1)
    assert (seen.status, seen.end) == (200, end)
    assert len(seen.sent_body) == share
    [record] = await provider.settled(1)
    assert record.tokens_sent == min(after, 8)
    assert record.outcome is Outcome.FAULTED


async def test_reset_mid_body_resets_after_half(provider: StandIn) -> None:
    provider.fault = Fault("reset_mid_body")

    seen = await ask(provider, PLAIN)

    assert seen.end == "reset"
    assert len(seen.sent_body) == int(seen.headers["content-length"]) // 2


async def test_truncate_declares_more_than_it_sends(provider: StandIn) -> None:
    provider.fault = Fault("truncate")

    seen = await ask(provider, PLAIN)

    assert seen.end == "fin"
    assert len(seen.sent_body) < int(seen.headers["content-length"])
    assert content(seen) == TEXT


async def test_stall_sends_a_share_of_the_body_and_stays_open(
    provider: StandIn,
) -> None:
    provider.fault = Fault("stall", after_tokens=4)

    async with connected(provider) as wire:
        await wire.send(request(PLAIN))
        got = await wire.receive(least=b"\r\n\r\n{")
        assert await wire.is_quiet()
        assert provider.requests_in_flight == 1

    body = Seen(got, "fin").sent_body
    assert len(body) == int(Seen(got, "fin").headers["content-length"]) // 2
    [record] = await provider.settled(1)
    assert record.outcome is Outcome.CLIENT_GONE


async def test_malformed_is_a_complete_body_that_is_broken_json(
    provider: StandIn,
) -> None:
    provider.fault = Fault("malformed")

    seen = await ask(provider, PLAIN)

    assert seen.status == 200
    assert seen.complete
    with pytest.raises(json.JSONDecodeError):
        json.loads(seen.sent_body)


async def test_no_done_leaves_it_to_the_fin_to_end_the_body(
    provider: StandIn,
) -> None:
    provider.fault = Fault("no_done")

    seen = await ask(provider, PLAIN)

    assert seen.end == "fin"
    assert not seen.headers.keys() & {"content-length", "transfer-encoding"}
    assert content(seen) == TEXT


async def test_no_finish_has_no_finish_reason(provider: StandIn) -> None:
    provider.fault = Fault("no_finish")

    seen = await ask(provider, PLAIN)

    assert seen.json["choices"][0]["finish_reason"] is None
    assert content(seen) == TEXT


async def test_error_frame_is_an_error_object_inside_a_200(
    provider: StandIn,
) -> None:
    provider.fault = Fault("error_frame", error_code="overloaded")

    seen = await ask(provider, PLAIN)

    assert seen.status == 200
    assert seen.json["error"]["code"] == "overloaded"


async def test_keepalives_send_white_space_and_never_json(provider: StandIn) -> None:
    provider.fault = Fault("keepalives", interval_s=0.005)

    async with connected(provider) as wire:
        await wire.send(request(PLAIN))
        got = await wire.receive(least=b"\r\n\r\n")
        while len(Seen(got, "fin").chunks) < 4:
            got += await wire.receive()

    assert b"".join(Seen(got, "fin").chunks).strip() == b""
    [record] = await provider.settled(1)
    assert (record.outcome, record.tokens_sent) == (Outcome.CLIENT_GONE, 0)


async def test_role_only_sends_the_first_byte_and_then_nothing(
    provider: StandIn,
) -> None:
    provider.fault = Fault("role_only")

    async with connected(provider) as wire:
        await wire.send(request(PLAIN))
        got = await wire.receive(least=b"\r\n\r\n{")
        assert await wire.is_quiet()

    assert Seen(got, "fin").sent_body == b"{"
    [record] = await provider.settled(1)
    assert record.outcome is Outcome.CLIENT_GONE


async def test_dribble_sends_one_piece_and_then_waits(provider: StandIn) -> None:
    provider.fault = Fault("dribble", interval_s=30)

    async with connected(provider) as wire:
        await wire.send(request(PLAIN))
        got = Seen(await wire.receive(least=b"\r\n\r\n{"), "fin")
        assert await wire.is_quiet()

    assert len(got.sent_body) == int(got.headers["content-length"]) // 8


async def test_dribble_reaches_the_end_of_the_body(provider: StandIn) -> None:
    provider.fault = Fault("dribble", interval_s=0.001)

    seen = await ask(provider, PLAIN)

    assert seen.complete
    assert content(seen) == TEXT


async def test_empty_has_no_content(provider: StandIn) -> None:
    provider.fault = Fault("empty")

    seen = await ask(provider, PLAIN)

    assert content(seen) == ""
    assert seen.json["choices"][0]["finish_reason"] == "stop"
    assert seen.json["usage"]["completion_tokens"] == 0


async def test_huge_is_longer_by_the_given_size(provider: StandIn) -> None:
    provider.fault = Fault("huge", size_bytes=3_000_000)

    seen = await ask(provider, PLAIN)

    assert len(content(seen)) == len(TEXT) + 3_000_000


EMBEDDING = {"model": "any", "input": "one"}


@pytest.mark.parametrize("kind", ["cut", "truncate", "stall", "reset_mid_body"])
async def test_an_answer_without_tokens_is_broken_off_as_well(
    provider: StandIn, kind: str
) -> None:
    provider.fault = Fault(kind)

    async with connected(provider) as wire:
        await wire.send(request(EMBEDDING, path="/v1/embeddings"))
        got = Seen(await wire.receive(least=b"\r\n\r\n{"), "fin")

    assert got.status == 200
    assert not got.complete


async def test_huge_makes_an_embedding_as_large(provider: StandIn) -> None:
    provider.fault = Fault("huge", size_bytes=100_000)

    seen = await ask(provider, EMBEDDING, path="/v1/embeddings")

    assert len(seen.sent_body) > 100_000


async def test_an_answer_without_tokens_is_malformed_or_empty_as_well(
    provider: StandIn,
) -> None:
    provider.fault = Fault("malformed")
    broken = await ask(provider, EMBEDDING, path="/v1/embeddings")
    provider.fault = Fault("empty")
    empty = await ask(provider, EMBEDDING, path="/v1/embeddings")
    models = await ask(provider, method="GET", path="/v1/models")

    with pytest.raises(json.JSONDecodeError):
        json.loads(broken.sent_body)
    assert empty.json["data"] == []
    assert models.json["data"] == []
