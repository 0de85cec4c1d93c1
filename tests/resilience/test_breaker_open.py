"""An open breaker: for how long, and what late results do to it (nothing)."""

import pytest

from resilience.breaker import Breaker, BreakerConfig
from resilience.events import BreakerChanged
from resilience.testing import ManualClock
from tests.resilience.breaker_driver import Driven
from tests.resilience.scenery import middle


def test_it_refuses_until_its_time_is_over_and_says_how_long_that_is() -> None:
    driven = Driven(open_s=10.0)
    driven.trip()
    driven.clock.advance(4.0)

    refusal = driven.refused()
    assert (refusal.target, refusal.retry_after_s) == ("a", pytest.approx(6.0))
    assert driven.breaker.open_for_s == pytest.approx(6.0)
    assert not driven.breaker.ready
    waiting = driven.breaker.refusal()
    assert waiting is not None and waiting.retry_after_s == pytest.approx(6.0)

    driven.clock.advance(6.0)
    assert driven.breaker.ready
    assert driven.breaker.refusal() is None
    assert driven.state == "open", "nobody has asked for a permit yet"


def test_looking_takes_nothing() -> None:
    driven = Driven(permitted=1)
    driven.trip()
    driven.wait_out()

    for _ in range(5):
        driven.breaker.peek()
        assert driven.breaker.ready

    assert driven.state == "open"


def test_opening_is_told_with_its_duration() -> None:
    driven = Driven(open_s=10.0)
    driven.trip()

    assert driven.heard.events == [BreakerChanged("a", "closed", "open", 10.0)]


def test_a_late_result_of_an_earlier_state_does_nothing() -> None:
    driven = Driven()
    late = [driven.admit() for _ in range(3)]
    driven.trip()
    open_for_s = driven.breaker.open_for_s
    driven.clock.advance(1.0)

    late[0].fail(retry_after_s=200.0)
    late[1].ok()
    late[2].neutral(slow=True)

    assert driven.state == "open"
    assert driven.breaker.open_for_s == pytest.approx(open_for_s - 1.0)
    assert driven.changes == [("closed", "open")]


def test_each_opening_in_a_row_doubles_the_time_up_to_the_cap() -> None:
    driven = Driven(open_s=10.0, open_cap_s=300.0, permitted=1)
    driven.trip()
    times = [driven.breaker.open_for_s]
    for _ in range(6):
        driven.wait_out()
        driven.fail()
        times.append(driven.breaker.open_for_s)

    assert times == pytest.approx([10, 20, 40, 80, 160, 300, 300])


def test_days_of_outage_do_not_overflow() -> None:
    driven = Driven(permitted=1)
    driven.trip()
    for _ in range(1100):
        driven.wait_out()
        driven.fail()

    assert driven.breaker.open_for_s == pytest.approx(300.0)


def test_the_doubling_ends_once_it_has_held_closed_for_longer_than_it_was_open() -> (
    None
):
    driven = Driven(open_s=10.0, permitted=1)
    driven.trip()
    driven.wait_out()
    driven.succeed()
    driven.clock.advance(5.0)
    driven.trip()
    assert driven.breaker.open_for_s == pytest.approx(20.0), "it did not hold"
    driven.wait_out()
    driven.succeed()
    driven.clock.advance(10.1)

    driven.trip()

    assert driven.breaker.open_for_s == pytest.approx(10.0)


@pytest.mark.parametrize(("draw", "expected_s"), [(0.8, 8.0), (1.2, 12.0)])
def test_the_time_is_jittered(draw: float, expected_s: float) -> None:
    asked = []

    def uniform(low: float, high: float) -> float:
        asked.append((low, high))
        return draw

    driven = Driven(open_s=10.0, jitter=0.2, uniform=uniform)
    driven.trip()

    assert asked == [(0.8, 1.2)]
    assert driven.breaker.open_for_s == pytest.approx(expected_s)


def test_a_pause_that_the_target_named_is_kept() -> None:
    driven = Driven(consecutive=3)
    driven.admit().fail(retry_after_s=60.0)
    driven.clock.advance(5.0)

    driven.fail(2)

    assert driven.breaker.open_for_s == pytest.approx(55.0)


def test_a_named_pause_never_shortens_the_time_nor_exceeds_the_cap() -> None:
    short, long = Driven(consecutive=1), Driven(consecutive=1, open_cap_s=300.0)

    short.admit().fail(retry_after_s=1.0)
    long.admit().fail(retry_after_s=1e6)

    assert short.breaker.open_for_s == pytest.approx(10.0)
    assert long.breaker.open_for_s == pytest.approx(300.0)


def test_a_named_pause_of_an_earlier_incident_is_forgotten() -> None:
    driven = Driven(consecutive=3, permitted=1, min_calls=4, slow_ratio=0.5)
    driven.admit().fail(retry_after_s=100.0)
    driven.succeed()
    driven.clock.advance(100.0)

    driven.succeed(2, slow=True)

    assert driven.state == "open", "tripped by slowness"
    assert driven.breaker.open_for_s == pytest.approx(10.0)


def test_opening_an_open_breaker_changes_nothing() -> None:
    driven = Driven()
    driven.trip()
    driven.clock.advance(1.0)

    driven.breaker._machine.open()

    assert driven.breaker.open_for_s == pytest.approx(9.0)
    assert driven.changes == [("closed", "open")]


def test_its_times_do_not_depend_on_where_the_clock_began() -> None:
    clock = ManualClock(-1e6)
    breaker = Breaker("a", BreakerConfig(), clock, uniform=middle)
    for _ in range(5):
        breaker.admit().fail()

    assert breaker.open_for_s == pytest.approx(10.0)
