"""The test doubles themselves: virtual time behaves like time."""

import asyncio

import pytest

from resilience.clock import SystemClock
from resilience.testing import (
    LoopClock,
    ManualClock,
    ScriptedOperation,
    VirtualTimeLoop,
    run_virtually,
)
from tests.resilience.scenery import ProviderError, make_call


async def test_a_virtual_day_passes_at_once_and_in_order() -> None:
    clock, order = LoopClock(), []
    started_s = clock.now()

    async def note(after_s: float) -> None:
        await clock.sleep(after_s)
        order.append(after_s)

    await asyncio.gather(note(86_400.0), note(1.0), note(3_600.0))

    assert order == [1.0, 3_600.0, 86_400.0]
    assert clock.now() - started_s == pytest.approx(86_400.0)


async def test_a_timeout_ends_a_longer_sleep_in_virtual_time() -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(10):
            await asyncio.sleep(11)


def test_a_wait_for_nothing_is_told_instead_of_hanging() -> None:
    loop = VirtualTimeLoop()
    forever = loop.create_future()
    with pytest.raises(RuntimeError, match="deadlock"):
        loop.run_until_complete(forever)
    loop.close()


def test_a_coroutine_can_be_run_virtually_from_a_plain_test() -> None:
    async def sleeps() -> str:
        await asyncio.sleep(3600)
        return "rested"

    assert run_virtually(sleeps()) == "rested"


async def test_a_manual_clock_moves_only_when_told_or_slept_on() -> None:
    clock = ManualClock(5.0)
    assert clock.now() == 5.0
    clock.advance(1.0)
    await clock.sleep(2.0)

    assert clock.now() == 8.0


async def test_the_system_clock_runs_on_its_own() -> None:
    clock = SystemClock()
    earlier_s = clock.now()
    await clock.sleep(0)

    assert clock.now() >= earlier_s


async def test_a_script_is_followed_and_its_last_step_repeats() -> None:
    operation = ScriptedOperation(ProviderError(), 1.0, "late", "again")
    call = make_call(target="a")

    with pytest.raises(ProviderError):
        await operation(call)
    assert [await operation(call) for _ in range(3)] == ["late", "again", "again"]
    assert operation.sends == ["a"] * 4
