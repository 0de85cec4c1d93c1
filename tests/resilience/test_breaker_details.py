"""A breaker to the last call and the last moment: limits, defaults, what is told."""

import pytest

from resilience.breaker import Breaker, BreakerConfig, BreakerState
from resilience.errors import BreakerOpen
from resilience.events import BreakerChanged
from resilience.outcome import Counts
from resilience.permit import Permit
from resilience.seat import Order, Seat
from resilience.testing import ManualClock
from resilience.window import Totals
from tests.resilience.breaker_driver import Driven
from tests.resilience.crew import Crew
from tests.resilience.scenery import Recorder, middle


def test_a_shorter_pause_named_later_does_not_shorten_a_longer_one() -> None:
    driven = Driven(consecutive=3)
    driven.admit().fail(retry_after_s=60.0)
    driven.admit().fail(retry_after_s=20.0)

    driven.fail()

    assert driven.breaker.open_for_s == pytest.approx(60.0)


def test_the_doubling_goes_on_when_it_held_closed_exactly_as_long_as_it_was_open() -> (
    None
):
    driven = Driven(open_s=10.0, permitted=1)
    driven.half_open().ok()
    driven.clock.advance(10.0)

    driven.trip()

    assert driven.breaker.open_for_s == pytest.approx(20.0)


def test_probes_are_not_in_the_window() -> None:
    driven = Driven(permitted=4, failure_ratio=0.75)
    driven.half_open().ok()
    driven.fail(2)

    assert driven.state == "half_open"
    assert driven.breaker.totals == Totals(5, 5, 0)


def test_a_verdict_of_probes_is_told_at_once_and_a_time_only_with_an_opening() -> None:
    driven = Driven(permitted=1)
    probe = driven.half_open()

    probe.ok()
    assert driven.heard.events[1:] == [
        BreakerChanged("a", "open", "half_open", None),
        BreakerChanged("a", "half_open", "closed", None),
    ]

    probe = driven.half_open()
    probe.fail()
    assert driven.changes[-1] == ("half_open", "open")


def test_a_flowing_probe_that_took_too_long_is_one_that_passed_no_more() -> None:
    driven = Driven(permitted=4, concurrent=2, verdict_within_s=60.0)
    driven.half_open().ok()
    streaming = driven.admit()
    streaming.opened = True
    driven.clock.advance(60.0)
    assert driven.state == "half_open"

    streaming.fail()
    driven.succeed()
    assert driven.state == "half_open", "three of four are in"

    driven.succeed()
    assert driven.state == "closed"


# --- what it says of itself


def test_whoever_asks_first_sees_what_time_has_decided() -> None:
    silent = Driven(permitted=1, verdict_within_s=60.0)
    silent.half_open()
    silent.clock.advance(60.0)
    assert silent.breaker.open_for_s == pytest.approx(20.0)

    flowing = Driven(permitted=1, verdict_within_s=60.0)
    flowing.half_open().opened = True
    flowing.clock.advance(60.0)
    assert flowing.breaker.ready


def test_an_open_time_that_is_over_or_was_ended_by_order_is_none() -> None:
    driven = Driven()
    driven.trip()
    driven.clock.advance(25.0)
    assert driven.breaker.open_for_s == 0.0

    driven.admit().fail()
    assert driven.breaker.open_for_s > 0.0
    driven.breaker.force(None)
    assert driven.breaker.open_for_s == 0.0


def test_without_a_listener_it_changes_in_silence(
    caplog: pytest.LogCaptureFixture,
) -> None:
    breaker = Breaker("a", BreakerConfig(consecutive=1), ManualClock())

    breaker.admit().fail()

    assert breaker.state == "open"
    assert caplog.records == []


def test_an_order_s_refusals_name_the_target_and_its_permits_the_time() -> None:
    driven = Driven()
    driven.breaker.force(BreakerState.FORCED_OPEN)
    assert driven.refused().target == "a"

    driven.breaker.force(BreakerState.DISABLED)
    assert driven.admit().issued_at_s == driven.clock.now()

    with pytest.raises(ValueError, match=r"^a breaker cannot be ordered to be open$"):
        driven.breaker.force(BreakerState.OPEN)


# --- the ramp


def test_who_knows_of_no_other_target_keeps_no_ramp() -> None:
    driven = Driven(uniform=lambda low, high: 0.99, permitted=1)
    driven.half_open().ok()
    assert driven.state == "closed"

    driven.admit().ok()


def test_the_ramp_begins_with_the_closing_not_with_the_next_question() -> None:
    draws = [1.0]
    driven = Driven(uniform=lambda low, high: draws[0], permitted=1, ramp_s=10.0)
    driven.half_open().ok()
    driven.clock.advance(10.0)
    draws[0] = 0.99

    driven.breaker.admit(lambda: True).ok()


def test_the_ramp_draws_from_nought_to_one_and_refuses_at_the_share_itself() -> None:
    asked = []

    def uniform(low: float, high: float) -> float:
        asked.append((low, high))
        return 0.1 if low == 0.0 else 1.0

    driven = Driven(uniform=uniform, permitted=1, ramp_s=10.0)
    driven.half_open().ok()
    assert driven.breaker.ready

    with pytest.raises(BreakerOpen) as caught:
        driven.breaker.admit(lambda: True)

    assert caught.value.target == "a"
    assert asked[-1] == (0.0, 1.0)


# --- in a fleet


class NotingSeat(Seat):
    """A seat that notes what it is told, and is led for as long as it is told to."""

    def __init__(self) -> None:
        self.is_led = False
        self.told: list[tuple[Permit, Counts, bool]] = []

    @property
    def led(self) -> bool:
        return self.is_led

    def settled(self, permit: Permit, counts: Counts, slow: bool) -> None:
        self.told.append((permit, counts, slow))


def half_open(seat: Seat, **config: object) -> tuple[Breaker, ManualClock]:
    clock = ManualClock()
    breaker = Breaker("a", BreakerConfig(**config), clock, uniform=middle, seat=seat)
    for _ in range(5):
        breaker.admit().fail()
    clock.advance(breaker.open_for_s)
    return breaker, clock


def test_a_flowing_probe_that_took_too_long_is_a_success_to_the_fleet() -> None:
    seat = NotingSeat()
    breaker, clock = half_open(seat, verdict_within_s=60.0)
    probe = breaker.admit()
    probe.opened = True
    seat.told.clear()
    clock.advance(60.0)

    assert breaker.state == "half_open"
    assert seat.told == [(probe, Counts.SUCCESS, False)]


def test_a_silent_probe_is_none_to_the_fleet() -> None:
    seat = NotingSeat()
    breaker, clock = half_open(seat, verdict_within_s=60.0)
    breaker.admit()
    seat.told.clear()
    clock.advance(60.0)

    assert breaker.state == "open"
    assert seat.told == []


def test_a_verdict_left_to_it_by_the_fleet_is_not_undone_by_an_overdue_probe() -> None:
    seat = NotingSeat()
    breaker, clock = half_open(seat, permitted=1, verdict_within_s=60.0)
    seat.is_led = True
    breaker.admit().ok()
    breaker.admit()
    clock.advance(59.0)
    assert breaker.state == "half_open"

    clock.advance(1.0)
    seat.is_led = False

    assert breaker.state == "closed"


def test_probes_left_to_it_by_the_fleet_close_it_once_however_many_flow() -> None:
    heard, seat, clock = Recorder(), NotingSeat(), ManualClock()
    config = BreakerConfig(permitted=1, verdict_within_s=60.0)
    breaker = Breaker("a", config, clock, listener=heard, uniform=middle, seat=seat)
    for _ in range(5):
        breaker.admit().fail()
    clock.advance(breaker.open_for_s)
    seat.is_led = True
    for _ in range(2):
        breaker.admit().opened = True

    clock.advance(60.0)
    seat.is_led = False

    assert breaker.state == "closed"
    assert heard.events[2:] == [BreakerChanged("a", "half_open", "closed")]


async def test_who_was_refused_while_it_was_open_has_asked_for_a_probe() -> None:
    crew = Crew(2)
    await crew.opened()
    assert not crew.breakers[1].ready
    await crew.wait_out()

    await crew.meet(2)

    assert crew.breakers[1].ready


async def test_without_a_lease_it_says_to_ask_again_in_a_second() -> None:
    crew = Crew(2)
    await crew.opened()
    await crew.wait_out()

    refusal = crew.breakers[0].refusal()

    assert refusal is not None and refusal.retry_after_s == 1.0


async def test_who_is_open_already_tells_of_no_change_when_the_fleet_opens() -> None:
    crew = Crew(3)
    await crew.opened()

    for heard in crew.heard:
        changes = [(one.from_state, one.to_state) for one in heard.of(BreakerChanged)]
        assert changes == [("closed", "open")]


def test_a_decision_to_open_counts_before_it_was_looked_at() -> None:
    clock, heard, seat = ManualClock(), Recorder(), Seat()
    breaker = Breaker(
        "a", BreakerConfig(), clock, listener=heard, uniform=middle, seat=seat
    )
    permits = [breaker.admit() for _ in range(5)]
    seat.order = Order(clock.now() + 42.0, openings=1)

    for permit in permits:
        permit.fail()

    assert breaker.totals.recorded == 0
    assert breaker.state == "open"
    assert heard.events == [BreakerChanged("a", "closed", "open", 42.0)]


def test_who_is_closed_already_keeps_its_window_when_the_fleet_closes() -> None:
    heard, seat = Recorder(), Seat()
    config = BreakerConfig()
    breaker = Breaker("a", config, ManualClock(), listener=heard, seat=seat)
    for _ in range(3):
        breaker.admit().fail()
    seat.order = Order(None)

    assert breaker.state == "closed"
    assert breaker.totals == Totals(3, 3, 0)
    assert heard.events == []


def test_a_verdict_in_time_stands_against_a_probe_that_is_overdue_after_it() -> None:
    """More probes are out than decide, as when the fleet has just gone silent."""
    seat = NotingSeat()
    seat.is_led = True
    breaker, clock = half_open(seat, permitted=1, verdict_within_s=60.0)
    flowing, silent = breaker.admit(), breaker.admit()
    flowing.opened = True
    clock.advance(60.0)
    seat.is_led = False
    assert breaker.state == "closed"
    silent.cancel()
    assert breaker.state == "closed"
