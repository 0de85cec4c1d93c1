"""The bulkhead to the last slot: its defaults, and refusals that take no time."""

import asyncio

import pytest

from resilience.adaptive import AdaptiveLimit
from resilience.bulkhead import Bulkhead
from resilience.call import Attempt, Call
from resilience.errors import BulkheadFull
from resilience.events import BulkheadWaited
from resilience.pipeline import Pipeline
from resilience.testing import LoopClock, ManualClock, ScriptedOperation
from tests.resilience.scenery import (
    ProviderError,
    Recorder,
    classify,
    make_call,
    spin,
)


async def opens(call: Call) -> str:
    return "opened"


async def test_unless_told_otherwise_64_run_32_wait_and_each_for_a_second() -> None:
    bulkhead = Bulkhead("a")
    slots = [bulkhead.try_acquire() for _ in range(65)]
    assert slots[63] is not None and slots[64] is None
    started_s = asyncio.get_running_loop().time()

    waiting = [
        asyncio.create_task(bulkhead.execute(opens, make_call())) for _ in range(33)
    ]
    await spin()
    assert bulkhead.queued == 32
    results = await asyncio.gather(*waiting, return_exceptions=True)

    assert all(isinstance(one, BulkheadFull) for one in results)
    took_s = asyncio.get_running_loop().time() - started_s
    assert took_s == pytest.approx(1.0, abs=1e-3)


@pytest.mark.parametrize(("queue", "wait_s"), [(0, 10.0), (1, 0.0), (1, -1.0)])
async def test_a_refusal_without_room_or_time_to_wait_does_not_even_yield(
    queue: int, wait_s: float
) -> None:
    bulkhead = Bulkhead("a", limit=1, queue=queue)
    bulkhead.try_acquire()
    acquiring = bulkhead.acquire(wait_s)

    with pytest.raises(BulkheadFull) as caught:
        acquiring.send(None)

    assert caught.value.target == "a"
    assert bulkhead.queued == 0


def test_a_free_slot_is_room_even_without_a_queue() -> None:
    bulkhead = Bulkhead("a", limit=1, queue=0)
    assert bulkhead.has_room

    bulkhead.try_acquire()

    assert not bulkhead.has_room


def test_a_lost_slot_is_room_for_who_only_looks() -> None:
    clock = ManualClock()
    bulkhead = Bulkhead("a", limit=1, queue=0, lease_s=0.5, clock=clock)
    bulkhead.try_acquire()
    assert not bulkhead.has_room

    clock.advance(0.5)

    assert bulkhead.has_room


def test_a_lost_slot_that_nobody_is_told_of_frees_itself_in_silence(
    caplog: pytest.LogCaptureFixture,
) -> None:
    clock = ManualClock()
    bulkhead = Bulkhead("a", limit=1, lease_s=0.5, clock=clock)
    bulkhead.try_acquire()

    clock.advance(0.5)

    assert bulkhead.in_use == 0
    assert caplog.records == []


def test_without_a_clock_of_its_own_a_lease_runs_on_the_system_s() -> None:
    bulkhead = Bulkhead("a", limit=1, lease_s=3600.0)

    assert bulkhead.try_acquire() is not None
    assert bulkhead.in_use == 1


@pytest.mark.parametrize(("limit", "ceiling", "first"), [(10, 20, 10), (20, 10, 10)])
def test_an_adaptive_bulkhead_begins_with_the_lower_of_both_limits(
    limit: int, ceiling: int, first: int
) -> None:
    adaptive = AdaptiveLimit(ManualClock(), ceiling=ceiling)

    assert Bulkhead("a", limit=limit, adaptive=adaptive).limit == first


def test_a_lease_of_no_length_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^a lease lasts for some time$"):
        Bulkhead("a", lease_s=0.0, clock=LoopClock())


async def test_only_who_had_to_wait_is_told_of_as_waiting() -> None:
    heard = Recorder()
    bulkhead = Bulkhead("a", limit=1)
    first = make_call(heard)
    await bulkhead.execute(opens, first)
    assert heard.events == []

    second = asyncio.create_task(bulkhead.execute(opens, make_call(heard)))
    await spin()
    await first.close()
    await second

    [waited] = heard.of(BulkheadWaited)
    assert waited.target == "a"


async def test_a_fixed_limit_that_is_changed_is_no_adaptation() -> None:
    heard = Recorder()
    bulkhead = Bulkhead("a", limit=1, listener=heard)

    bulkhead.limit = 2

    assert bulkhead.limit == 2
    assert heard.events == []


def test_slots_that_are_no_leases_need_no_clock() -> None:
    class Stopped(ManualClock):
        def now(self) -> float:
            raise AssertionError("asked for the time")

    bulkhead = Bulkhead("a", limit=1, clock=Stopped())

    assert bulkhead.try_acquire() is not None
    assert bulkhead.try_acquire() is None


# --- what an adaptive limit learns from


class NotingLimit(AdaptiveLimit):
    """An adaptive limit that notes which failures it is told of."""

    def __init__(self) -> None:
        super().__init__(LoopClock(), classify=classify)
        self.failures: list[tuple[Attempt, int]] = []

    def record_failed(
        self, attempt: Attempt, error: BaseException, in_flight: int
    ) -> None:
        self.failures.append((attempt, in_flight))


async def test_a_failure_is_learned_from_with_how_many_were_in_flight() -> None:
    adaptive = NotingLimit()
    pipeline = Pipeline([Bulkhead("a", adaptive=adaptive)], classify=classify)
    fine, failing = make_call(target="a"), make_call(target="a")

    assert await pipeline.execute(ScriptedOperation("opened"), fine) == "opened"
    with pytest.raises(ProviderError) as caught:
        await pipeline.execute(ScriptedOperation(ProviderError()), failing)
    await failing.close(caught.value)
    await fine.close()

    assert adaptive.failures == [(failing.attempts[0], 2)]


@pytest.mark.parametrize("error", [None, ProviderError()])
async def test_a_call_without_an_attempt_is_no_failure_to_learn_from(
    error: ProviderError | None,
) -> None:
    adaptive = NotingLimit()
    bulkhead, call = Bulkhead("a", adaptive=adaptive), make_call()

    await bulkhead.execute(opens, call)
    await call.close(error)

    assert bulkhead.in_use == 0
    assert adaptive.failures == []
