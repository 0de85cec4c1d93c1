"""The bulkhead to the last slot: its defaults, and refusals that take no time."""

import asyncio

import pytest

from resilience.adaptive import AdaptiveLimit
from resilience.bulkhead import Bulkhead
from resilience.call import Call
from resilience.errors import BulkheadFull
from resilience.testing import LoopClock, ManualClock
from tests.resilience.scenery import make_call, spin


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
