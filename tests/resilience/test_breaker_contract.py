"""What aiobreaker 1.2.0 does, as far as our breaker relies on it or fences it off.

The first half pins the library as it is: if an upgrade breaks one of these, read
`resilience/machine.py` again before changing the pin. The second half shows that the
quirk does not get through.
"""

import asyncio
import time
import warnings
from collections.abc import Iterator
from datetime import datetime, timedelta
from importlib.metadata import version

import pytest
from aiobreaker import (
    CircuitBreaker,
    CircuitBreakerError,
    CircuitBreakerListener,
    CircuitBreakerState,
)
from aiobreaker.storage.memory import CircuitMemoryStorage

from resilience.breaker import Breaker, BreakerConfig
from resilience.machine import Machine, TargetFailed
from resilience.testing import LoopClock, ManualClock
from tests.resilience.breaker_driver import Driven
from tests.resilience.scenery import Recorder, middle

OPEN, CLOSED, HALF_OPEN = (
    CircuitBreakerState.OPEN,
    CircuitBreakerState.CLOSED,
    CircuitBreakerState.HALF_OPEN,
)


class Boom(Exception):
    """The provider's error."""


async def fails() -> None:
    raise Boom


async def succeeds() -> str:
    return "ok"


def opened(breaker: CircuitBreaker) -> CircuitBreaker:
    """Open `breaker` without its deprecated look at the wall clock."""
    breaker._state_storage.opened_at = datetime.min + timedelta(days=1)
    breaker.state = breaker._state_storage.state = OPEN
    return breaker


def test_the_version_is_the_one_that_was_read() -> None:
    assert version("aiobreaker") == "1.2.0"


# --- the library as it is


async def test_it_counts_only_consecutive_failures() -> None:
    breaker = CircuitBreaker(fail_max=3)
    for _ in range(20):
        for _ in range(2):
            with pytest.raises(Boom):
                await breaker.call_async(fails)
        await breaker.call_async(succeeds)

    assert breaker.current_state is CLOSED


async def test_its_half_open_state_admits_everyone() -> None:
    breaker = opened(CircuitBreaker(timeout_duration=timedelta(0)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        probes = [
            asyncio.create_task(breaker.call_async(asyncio.sleep, 1, "sent"))
            for _ in range(50)
        ]
        assert await asyncio.gather(*probes) == ["sent"] * 50


async def test_its_first_success_closes_it() -> None:
    breaker = CircuitBreaker()
    breaker.half_open()

    await breaker.call_async(succeeds)

    assert breaker.current_state is CLOSED


async def test_its_excluded_errors_count_as_success_and_close_it() -> None:
    breaker = CircuitBreaker(exclude=[Boom])
    breaker.half_open()

    with pytest.raises(Boom):
        await breaker.call_async(fails)

    assert breaker.current_state is CLOSED


async def test_a_late_result_acts_on_the_state_of_now() -> None:
    breaker = CircuitBreaker(fail_max=1)
    late = breaker.state
    breaker.half_open()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        with pytest.raises(CircuitBreakerError):
            late._handle_error(succeeds, Boom())

    assert breaker.current_state is OPEN


async def test_opening_looks_at_the_wall_clock_with_a_warning() -> None:
    with pytest.warns(DeprecationWarning, match="utcnow"):
        CircuitBreaker().open()


async def test_under_warnings_as_errors_that_warning_replaces_the_error() -> None:
    with pytest.raises(DeprecationWarning):
        await CircuitBreaker(fail_max=1).call_async(fails)


async def test_the_call_that_trips_it_gets_its_error_instead_of_the_real_one() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        with pytest.raises(CircuitBreakerError) as caught:
            await CircuitBreaker(fail_max=1).call_async(fails)

    assert isinstance(caught.value.__cause__, Boom)


@pytest.fixture
def far_from_utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "Etc/GMT-14")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.usefixtures("far_from_utc")
async def test_off_utc_its_time_to_reopen_is_wrong() -> None:
    breaker = CircuitBreaker(timeout_duration=timedelta(hours=1))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        breaker.open()
        with pytest.raises(CircuitBreakerError):
            await breaker.call_async(succeeds)

    assert breaker.opens_at is None, "it says it has reopened; it has not"


def test_its_listeners_hear_of_a_change_before_it_is_complete() -> None:
    seen = []

    class Asks(CircuitBreakerListener):
        def state_change(self, breaker, old, new) -> None:
            seen.append(breaker._state.state)

    CircuitBreaker(listeners=[Asks()]).half_open()

    assert seen == [CLOSED]


async def test_a_decorated_async_generator_counts_as_success_before_it_is_read() -> (
    None
):
    breaker = CircuitBreaker(fail_max=1)
    breaker.half_open()

    @breaker
    def stream():
        async def items():
            raise Boom
            yield

        return items()

    with pytest.raises(Boom):
        async for _ in stream():
            pass

    assert breaker.current_state is CLOSED


# --- the extension points that ours stands on


def test_states_are_made_by_one_method_and_kept_in_one_attribute() -> None:
    made = []

    class Ours(CircuitBreaker):
        def _create_new_state(self, new_state, prev_state=None, notify=False):
            made.append((new_state, prev_state, notify))
            return super()._create_new_state(new_state, prev_state, notify)

    breaker = Ours()
    first = breaker._state
    breaker.half_open()

    assert made[0] == (CLOSED, None, False)
    assert made[1] == (HALF_OPEN, first, True)
    assert breaker._state is breaker.state is not first


def test_a_failure_is_counted_before_its_hook_and_raised_after_it() -> None:
    order = []

    class Storage(CircuitMemoryStorage):
        def increment_counter(self) -> None:
            order.append("counted")

    breaker = CircuitBreaker(state_storage=Storage(CLOSED))
    state, error = breaker.state, Boom()
    state.on_failure = lambda exception: order.append(exception)

    with pytest.raises(Boom) as caught:
        state._handle_error(succeeds, error)

    assert order == ["counted", error]
    assert caught.value is error


def test_a_success_resets_the_counter_and_calls_its_hook() -> None:
    order = []

    class Storage(CircuitMemoryStorage):
        def reset_counter(self) -> None:
            order.append("reset")

    state = CircuitBreaker(state_storage=Storage(CLOSED)).state
    state.on_success = lambda: order.append("hook")

    state._handle_success()

    assert order == ["reset", "hook"]


def test_the_storage_s_state_wins_over_the_cached_one() -> None:
    breaker = CircuitBreaker(state_storage=CircuitMemoryStorage(CLOSED))

    breaker._state_storage.state = HALF_OPEN

    assert breaker.state.state is HALF_OPEN


# --- none of it gets through


def test_ours_is_that_state_machine() -> None:
    driven = Driven()
    machine = driven.breaker._machine

    assert isinstance(machine, CircuitBreaker)
    assert (machine.fail_max, machine.fail_counter) == (1, 0)
    driven.trip()
    assert machine.current_state is OPEN
    assert machine.opens_at is None
    assert machine.storage.opened_at == datetime.min
    machine.storage.opened_at = datetime.max
    assert machine.storage.opened_at == datetime.min


def test_ours_never_looks_at_the_wall_clock() -> None:
    """`-W error` holds here: any deprecated look would fail the test."""
    driven = Driven(permitted=1)
    driven.half_open().fail()
    driven.wait_out()
    driven.succeed()

    assert driven.state == "closed"


@pytest.mark.usefixtures("far_from_utc")
def test_ours_reopens_on_time_off_utc() -> None:
    driven = Driven(open_s=10.0)
    driven.trip()
    driven.clock.advance(10.0)

    assert driven.breaker.ready


def test_ours_acts_on_a_state_that_somebody_else_has_set() -> None:
    """Other replicas' news will come through the storage."""
    driven = Driven()
    driven.breaker._machine.storage.state = OPEN

    assert driven.state == "open"


def test_ours_raises_nothing_when_it_trips() -> None:
    Driven(consecutive=1).admit().fail()


def test_ours_keeps_no_failure_alive() -> None:
    """aiobreaker re-raises what it is told, from a frame that holds it: a cycle."""
    machine = Machine("a", BreakerConfig(), ManualClock(), Recorder(), middle)
    told = []

    class Watches(CircuitBreakerListener):
        def failure(self, breaker, exception) -> None:
            told.append(exception)

    machine.add_listener(Watches())
    machine.fail(machine.state)

    [failed] = told
    assert isinstance(failed, TargetFailed)
    assert failed.__traceback__ is None


async def test_ours_may_be_made_and_used_inside_a_loop() -> None:
    breaker = Breaker("a", BreakerConfig(consecutive=1), LoopClock(), uniform=middle)
    breaker.admit().fail()
    await asyncio.sleep(breaker.open_for_s)

    assert breaker.ready
