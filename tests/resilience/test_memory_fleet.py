"""The fleet in memory: it keeps the contract, and is as bad as it is told to be."""

import pytest

from resilience.memory_fleet import MemoryFleet
from resilience.shared import FleetTimes, FleetUnavailable
from resilience.testing import LoopClock
from tests.resilience.fleet_contract import CLOSED, OPEN, FleetContract, Medium


class InMemory(Medium):
    fleet: MemoryFleet

    async def cut_off(self) -> None:
        self.fleet.down = True


@pytest.fixture
def medium() -> InMemory:
    times = FleetTimes()
    return InMemory(MemoryFleet(LoopClock(), times=times), times)


class TestMemoryFleet(FleetContract):
    """The contract, as it stands."""


async def test_a_message_takes_as_long_as_it_is_told_each_way() -> None:
    clock = LoopClock()
    began_s = clock.now()

    await MemoryFleet(clock, delay_s=0.5).exchange("r1", [CLOSED])

    assert clock.now() - began_s == pytest.approx(1.0, abs=1e-6)


async def test_a_lost_question_is_not_heard_and_a_lost_answer_is() -> None:
    draws = [0.0]
    fleet = MemoryFleet(LoopClock(), loss=0.5, draw=lambda: draws.pop(0))
    with pytest.raises(FleetUnavailable):
        await fleet.exchange("r1", [OPEN])
    draws[:] = [0.9, 0.0, 0.9, 0.9, 0.9, 0.9]
    with pytest.raises(FleetUnavailable):
        await fleet.exchange("r2", [OPEN])

    [view] = await fleet.exchange("r3", [CLOSED])

    assert (view.opened, view.openers) == (False, 1)


async def test_a_replica_that_is_cut_off_hears_nothing_and_the_others_do() -> None:
    fleet = MemoryFleet(LoopClock())
    fleet.cut_off.add("r1")

    with pytest.raises(FleetUnavailable):
        await fleet.exchange("r1", [CLOSED])
    await fleet.exchange("r2", [CLOSED])


async def test_it_can_lose_its_memory() -> None:
    fleet = MemoryFleet(LoopClock())
    await fleet.exchange("r1", [OPEN])
    fleet.lose_memory()

    [view] = await fleet.exchange("r2", [CLOSED])

    assert view.openers == 0
