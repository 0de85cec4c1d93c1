"""What each fault does to a stream, seen from the other end of the socket."""

import json

import pytest

from loadtest.provider import Fault, Outcome, StandIn
from tests.loadtest.provider.wire_client import ask, chat, connected, request

STREAM = chat(stream=True)
ALL_TOKENS = ["alpha-0", *(f" alpha-{i}" for i in range(1, 8))]


@pytest.mark.parametrize(("how", "end"), [("reset", "reset"), ("fin", "fin")])
@pytest.mark.parametrize("after", [0, 1, 5, 8, 100])
async def test_cut_ends_between_events_without_the_last_chunk(
    provider: StandIn, how: str, end: str, after: int
) -> None:
    provider.fault = Fault("cut", after_tokens=after, how=how)

    seen = await ask(provider, STREAM)

    assert seen.status == 200
    assert seen.end == end
    assert not seen.complete
    assert seen.tokens == ALL_TOKENS[:after]
    assert b"".join(seen.chunks).endswith(b"\n\n")
    [record] = await provider.settled(1)
    assert record.tokens_sent == min(after, 8)
    assert record.outcome is Outcome.FAULTED


async def test_reset_mid_body_tears_an_event_in_two(provider: StandIn) -> None:
    provider.fault = Fault("reset_mid_body")

    seen = await ask(provider, STREAM)

    assert seen.end == "reset"
    assert not seen.complete
    assert seen.tokens == ALL_TOKENS[:4]
    torn = seen.raw.rpartition(b"\n\n")[2].partition(b"data: ")[2]
    assert torn.startswith(b'{"id"')
    assert b"alpha-4" not in torn


async def test_truncate_declares_more_than_it_sends(provider: StandIn) -> None:
    provider.fault = Fault("truncate")

    seen = await ask(provider, STREAM)

    assert seen.end == "fin"
    assert not seen.complete
    assert seen.tokens == ALL_TOKENS
    assert seen.raw.endswith(b"\n\n")


@pytest.mark.parametrize("after", [0, 3])
async def test_stall_sends_some_tokens_and_stays_open(
    provider: StandIn, after: int
) -> None:
    provider.fault = Fault("stall", after_tokens=after)

    async with connected(provider) as wire:
        await wire.send(request(STREAM))
        got = await wire.receive(least=b"alpha-2" if after else b"assistant")
        assert await wire.is_quiet()
        assert provider.log[0].tokens_sent == after
        assert provider.requests_in_flight == 1

    assert got.count(b"alpha-") - got.count(b"-alpha-") >= after
    [record] = await provider.settled(1)
    assert record.outcome is Outcome.CLIENT_GONE


async def test_malformed_is_one_broken_event_and_then_the_rest(
    provider: StandIn,
) -> None:
    provider.fault = Fault("malformed", after_tokens=2)

    seen = await ask(provider, STREAM)

    assert seen.complete
    assert seen.tokens == ALL_TOKENS
    assert seen.events[-1] == "[DONE]"
    with pytest.raises(json.JSONDecodeError):
        json.loads(seen.events[3])


async def test_no_done_ends_cleanly_after_the_finish_reason(
    provider: StandIn,
) -> None:
    provider.fault = Fault("no_done")

    seen = await ask(provider, STREAM)

    assert seen.complete
    assert seen.tokens == ALL_TOKENS
    assert json.loads(seen.events[-1])["choices"][0]["finish_reason"] == "stop"


async def test_no_finish_ends_cleanly_with_the_last_token(provider: StandIn) -> None:
    provider.fault = Fault("no_finish")

    seen = await ask(provider, STREAM)

    assert seen.complete
    assert seen.tokens == ALL_TOKENS
    assert len(seen.events) == 1 + 8


@pytest.mark.parametrize("after", [0, 3])
@pytest.mark.parametrize("done", [True, False])
async def test_error_frame_comes_inside_a_200_that_ends_cleanly(
    provider: StandIn, after: int, done: bool
) -> None:
    provider.fault = Fault(
        "error_frame", after_tokens=after, error_code="overloaded", done=done
    )

    seen = await ask(provider, STREAM)

    assert seen.status == 200
    assert seen.complete
    assert seen.tokens == ALL_TOKENS[:after]
    error = json.loads(seen.events[1 + after])["error"]
    assert error["code"] == "overloaded"
    assert seen.events[2 + after :] == (["[DONE]"] if done else [])


async def test_keepalives_send_comments_and_never_content(provider: StandIn) -> None:
    provider.fault = Fault("keepalives", interval_s=0.005)

    async with connected(provider) as wire:
        await wire.send(request(STREAM))
        got = await wire.receive(least=b": keep-alive\n\n")
        while got.count(b": keep-alive\n\n") < 4:
            got += await wire.receive()

    assert b"data:" not in got
    [record] = await provider.settled(1)
    assert (record.outcome, record.tokens_sent) == (Outcome.CLIENT_GONE, 0)


async def test_role_only_sends_the_role_and_then_nothing(provider: StandIn) -> None:
    provider.fault = Fault("role_only")

    async with connected(provider) as wire:
        await wire.send(request(STREAM))
        got = await wire.receive(least=b'"role":"assistant"')
        assert await wire.is_quiet()

    assert b"alpha-0 " not in got
    [record] = await provider.settled(1)
    assert (record.outcome, record.tokens_sent) == (Outcome.CLIENT_GONE, 0)


async def test_dribble_sends_one_token_and_then_waits(provider: StandIn) -> None:
    provider.fault = Fault("dribble", interval_s=30)

    async with connected(provider) as wire:
        await wire.send(request(STREAM))
        await wire.receive(least=b'"alpha-0"')
        assert await wire.is_quiet()
        assert provider.log[0].tokens_sent == 1


async def test_dribble_reaches_the_end_of_the_stream(provider: StandIn) -> None:
    provider.fault = Fault("dribble", interval_s=0.001)

    seen = await ask(provider, STREAM)

    assert seen.complete
    assert seen.tokens == ALL_TOKENS
    assert seen.events[-1] == "[DONE]"


async def test_empty_finishes_without_any_content(provider: StandIn) -> None:
    provider.fault = Fault("empty")

    seen = await ask(
        provider, chat(stream=True, stream_options={"include_usage": True})
    )

    assert seen.complete
    assert seen.tokens == []
    assert seen.events[-1] == "[DONE]"
    assert json.loads(seen.events[-3])["choices"][0]["finish_reason"] == "stop"
    assert json.loads(seen.events[-2])["usage"]["completion_tokens"] == 0


async def test_huge_puts_one_very_large_event_among_the_others(
    provider: StandIn,
) -> None:
    provider.fault = Fault("huge", size_bytes=3_000_000)

    seen = await ask(provider, STREAM)

    assert seen.complete
    assert [len(token) > 3_000_000 for token in seen.tokens] == [
        at == 1 for at in range(8)
    ]
