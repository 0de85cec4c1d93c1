"""Limits of an opened stream: they bound the target's time, never the reader's."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

import pytest

from resilience.call import Call
from resilience.errors import (
    DeadlineExceeded,
    IdleTimeout,
    TimedOut,
    TooSlow,
    TotalTimeout,
)
from resilience.events import PhaseTimedOut
from resilience.timeout import GuardedStream, Limits
from tests.resilience.scenery import (
    ProviderError,
    Recorder,
    make_call,
    one_each,
    stream,
)

SILENT = 1e9


@dataclass
class Reading:
    """A call whose reply has just opened, and its stream."""

    call: Call
    items: GuardedStream[object]
    heard: Recorder

    async def to_the_end(self, pause_s: float = 0.0) -> list[object]:
        got = []
        async for item in self.items:
            got.append(item)
            if pause_s:
                await asyncio.sleep(pause_s)
        return got


def read(
    source: AsyncIterator[object],
    *,
    deadline_s: float = 1e6,
    weigh: Callable[[object], int] = one_each,
    opened: bool = True,
    **limits: float,
) -> Reading:
    heard = Recorder()
    call = make_call(heard, deadline_s=deadline_s, target="a")
    call.begin_attempt()
    heard.events.clear()
    if opened:
        call.mark_first_token()
    every = {"total_s": 1e6, **limits}
    return Reading(call, GuardedStream(source, call, Limits(**every), weigh), heard)


def timers() -> int:
    loop = asyncio.get_running_loop()
    return sum(not handle.cancelled() for handle in loop._scheduled)


def now_s() -> float:
    return asyncio.get_running_loop().time() - 1000.0


async def test_a_lively_stream_passes_through_and_is_counted() -> None:
    reading = read(stream("a", 1.0, "b", 14.0, "c"))

    assert await reading.to_the_end() == ["a", "b", "c"]
    assert reading.call.attempt is not None
    assert reading.call.attempt.tokens == 3
    assert reading.heard.events == []


@pytest.mark.parametrize("lead", [0.0, 7.0], ids=["from the start", "after a while"])
async def test_a_silence_ends_the_stream_at_the_idle_limit(lead: float) -> None:
    reading = read(stream("a", lead, "b", SILENT), idle_s=15.0)

    with pytest.raises(IdleTimeout) as caught:
        await reading.to_the_end()

    assert caught.value.limit_s == 15.0
    assert now_s() == pytest.approx(lead + 15.0, abs=1e-3)
    assert reading.heard.events == [PhaseTimedOut("a", "idle")]


async def test_keep_alives_hold_off_the_idle_limit_but_not_the_progress_limit() -> None:
    reading = read(stream(*(5.0, ":keep-alive") * 20), weigh=lambda item: 0)

    with pytest.raises(TooSlow):
        await reading.to_the_end()

    assert now_s() == pytest.approx(30.0, abs=0.1)


async def test_a_dribble_ends_at_the_progress_limit_although_never_idle() -> None:
    reading = read(stream(*(3.0, "x") * 100), min_tokens_per_s=0.5)

    with pytest.raises(TooSlow) as caught:
        await reading.to_the_end()

    assert caught.value.phase == "progress"
    assert now_s() == pytest.approx(30.0, abs=0.1)


async def test_a_stream_just_above_the_agreed_rate_goes_on() -> None:
    reading = read(stream(*(1.9, "x") * 100), min_tokens_per_s=0.5)

    assert len(await reading.to_the_end()) == 100


async def test_a_rate_of_zero_switches_the_progress_limit_off() -> None:
    reading = read(stream(*(14.0, "x") * 20), min_tokens_per_s=0.0)

    assert len(await reading.to_the_end()) == 20


async def test_a_wait_across_two_progress_windows_is_counted_in_each_only_in_part() -> (
    None
):
    # 20 s of waiting end in the first window; then one wait spans the border: 10 s
    # belong to the first, 4 s to the second, which must not be charged 14.
    source = stream(*(1.0, "x") * 20, 14.0, "y", *(2.1, "z") * 12, *(0.1, "w"))
    reading = read(source, min_tokens_per_s=0.45)

    assert len(await reading.to_the_end()) == 34


async def test_a_slow_reader_is_not_the_target_s_fault() -> None:
    reading = read(stream(*("x",) * 10), idle_s=15.0)

    assert len(await reading.to_the_end(pause_s=100.0)) == 10
    assert reading.heard.events == []


async def test_a_slow_reader_of_a_slow_target_is_judged_by_the_target_s_part() -> None:
    reading = read(stream(*(1.0, "x") * 20), min_tokens_per_s=0.5)

    assert len(await reading.to_the_end(pause_s=4.0)) == 20


@pytest.mark.parametrize(
    ("deadline_s", "total_s", "error"),
    [(40.0, 120.0, DeadlineExceeded), (120.0, 40.0, TotalTimeout)],
)
async def test_a_lively_stream_ends_at_the_hard_limit(
    deadline_s: float, total_s: float, error: type[TimedOut]
) -> None:
    source = stream(*(1.0, "x") * 100)
    reading = read(source, deadline_s=deadline_s, total_s=total_s)

    with pytest.raises(error) as caught:
        await reading.to_the_end()

    assert caught.value.limit_s == pytest.approx(40.0, abs=1e-3)
    assert now_s() == pytest.approx(40.0, abs=1e-3)


async def test_a_hard_limit_that_passes_while_nobody_reads_ends_the_next_read() -> None:
    reading = read(stream("a", "b"), deadline_s=10.0)
    assert await anext(reading.items) == "a"
    await asyncio.sleep(20.0)

    for _ in range(2):
        with pytest.raises(DeadlineExceeded):
            await anext(reading.items)
    assert reading.heard.events == [PhaseTimedOut("a", "deadline")]


async def test_before_the_first_token_only_the_limits_of_the_opening_hold() -> None:
    source = stream(20.0, ":keep-alive", 60.0, "first", 14.0, "second", SILENT)
    reading = read(source, opened=False, idle_s=15.0)

    assert await anext(reading.items) == ":keep-alive"
    assert await anext(reading.items) == "first"
    reading.call.mark_first_token()
    assert await anext(reading.items) == "second"
    with pytest.raises(IdleTimeout):
        await anext(reading.items)
    assert now_s() == pytest.approx(109.0, abs=1e-3)


async def test_an_error_of_the_source_goes_on_as_itself() -> None:
    error = ProviderError()
    reading = read(stream("a", error))

    with pytest.raises(ProviderError) as caught:
        await reading.to_the_end()

    assert caught.value is error


async def test_a_limit_leaves_the_source_cancelled_and_the_task_usable() -> None:
    ended = []

    async def source() -> AsyncIterator[object]:
        try:
            await asyncio.sleep(SILENT)
            yield "never"
        finally:
            ended.append(True)

    reading, task = read(source()), asyncio.current_task()
    with pytest.raises(IdleTimeout):
        await anext(reading.items)

    assert ended == [True]
    assert task is not None and task.cancelling() == 0
    await asyncio.sleep(1.0)


@pytest.mark.parametrize("first", ["ours", "theirs"])
async def test_a_cancellation_from_outside_wins_over_the_limit(first: str) -> None:
    reading = read(stream(SILENT), idle_s=15.0)
    task = asyncio.create_task(reading.to_the_end())
    loop = asyncio.get_running_loop()
    await asyncio.sleep(0)
    before = -1e-9 if first == "theirs" else 1e-9
    loop.call_at(loop.time() + 15.0 + before, task.cancel)

    with pytest.raises(asyncio.CancelledError):
        await task

    assert task.cancelled()


async def test_an_outer_timeout_at_the_same_moment_stays_the_outer_one_s() -> None:
    reading = read(stream(SILENT), idle_s=15.0)

    with pytest.raises(TimeoutError) as caught:
        async with asyncio.timeout(15.0):
            await anext(reading.items)

    assert type(caught.value) is TimeoutError
    task = asyncio.current_task()
    assert task is not None and task.cancelling() == 0


async def test_inside_an_outer_timeout_the_limit_s_own_error_comes_out() -> None:
    reading = read(stream(SILENT), idle_s=15.0)

    with pytest.raises(IdleTimeout):
        async with asyncio.timeout(100.0):
            await anext(reading.items)


async def test_a_limit_in_a_task_that_was_cancelled_before_still_is_the_limit() -> None:
    """A reply that is finished in spite of a cancellation keeps its limits."""
    outcome = []

    async def finishes_all_the_same() -> None:
        try:
            await asyncio.sleep(SILENT)
        except asyncio.CancelledError:
            with pytest.raises(IdleTimeout) as caught:
                await anext(read(stream(SILENT)).items)
            outcome.append(type(caught.value))
            raise

    task = asyncio.create_task(finishes_all_the_same())
    await asyncio.sleep(1.0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert outcome == [IdleTimeout]


class Stubborn:
    """A source that makes something else of a cancellation."""

    def __init__(self, then: object) -> None:
        self._then = then

    def __aiter__(self) -> "Stubborn":
        return self

    async def __anext__(self) -> object:
        try:
            await asyncio.sleep(SILENT)
        except asyncio.CancelledError:
            if isinstance(self._then, Exception):
                raise self._then from None
        return self._then


@pytest.mark.parametrize("then", [OSError("closed"), StopAsyncIteration()], ids=repr)
async def test_a_source_that_turns_the_cancellation_into_an_end_does_not_hide_the_limit(
    then: Exception,
) -> None:
    reading, task = read(Stubborn(then)), asyncio.current_task()

    with pytest.raises(IdleTimeout):
        await anext(reading.items)
    assert task is not None and task.cancelling() == 0


async def test_a_source_that_ignores_the_cancellation_ends_at_the_next_read() -> None:
    reading, task = read(Stubborn("item")), asyncio.current_task()

    assert await anext(reading.items) == "item"
    assert task is not None and task.cancelling() == 0
    with pytest.raises(IdleTimeout):
        await anext(reading.items)


@pytest.mark.parametrize(
    "steps", [("a",), ("a", ProviderError())], ids=["end", "error"]
)
async def test_the_timer_stops_with_the_stream(steps: tuple[object, ...]) -> None:
    reading, before = read(stream(*steps), deadline_s=10.0), timers()
    await anext(reading.items)
    assert timers() == before + 1

    with pytest.raises((StopAsyncIteration, ProviderError)):
        await anext(reading.items)

    assert timers() == before
    await asyncio.sleep(20.0)
    assert reading.heard.events == [], "what a finished stream's reader does is his"


async def test_the_timer_stops_when_the_leases_are_released() -> None:
    reading, before = read(stream("a", 1.0, "b")), timers()
    await anext(reading.items)

    await reading.call.close()

    assert timers() == before
    assert await anext(reading.items) == "b", "nobody bounds it any more"
    assert timers() == before


async def test_a_stream_that_is_never_read_has_no_timer() -> None:
    before = timers()
    reading = read(stream("a"))

    await reading.call.close()

    assert timers() == before


async def test_a_guarded_stream_belongs_to_an_attempt() -> None:
    with pytest.raises(AssertionError, match="belongs to an attempt"):
        GuardedStream(stream(), make_call(), Limits(), one_each)
