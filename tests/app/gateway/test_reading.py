"""A provider's stream is read to its honest end."""

import asyncio
from typing import Any

import pytest

from app.domain import Chunk, Usage
from app.errors import StreamBroken, UpstreamError, UpstreamGarbled
from app.gateway.reading import ChunkReader
from app.providers.openai import OpenAIProvider
from tests.app.gateway.streams import (
    BILL,
    DONE,
    HEL,
    LO,
    ROLE,
    STOP,
    WHOLE,
    Scripted,
    chunk,
    event,
)

BROKEN = event({"error": {"message": "node died"}})
LOST = StreamBroken(detail="reset")


def reader_of(*steps: Any, **options: Any) -> tuple[ChunkReader, Scripted]:
    body = Scripted(*steps)
    return ChunkReader(body, OpenAIProvider(), **options), body


async def read(*steps: Any, **options: Any) -> tuple[list[Chunk], ChunkReader]:
    reader, _ = reader_of(*steps, **options)
    return [chunk async for chunk in reader], reader


def raws(chunks: list[Chunk]) -> list[bytes]:
    return [chunk.raw for chunk in chunks]


def now_s() -> float:
    return asyncio.get_running_loop().time()


async def test_chunks_are_handed_over_as_they_came_without_the_sentinel() -> None:
    chunks, reader = await read(*WHOLE)
    assert raws(chunks) == list(WHOLE[:-1])
    assert reader.finish_reason == "stop"
    assert reader.usage == Usage(7, 2)
    assert reader.skipped == 0


async def test_the_stream_may_be_cut_into_pieces_anywhere() -> None:
    whole = b"".join(WHOLE)
    for cut in range(len(whole) + 1):
        chunks, _ = await read(whole[:cut], whole[cut:])
        assert raws(chunks) == list(WHOLE[:-1])


async def test_it_may_come_byte_by_byte() -> None:
    whole = b"".join(WHOLE)
    chunks, _ = await read(*(whole[i : i + 1] for i in range(len(whole))))
    assert raws(chunks) == list(WHOLE[:-1])


async def test_comments_are_passed_on() -> None:
    chunks, _ = await read(b": wait\n\n", HEL, STOP, DONE)
    assert raws(chunks) == [b": wait\n\n", HEL, STOP]


async def test_it_stays_at_its_end() -> None:
    reader, _ = reader_of(*WHOLE)
    assert len([chunk async for chunk in reader]) == 5
    assert [chunk async for chunk in reader] == []


# --- Complete, or not -------------------------------------------------------------


@pytest.mark.parametrize(
    "steps",
    [
        (HEL, STOP),
        (HEL, STOP, BILL),
        (HEL, DONE),
        (HEL, DONE[:-1]),
        (HEL, b"data: [DONE]"),
        (HEL, STOP, b"data: [DO"),
        (HEL, STOP, b'data: {"choices": [], "us'),
        (HEL, STOP, DONE, b"data: anything\n\n"),
    ],
    ids=lambda steps: repr(b"".join(steps)[-20:]),
)
async def test_a_finish_reason_or_the_sentinel_makes_it_complete(steps: Any) -> None:
    chunks, _ = await read(*steps)
    assert chunks[0].raw == HEL


@pytest.mark.parametrize(
    "steps", [(), (ROLE,), (HEL, LO), (HEL, STOP[:-2]), (HEL, b"data: [DON")]
)
async def test_an_end_without_either_has_broken_it(steps: Any) -> None:
    with pytest.raises(StreamBroken):
        await read(*steps)


async def test_every_choice_that_was_asked_for_must_finish() -> None:
    first, second = chunk("a", finish="stop"), chunk("b", index=1, finish="length")
    chunks, reader = await read(first, second, choices=2)
    assert len(chunks) == 2
    assert reader.finish_reason == "length"
    with pytest.raises(StreamBroken):
        await read(first, chunk("b", index=1), choices=2)


async def test_a_choice_that_finishes_twice_does_not_finish_another() -> None:
    again = chunk(finish="stop")
    with pytest.raises(StreamBroken):
        await read(chunk("a", finish="stop"), again, chunk("b", index=1), choices=2)


async def test_an_error_of_the_body_goes_on_as_it_is() -> None:
    with pytest.raises(StreamBroken) as caught:
        await read(HEL, LOST)
    assert caught.value is LOST


async def test_a_bodys_own_timeout_is_no_end() -> None:
    with pytest.raises(TimeoutError):
        await read(HEL, TimeoutError())


async def test_an_error_frame_breaks_it() -> None:
    reader, _ = reader_of(HEL, BROKEN, LO, STOP)
    assert (await anext(reader)).raw == HEL
    with pytest.raises(StreamBroken):
        await anext(reader)


@pytest.mark.parametrize(
    "after", [(BROKEN,), (LOST,), (b"data: {\n\n", DONE), (TimeoutError(),)], ids=repr
)
async def test_nothing_after_the_last_finish_reason_can_break_it(after: Any) -> None:
    for skip in (True, False):
        chunks, reader = await read(HEL, STOP, *after, skip_malformed=skip)
        assert raws(chunks) == [HEL, STOP]
        assert reader.finish_reason == "stop"


async def test_usage_behind_a_malformed_event_after_the_end_is_still_read() -> None:
    _, reader = await read(HEL, STOP, b"data: {\n\n", BILL, DONE)
    assert reader.usage == Usage(7, 2)


async def test_an_endless_event_after_the_last_finish_reason_ends_it() -> None:
    huge = b"data: " + b"x" * (2 * 1024 * 1024)
    assert raws((await read(HEL, STOP + huge, huge))[0]) == [HEL, STOP]
    assert raws((await read(HEL, STOP + huge))[0]) == [HEL, STOP]


async def test_an_endless_event_before_it_is_garbled() -> None:
    huge = b"data: " + b"x" * (2 * 1024 * 1024)
    with pytest.raises(UpstreamGarbled):
        await read(HEL + huge)


# --- Malformed events ---------------------------------------------------------------

MALFORMED = [b"data: {\n\n", event([]), event({}), event({"choices": [None]})]


@pytest.mark.parametrize("malformed", MALFORMED, ids=repr)
async def test_a_malformed_event_is_skipped_and_counted(malformed: bytes) -> None:
    chunks, reader = await read(HEL, malformed, LO, malformed, STOP, DONE)
    assert raws(chunks) == [HEL, LO, STOP]
    assert reader.skipped == 2


@pytest.mark.parametrize("malformed", MALFORMED, ids=repr)
async def test_or_breaks_the_stream_where_that_is_wanted(malformed: bytes) -> None:
    reader, _ = reader_of(HEL, malformed, LO, STOP, skip_malformed=False)
    assert (await anext(reader)).raw == HEL
    with pytest.raises(UpstreamError):
        await anext(reader)


# --- The farewell -------------------------------------------------------------------


async def test_after_the_last_finish_reason_usage_may_take_a_moment() -> None:
    _, reader = await read(HEL, STOP, 0.8, BILL, DONE)
    assert reader.usage == Usage(7, 2)


async def test_but_a_stream_that_never_says_goodbye_is_left() -> None:
    started_s = now_s()
    chunks, _ = await read(HEL, STOP, 3600.0)
    assert raws(chunks) == [HEL, STOP]
    assert 1.0 <= now_s() - started_s < 1.1


async def test_keep_alives_do_not_prolong_the_farewell() -> None:
    started_s = now_s()
    endless = [step for _ in range(1000) for step in (0.4, b": still here\n\n")]
    chunks, _ = await read(HEL, STOP, *endless)
    assert raws(chunks)[:2] == [HEL, STOP]
    assert now_s() - started_s < 1.5


async def test_what_has_come_already_is_read_however_late_the_client_asks() -> None:
    reader, _ = reader_of(HEL, STOP, b": hi\n\n", BILL, DONE)
    for _ in range(3):
        await anext(reader)
        await asyncio.sleep(5)
    assert [chunk.raw async for chunk in reader] == [BILL]


async def test_before_the_last_finish_reason_silence_is_not_the_readers_business() -> (
    None
):
    started_s = now_s()
    await read(HEL, 100.0, LO, 100.0, STOP, DONE)
    assert now_s() - started_s >= 200


# --- The end of the body ------------------------------------------------------------


async def test_the_body_is_read_to_its_end_so_that_the_connection_is_kept() -> None:
    for last in ((DONE,), (DONE, 0.01), (DONE, b"\n\n")):
        reader, body = reader_of(HEL, STOP, *last)
        async for _ in reader:
            pass
        assert body.ended


async def test_an_end_that_does_not_come_is_not_waited_for() -> None:
    started_s = now_s()
    reader, body = reader_of(HEL, DONE, 60.0)
    async for _ in reader:
        pass
    assert not body.ended
    assert now_s() - started_s < 0.1


async def test_a_failure_behind_the_sentinel_is_nobodys_business() -> None:
    chunks, _ = await read(HEL, DONE, LOST)
    assert raws(chunks) == [HEL]


# --- Cancellation -------------------------------------------------------------------


@pytest.mark.parametrize(
    "steps", [(5.0, HEL), (HEL, STOP, 5.0), (HEL, DONE, 5.0)], ids=repr
)
async def test_a_cancellation_passes_whatever_is_waited_for(steps: Any) -> None:
    task = asyncio.create_task(read(*steps))
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
