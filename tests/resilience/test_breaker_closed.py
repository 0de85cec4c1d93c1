"""A closed breaker: what trips it, and what does not."""

import pytest

from resilience.errors import BreakerOpen
from resilience.events import BreakerChanged
from resilience.window import Totals
from tests.resilience.breaker_driver import Driven

NEVER = 10**6


def test_it_admits_everybody_at_once() -> None:
    driven = Driven()

    permits = [driven.admit() for _ in range(500)]

    assert driven.breaker.ready
    for permit in permits:
        permit.ok()
    assert driven.state == "closed"


def test_failures_in_a_row_trip_it_below_the_minimum_of_calls() -> None:
    driven = Driven(consecutive=5, min_calls=10)
    driven.fail(4)
    assert driven.state == "closed"

    driven.fail()

    assert driven.state == "open"


def test_an_answer_ends_the_row_but_not_the_window() -> None:
    driven = Driven(consecutive=3, min_calls=6, failure_ratio=0.6)
    driven.fail(2)
    driven.succeed()
    driven.fail(2)
    assert driven.state == "closed"
    assert driven.breaker.totals == Totals(5, 4, 0)

    driven.succeed()

    assert driven.state == "open", "the ratio is judged at whatever reaches min_calls"


def test_a_failure_ratio_counts_only_from_the_minimum_of_calls() -> None:
    driven = Driven(consecutive=NEVER, min_calls=10, failure_ratio=0.5)
    for _ in range(4):
        driven.fail()
        driven.succeed()
    driven.fail()
    assert driven.state == "closed"

    driven.fail()

    assert driven.state == "open"


def test_old_outcomes_leave_a_count_window() -> None:
    driven = Driven(consecutive=NEVER, window_size=10, min_calls=10, failure_ratio=0.5)
    for _ in range(3):
        driven.fail(4)
        driven.succeed(10)

    assert driven.state == "closed"
    assert driven.breaker.totals == Totals(10, 0, 0)


def test_old_outcomes_leave_a_time_window() -> None:
    driven = Driven(
        window="time", window_size=60, consecutive=NEVER, quiet_consecutive=NEVER
    )
    driven.fail(9)
    driven.clock.advance(61.0)
    driven.fail(9)

    assert driven.state == "closed"

    driven.fail()
    assert driven.state == "open"


def test_slow_answers_trip_it_too() -> None:
    driven = Driven(min_calls=10, slow_ratio=0.8)
    driven.succeed(2)
    driven.succeed(7, slow=True)
    assert driven.state == "closed"

    driven.succeed(1, slow=True)

    assert driven.state == "open"


def test_few_failures_trip_a_target_that_has_not_answered_for_long() -> None:
    driven = Driven(quiet_consecutive=3, quiet_after_s=30.0)
    driven.succeed()
    driven.clock.advance(29.0)
    driven.fail(3)
    assert driven.state == "closed"
    driven.clock.advance(1.0)

    driven.fail()

    assert driven.state == "open"


def test_few_failures_trip_a_target_that_is_seldom_asked() -> None:
    driven = Driven(consecutive=5, quiet_consecutive=3, quiet_run_s=3.0)
    driven.succeed()
    driven.fail(2)
    driven.clock.advance(3.0)

    driven.fail()

    assert driven.state == "open"


def test_as_many_failures_in_a_burst_do_not_trip_a_busy_target() -> None:
    driven = Driven(consecutive=5, quiet_consecutive=3, quiet_run_s=3.0)
    driven.fail(2)
    driven.succeed()
    driven.clock.advance(2.9)
    driven.fail(2)
    driven.clock.advance(2.9)

    driven.fail(2)

    assert driven.state == "closed", "each row of failures is judged by itself"


def test_neutral_and_cancelled_attempts_are_in_no_denominator() -> None:
    driven = Driven(consecutive=NEVER, min_calls=10)
    driven.fail(4)
    for _ in range(50):
        driven.admit().neutral()
        driven.admit().cancel()

    assert driven.breaker.totals == Totals(4, 4, 0)


def test_neutral_attempts_do_not_end_a_row_of_failures() -> None:
    driven = Driven(consecutive=2)
    driven.fail()
    driven.admit().neutral()

    driven.fail()

    assert driven.state == "open"


def test_a_neutral_attempt_that_was_slow_counts_as_slow_and_may_trip() -> None:
    driven = Driven(min_calls=4, slow_ratio=1.0)
    for _ in range(3):
        driven.admit().neutral(slow=True)
    assert driven.state == "closed"

    driven.admit().neutral(slow=True)

    assert driven.state == "open"


def test_a_permit_is_settled_exactly_once() -> None:
    driven = Driven()
    permit = driven.admit()
    permit.ok()

    with pytest.raises(RuntimeError, match="exactly once"):
        permit.fail()


def test_a_listener_that_asks_the_breaker_sees_it_changed() -> None:
    driven = Driven()
    seen = []

    def ask(event: BreakerChanged) -> None:
        seen.append((event.to_state, driven.state, driven.breaker.ready))

    driven.also = ask
    driven.trip()

    assert seen == [("open", "open", False)]


def test_a_listener_that_raises_does_not_disturb_the_change() -> None:
    driven = Driven()

    def break_down(event: BreakerChanged) -> None:
        raise RuntimeError("listener")

    driven.also = break_down
    driven.trip()

    with pytest.raises(BreakerOpen):
        driven.breaker.peek()


# --- the ramp after recovery


@pytest.mark.parametrize(("after_s", "share"), [(0.0, 0.1), (5.0, 0.55), (9.0, 0.91)])
def test_after_recovery_the_share_admitted_grows(after_s: float, share: float) -> None:
    draws = [0.0]
    driven = Driven(uniform=lambda low, high: draws[0], jitter=0.0, ramp_s=10.0)
    recover(driven, draws)
    driven.clock.advance(after_s)

    draws[0] = share - 0.001
    driven.breaker.admit(lambda: True).ok()
    draws[0] = share + 0.001
    with pytest.raises(BreakerOpen) as caught:
        driven.breaker.admit(lambda: True)
    assert caught.value.retry_after_s == pytest.approx(10.0 - after_s)


def test_the_ramp_is_kept_only_while_another_target_could_answer() -> None:
    draws = [0.0]
    driven = Driven(uniform=lambda low, high: draws[0], ramp_s=10.0)
    recover(driven, draws)
    draws[0] = 0.99

    driven.breaker.admit(lambda: False).ok()


@pytest.mark.parametrize("ramp_s", [0.0, 10.0])
def test_after_the_ramp_everybody_is_admitted(ramp_s: float) -> None:
    draws = [0.0]
    driven = Driven(uniform=lambda low, high: draws[0], ramp_s=ramp_s)
    recover(driven, draws)
    driven.clock.advance(ramp_s)
    draws[0] = 0.99

    driven.breaker.admit(lambda: True).ok()


def test_a_breaker_that_never_opened_has_no_ramp() -> None:
    driven = Driven(uniform=lambda low, high: 0.99)

    driven.breaker.admit(lambda: True).ok()


def recover(driven: Driven, draws: list[float]) -> None:
    draws[0] = 1.0
    driven.trip()
    driven.wait_out()
    driven.succeed(driven.config.permitted)
    assert driven.state == "closed"
