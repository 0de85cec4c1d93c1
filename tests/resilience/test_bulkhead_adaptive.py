"""The bulkhead whose limit adapts, and whose slots come back though their task is lost.

Attempts run through a real pipeline, in virtual time.
"""

import asyncio

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from resilience.adaptive import AdaptiveLimit
from resilience.bulkhead import Bulkhead, Slot
from resilience.call import Attempt, AttemptKind, Call
from resilience.errors import BreakerOpen, BulkheadFull
from resilience.events import LimitChanged, SlotExpired
from resilience.pipeline import Pipeline
from resilience.policy import Operation
from resilience.testing import LoopClock, ManualClock, ScriptedOperation
from tests.resilience.scenery import (
    OVERLOADED,
    ProviderError,
    Recorder,
    classify,
    make_call,
    spin,
    throttled,
)


class Adapting:
    """A bulkhead with an adaptive limit, as the only layer of a pipeline."""

    def __init__(self, ceiling: int = 20, *, queue: int = 32) -> None:
        clock = LoopClock()
        self.heard = Recorder()
        self.bulkhead = Bulkhead(
            "a",
            limit=ceiling,
            queue=queue,
            adaptive=AdaptiveLimit(clock, ceiling=ceiling, classify=classify),
            listener=self.heard,
        )
        self.pipeline = Pipeline([self.bulkhead], classify=classify)

    async def send(self, *script: object) -> Call:
        """Send one attempt; return its call, still open."""
        call = make_call(target="a")
        try:
            await self.pipeline.execute(ScriptedOperation(*script), call)
        except ProviderError as exc:
            await call.close(exc)
        return call

    async def is_throttled(self, times: int) -> None:
        for _ in range(times):
            await self.send(0.01, ProviderError(throttled()))
            await asyncio.sleep(0.01)  # the next one begins after the cut


async def test_a_throttled_attempt_lowers_the_limit_and_says_so() -> None:
    place = Adapting(ceiling=20)

    await place.is_throttled(1)

    assert place.bulkhead.limit == 18
    assert place.heard.events == [LimitChanged("a", 20, 18)]
    assert place.bulkhead.in_use == 0


async def test_answers_raise_the_limit_when_they_open_not_when_their_streams_end() -> (
    None
):
    place = Adapting(ceiling=20)
    await place.is_throttled(5)
    assert place.bulkhead.limit == 11
    streams = [await place.send(0.01, "opened") for _ in range(10)]

    for _ in range(20):
        before = place.bulkhead.limit
        last = await place.send(0.01, "opened")
        if place.bulkhead.limit > before:
            break
        await last.close()

    assert place.bulkhead.limit == 12
    assert place.bulkhead.in_use == 11, "none of these streams has ended"
    assert place.heard.of(LimitChanged)[-1] == LimitChanged("a", 11, 12)
    for call in [*streams, last]:
        await call.close()


async def test_a_stream_that_breaks_under_overload_lowers_the_limit() -> None:
    place = Adapting(ceiling=20)
    call = await place.send(0.01, "opened")

    await call.close(ProviderError(OVERLOADED))

    assert place.bulkhead.limit == 18
    assert place.bulkhead.in_use == 0


async def test_a_lowered_limit_cuts_no_running_slot_and_holds_for_whoever_is_next() -> (
    None
):
    place = Adapting(ceiling=10)
    running = [await place.send("opened") for _ in range(9)]
    slow = asyncio.create_task(place.send(0.01, ProviderError(throttled())))
    await spin()
    waiter = asyncio.create_task(place.send("opened"))
    await slow

    assert place.bulkhead.limit == 9
    assert not waiter.done(), "the cut came before the slot was free"
    assert place.bulkhead.in_use == 9
    for call in running:
        await call.close()
    await (await waiter).close()
    assert place.bulkhead.in_use == 0


async def test_a_raised_limit_lets_waiters_in_at_once() -> None:
    place = Adapting(ceiling=20)
    await place.is_throttled(6)
    assert place.bulkhead.limit == 10
    streams = [await place.send(0.01, "opened") for _ in range(9)]
    for _ in range(14):
        await (await place.send(0.01, "opened")).close()
    opening = asyncio.create_task(place.send(0.01, "opened"))
    await spin()
    waiter = asyncio.create_task(place.send("opened"))
    await spin()
    assert place.bulkhead.queued == 1

    streams.append(await opening)
    await spin()

    assert place.bulkhead.limit == 11
    assert place.bulkhead.in_use == 11
    for call in [*streams, await waiter]:
        await call.close()


async def test_what_is_set_is_the_most_that_an_adaptive_limit_may_be() -> None:
    place = Adapting(ceiling=20)

    place.bulkhead.limit = 6
    assert place.bulkhead.limit == 6
    await place.is_throttled(1)
    assert place.bulkhead.limit == 6

    place.bulkhead.limit = 20
    assert place.bulkhead.limit == 18


async def test_a_refusal_inside_the_slot_teaches_nothing() -> None:
    place = Adapting(ceiling=20)

    class Refusing:
        async def execute[T](self, operation: Operation[T], call: Call) -> T:
            raise BreakerOpen("a")

    pipeline = Pipeline([place.bulkhead, Refusing()], classify=classify)
    with pytest.raises(BreakerOpen):
        await pipeline.execute(ScriptedOperation("never"), make_call())

    assert place.bulkhead.limit == 20
    assert place.bulkhead.in_use == 0


async def test_without_an_attempt_there_is_nothing_to_learn() -> None:
    place = Adapting(ceiling=20)

    async def opens(call: Call) -> str:
        return "opened"

    call = make_call()
    await place.bulkhead.execute(opens, call)
    await call.close(ProviderError(OVERLOADED))

    assert place.bulkhead.limit == 20
    assert place.bulkhead.in_use == 0


async def test_a_classification_that_fails_still_frees_the_slot(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def broken(exc: BaseException) -> object:
        raise RuntimeError("no verdict")

    bulkhead = Bulkhead("a", adaptive=AdaptiveLimit(LoopClock(), classify=broken))
    pipeline = Pipeline([bulkhead], classify=classify)

    with pytest.raises(ProviderError):
        await pipeline.execute(ScriptedOperation(ProviderError()), make_call())

    assert bulkhead.in_use == 0
    assert "a lease failed to release" in caplog.text


def test_a_lease_lasts_for_some_time() -> None:
    with pytest.raises(ValueError, match="lease"):
        Bulkhead("a", lease_s=0.0)


class Leased:
    """A bulkhead whose slots are leases of 100 s."""

    def __init__(self, limit: int = 1, queue: int = 4) -> None:
        self.clock = ManualClock()
        self.heard = Recorder()
        self.bulkhead = Bulkhead(
            "a",
            limit=limit,
            queue=queue,
            lease_s=100.0,
            clock=self.clock,
            listener=self.heard,
        )

    def take(self) -> Slot:
        slot = self.bulkhead.try_acquire()
        assert slot is not None
        return slot


async def test_a_slot_whose_task_was_lost_frees_itself_and_says_so() -> None:
    place = Leased()
    place.take()
    place.clock.advance(99.9)
    assert place.bulkhead.try_acquire() is None
    assert place.heard.events == []

    place.clock.advance(0.1)

    assert place.bulkhead.in_use == 0
    [expired] = place.heard.of(SlotExpired)
    assert (expired.target, expired.held_s) == ("a", pytest.approx(100.0))
    place.take()


async def test_a_slot_that_is_released_too_late_is_not_given_back_twice() -> None:
    place = Leased(limit=2)
    late, _ = place.take(), place.take()
    place.clock.advance(100.0)
    place.take()
    assert place.bulkhead.in_use == 1

    late.release()

    assert place.bulkhead.in_use == 1
    place.take()
    assert place.bulkhead.try_acquire() is None


async def test_a_slot_that_is_released_in_time_leaves_nothing_to_expire() -> None:
    place = Leased()
    place.take().release()
    place.clock.advance(1000.0)

    assert place.bulkhead.in_use == 0
    assert place.heard.events == []


async def test_a_lost_slot_makes_room_for_who_asks_and_goes_to_who_waits_first() -> (
    None
):
    place = Leased(limit=1, queue=1)
    place.take()
    waiter = asyncio.create_task(place.bulkhead.acquire(10.0))
    await spin()
    assert not place.bulkhead.has_room

    place.clock.advance(100.0)

    assert place.bulkhead.try_acquire() is None, "the slot is the waiter's"
    (await waiter).release()
    assert place.bulkhead.has_room


async def test_who_gives_up_waiting_looks_for_a_lost_slot_once_more() -> None:
    place = Leased()
    place.take()
    waiter = asyncio.create_task(place.bulkhead.acquire(1.0))
    await asyncio.sleep(0.5)
    place.clock.advance(100.0)

    (await waiter).release()

    assert place.bulkhead.in_use == 0


async def test_without_a_lost_slot_the_wait_ends_in_a_refusal_all_the_same() -> None:
    place = Leased()
    place.take()

    with pytest.raises(BulkheadFull):
        await place.bulkhead.acquire(1.0)


class SlotsUnderALimitThatMoves(RuleBasedStateMachine):
    """Slots are taken, left, lost and expired while the limit goes up and down."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = ManualClock()
        self.heard = Recorder()
        self.adaptive = AdaptiveLimit(
            self.clock, ceiling=12, floor=2, classify=classify
        )
        self.bulkhead = Bulkhead(
            "a",
            limit=12,
            adaptive=self.adaptive,
            lease_s=100.0,
            clock=self.clock,
            listener=self.heard,
        )
        self.taken: list[tuple[Slot, float]] = []
        self.left: list[Slot] = []

    @rule()
    def take(self) -> None:
        before, limit = self.held(), self.bulkhead.limit
        slot = self.bulkhead.try_acquire()
        assert (slot is not None) == (before < limit), "never more than the limit"
        if slot is not None:
            self.taken.append((slot, self.clock.now()))

    @precondition(lambda self: self.taken)
    @rule(which=st.integers(0, 1000))
    def leave(self, which: int) -> None:
        slot, _ = self.taken.pop(which % len(self.taken))
        slot.release()
        self.left.append(slot)

    @precondition(lambda self: self.left)
    @rule()
    def leave_again(self) -> None:
        self.left[-1].release()

    @rule(opened=st.booleans(), took_s=st.floats(0.001, 20.0), times=st.integers(1, 15))
    def learn(self, opened: bool, took_s: float, times: int) -> None:
        for _ in range(times):
            attempt = Attempt("a", 1, AttemptKind.PRIMARY, self.clock.now() + 0.001)
            attempt.first_token_at_s = attempt.ended_at_s = attempt.started_at_s
            if opened:
                self.adaptive.record_opened(attempt, 12)
            else:
                self.adaptive.record_failed(attempt, ProviderError(OVERLOADED), 12)
            self.clock.advance(0.01)
        self.bulkhead.limit = 12  # look at it

    @rule(by_s=st.sampled_from([0.5, 20.0, 60.0, 100.0]))
    def time_passes(self, by_s: float) -> None:
        self.clock.advance(by_s)

    @invariant()
    def the_slots_in_use_are_those_whose_lease_is_not_over(self) -> None:
        assert self.bulkhead.in_use == self.held()
        assert 2 <= self.bulkhead.limit <= 12

    def held(self) -> int:
        """How many slots are held; those that are overdue can only be left late."""
        now_s = self.clock.now()
        overdue = [slot for slot, since_s in self.taken if now_s - since_s >= 100.0]
        self.left += overdue
        self.taken = [pair for pair in self.taken if pair[0] not in overdue]
        return len(self.taken)


TestSlotsUnderALimitThatMoves = SlotsUnderALimitThatMoves.TestCase
TestSlotsUnderALimitThatMoves.settings = settings(
    max_examples=60, stateful_step_count=40, deadline=None
)
