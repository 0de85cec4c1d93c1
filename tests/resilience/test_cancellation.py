"""A call may be cancelled wherever it waits; nothing stays behind."""

import asyncio
from collections.abc import Coroutine, Generator
from typing import Any

import pytest

from resilience.breaker import BreakerConfig
from resilience.call import Call
from resilience.chain import Chain
from resilience.timeout import GuardedStream, Limits
from tests.resilience.scenery import (
    Cue,
    Place,
    ProviderError,
    classify,
    make_call,
    one_each,
    stream,
    throttled,
)


class Journey:
    """One call that waits in every place a call can wait in.

    It queues for a slot of `a`; connects; fails; closes the failed attempt; backs off;
    is throttled; backs off again; falls back to `b`, a half-open target, as its only
    probe; waits for the first token; reads a stream; and closes it.
    """

    def __init__(self) -> None:
        limits = Limits(first_token_s=5.0)
        self.a = Place("a", slots=1, limits=limits)
        self.b = Place("b", limits=limits, config=BreakerConfig(permitted=1))
        self.cues: list[Cue] = []
        self.answers = [ProviderError(), ProviderError(throttled(1.0))]

    async def run(self) -> list[object]:
        for _ in range(5):
            self.b.breaker.admit().fail()
        await asyncio.sleep(self.b.breaker.open_for_s)
        blocker = self.a.bulkhead.try_acquire()
        assert blocker is not None
        leave = blocker.__exit__
        asyncio.get_running_loop().call_later(0.5, leave, None, None, None)
        call = make_call()
        chain = Chain([self.a.target, self.b.target], classify)
        try:
            items = await chain.execute(self.attempt, call)
            got = [item async for item in items]
        except BaseException as exc:
            await call.close(exc)
            raise
        await call.close()
        return got

    async def attempt(self, call: Call) -> GuardedStream[object]:
        cue = Cue()
        self.cues.append(cue)
        call.leases.push(cue)
        call.leases.push_async_callback(self.close_connection)
        await asyncio.sleep(0.1)
        if call.target == "a":
            raise self.answers.pop(0)
        source = stream(1.0, "first", 1.0, "second", 1.0)
        items = GuardedStream(source, call, self.b.limits, one_each)
        await anext(items)
        return items

    async def close_connection(self) -> None:
        await asyncio.sleep(0.1)

    def assert_nothing_is_left(self) -> None:
        assert self.a.at_rest and self.b.at_rest
        assert all(len(cue.told) == 1 for cue in self.cues)


class CancelledAt:
    """Runs a coroutine; cancels its task at the n-th wait, and again a moment later."""

    def __init__(
        self, main: Coroutine[Any, Any, object], wait: int = -1, times: int = 1
    ) -> None:
        self._main, self._wait, self._times = main, wait, times
        self.waits = 0

    async def run(self) -> object:
        return await self

    def __await__(self) -> Generator[object, None, object]:
        inner = self._main.__await__()
        error: BaseException | None = None
        while True:
            try:
                waits_for = inner.throw(error) if error else next(inner)
            except StopIteration as stop:
                return stop.value
            if self.waits == self._wait:
                self._cancel()
            self.waits += 1
            try:
                yield waits_for
                error = None
            except BaseException as exc:
                error = exc

    def _cancel(self) -> None:
        task, loop = asyncio.current_task(), asyncio.get_running_loop()
        assert task is not None
        for time in range(self._times):
            loop.call_later(time * 0.05, task.cancel)


async def test_undisturbed_the_journey_waits_everywhere_and_arrives() -> None:
    journey = Journey()

    assert await journey.run() == ["second"]

    assert len(journey.cues) == 3
    journey.assert_nothing_is_left()
    assert journey.b.breaker.state == "closed"


@pytest.mark.parametrize("times", [1, 2])
async def test_cancelled_at_any_wait_it_leaves_no_slot_permit_lease_or_task(
    times: int,
) -> None:
    undisturbed = CancelledAt(Journey().run())
    await undisturbed.run()
    assert undisturbed.waits >= 12

    for wait in range(undisturbed.waits):
        journey = Journey()
        running = asyncio.create_task(CancelledAt(journey.run(), wait, times).run())
        await asyncio.wait((running,))

        assert running.cancelled(), wait
        await asyncio.sleep(1.0)  # by now the slot taken at the start is free
        journey.assert_nothing_is_left()
        assert asyncio.all_tasks() == {asyncio.current_task()}
        await asyncio.sleep(journey.b.breaker.open_for_s)
        assert journey.b.breaker.ready, "no probe's place is lost"
