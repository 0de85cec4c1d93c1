"""Leases: released newest first, once, each told the truth, whatever the others do."""

import asyncio
import logging
from contextlib import asynccontextmanager

import pytest

from resilience.leases import Leases
from tests.resilience.scenery import Cue, ProviderError, spin


class Trace:
    """Leases of every kind that note the order of their release."""

    def __init__(self) -> None:
        self.log: list[object] = []

    @asynccontextmanager
    async def entered(self, name: str, waits_s: float = 0.0):
        try:
            yield name
        finally:
            if waits_s:
                await asyncio.sleep(waits_s)
            self.log.append(name)

    async def later(self, name: str, waits_s: float) -> None:
        await asyncio.sleep(waits_s)
        self.log.append(name)


async def test_leases_of_every_kind_are_released_newest_first() -> None:
    trace, leases = Trace(), Leases()
    leases.callback(trace.log.append, 1)
    leases.push(lambda kind, exc, tb: trace.log.append(2))
    leases.push_async_callback(trace.later, "3", 1.0)
    assert await leases.enter_async_context(trace.entered("4", 1.0)) == "4"
    leases.push_async_exit(lambda kind, exc, tb: trace.later("5", 0.0))
    leases.callback(trace.log.append, 6)

    await leases.release()

    assert trace.log == [6, "5", "4", "3", 2, 1]


async def test_a_release_happens_once_even_while_one_is_under_way() -> None:
    trace, leases = Trace(), Leases()
    leases.callback(trace.log.append, "slot")
    leases.push_async_callback(trace.later, "response", 1.0)

    await asyncio.gather(leases.release(), leases.release())
    await leases.release()

    assert trace.log == ["response", "slot"]


async def test_every_lease_is_told_the_error_itself() -> None:
    leases, outer, inner = Leases(), Cue(), Cue()
    error = ProviderError()
    leases.push(outer)
    leases.push(lambda kind, exc, tb: kind is type(error) and exc is error)
    leases.push(inner)

    await leases.release(error)

    assert outer.told == inner.told == [error], "a lease cannot hide the error"


@pytest.mark.parametrize("error", [None, ProviderError()], ids=["success", "failure"])
@pytest.mark.parametrize("waits", [False, True], ids=["sync", "async"])
async def test_a_lease_that_fails_is_logged_and_harms_neither_the_rest_nor_the_error(
    waits: bool, error: Exception | None, caplog: pytest.LogCaptureFixture
) -> None:
    leases, first = Leases(), Cue()

    async def breaks_later(*_: object) -> None:
        await asyncio.sleep(0.1)
        raise OSError("cannot close")

    def breaks(*_: object) -> None:
        raise OSError("cannot close")

    leases.push(first)
    if waits:
        leases.push_async_exit(breaks_later)
    else:
        leases.push(breaks)

    with caplog.at_level(logging.ERROR, "resilience"):
        await leases.release(error)

    assert first.told == [error]
    assert "a lease failed to release" in caplog.text


async def test_adopted_leases_are_released_with_those_that_came_before_and_after() -> (
    None
):
    trace, outer, inner = Trace(), Leases(), Leases()
    outer.callback(trace.log.append, "before")
    inner.callback(trace.log.append, "inner")
    outer.adopt(inner)
    outer.callback(trace.log.append, "after")
    inner.callback(trace.log.append, "inner, later")
    assert (len(outer), len(inner)) == (3, 2), "what was adopted counts as one"

    await outer.release()

    assert trace.log == ["after", "inner, later", "inner", "before"]
    assert len(outer) == len(inner) == 0


async def test_what_was_held_before_a_mark_stays_held() -> None:
    leases, before, after = Leases(), Cue(), Cue()
    leases.push(before)
    mark = len(leases)
    leases.push(after)

    await leases.release(error := ProviderError(), above=mark)

    assert (before.told, after.told, len(leases)) == ([], [error], 1)


@pytest.mark.parametrize("times", [1, 2, 3])
async def test_a_cancellation_waits_until_everything_is_released(times: int) -> None:
    trace, leases = Trace(), Leases()
    leases.callback(trace.log.append, "slot")
    leases.push_async_callback(trace.later, "response", 5.0)
    releasing = asyncio.create_task(leases.release())
    for _ in range(times):
        await asyncio.sleep(1.0)
        releasing.cancel()
    assert not releasing.done() and trace.log == []

    with pytest.raises(asyncio.CancelledError):
        await releasing

    assert trace.log == ["response", "slot"]


async def test_a_cancellation_and_a_failing_lease_leave_nothing_unreleased() -> None:
    leases, cue = Leases(), Cue()

    async def breaks_later(*_: object) -> None:
        await asyncio.sleep(1.0)
        raise OSError("cannot close")

    leases.push(cue)
    leases.push_async_exit(breaks_later)
    releasing = asyncio.create_task(leases.release())
    await spin()
    releasing.cancel()

    with pytest.raises(asyncio.CancelledError):
        await releasing

    assert cue.told == [None]


async def test_a_loop_that_shuts_down_cancels_a_lease_but_not_the_rest() -> None:
    leases, cue = Leases(), Cue()
    leases.push(cue)
    leases.push_async_callback(asyncio.sleep, 1e6)
    releasing = asyncio.create_task(leases.release())
    await spin()
    for task in asyncio.all_tasks() - {asyncio.current_task()}:
        task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await releasing

    assert cue.told == [None]


async def test_without_leases_that_wait_a_release_is_done_at_once() -> None:
    leases, cue = Leases(), Cue()
    leases.push(cue)

    async def does_not_wait() -> None: ...

    leases.push_async_callback(does_not_wait)
    release = leases.release()

    with pytest.raises(StopIteration):
        release.send(None)

    assert cue.told == [None]


async def test_a_lease_may_use_timeouts_of_its_own() -> None:
    leases, seen = Leases(), []

    async def closes_in_time() -> None:
        try:
            async with asyncio.timeout(1.0):
                await asyncio.sleep(10)
        except TimeoutError:
            seen.append("gave up")

    leases.push_async_callback(closes_in_time)
    await leases.release()

    assert seen == ["gave up"]
