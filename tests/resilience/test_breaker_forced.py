"""An operator's orders: kept until resumed, and every change of state is told."""

import pytest

from resilience.breaker import BreakerState
from tests.resilience.breaker_driver import Driven

FORCED_OPEN, DISABLED, METRICS_ONLY = (
    BreakerState.FORCED_OPEN,
    BreakerState.DISABLED,
    BreakerState.METRICS_ONLY,
)


def test_forced_open_refuses_for_as_long_as_it_is_ordered() -> None:
    driven = Driven()
    driven.breaker.force(FORCED_OPEN)
    driven.clock.advance(1e6)

    refusal = driven.refused()

    assert driven.state == "forced_open"
    assert refusal.retry_after_s is None
    assert not driven.breaker.ready
    assert driven.breaker.open_for_s == 0.0


def test_disabled_admits_everything_and_records_nothing() -> None:
    driven = Driven()
    driven.breaker.force(DISABLED)
    driven.fail(100)

    assert driven.state == "disabled"
    assert driven.breaker.totals.recorded == 0
    driven.breaker.peek()


def test_metrics_only_records_but_never_trips() -> None:
    driven = Driven()
    driven.breaker.force(METRICS_ONLY)
    driven.fail(100, slow=True)
    driven.succeed(slow=True)
    driven.admit().neutral(slow=True)

    assert driven.state == "metrics_only"
    assert driven.breaker.totals.failed == 98, "the last 100 outcomes"
    assert driven.changes == [("closed", "metrics_only")]


@pytest.mark.parametrize("order", [FORCED_OPEN, DISABLED, METRICS_ONLY])
@pytest.mark.parametrize("state", ["closed", "open", "half_open"])
def test_an_order_replaces_any_state_in_one_told_change(
    state: str, order: BreakerState
) -> None:
    driven = Driven()
    if state == "open":
        driven.trip()
    elif state == "half_open":
        driven.half_open()
    driven.heard.events.clear()

    driven.breaker.force(order)

    assert driven.changes == [(state, str(order))]


@pytest.mark.parametrize("order", [FORCED_OPEN, DISABLED, METRICS_ONLY])
def test_resuming_starts_closed_remembers_nothing_and_is_told(
    order: BreakerState,
) -> None:
    driven = Driven(permitted=1)
    driven.half_open().fail()
    driven.breaker.force(order)
    driven.heard.events.clear()

    driven.breaker.force(None)

    assert driven.state == "closed"
    assert driven.changes == [(str(order), "closed")]
    assert driven.breaker.totals.recorded == 0
    driven.trip()
    assert driven.breaker.open_for_s == pytest.approx(10.0), "no doubling is left over"


def test_a_reset_closes_an_open_breaker() -> None:
    driven = Driven()
    driven.trip()

    driven.breaker.force(None)

    assert driven.state == "closed"
    assert driven.changes == [("closed", "open"), ("open", "closed")]
    assert driven.breaker.ready


def test_a_repeated_order_is_not_told_again() -> None:
    driven = Driven()
    driven.breaker.force(FORCED_OPEN)
    driven.breaker.force(FORCED_OPEN)

    assert driven.changes == [("closed", "forced_open")]


def test_a_reset_leaves_no_ramp() -> None:
    driven = Driven(uniform=lambda low, high: 0.99)
    driven.trip()
    driven.clock.advance(20.0)
    driven.admit()
    assert driven.state == "half_open"

    driven.breaker.force(METRICS_ONLY)

    driven.breaker.admit(lambda: True).ok()


@pytest.mark.parametrize("order", [FORCED_OPEN, DISABLED, METRICS_ONLY, None])
def test_results_of_before_an_order_do_nothing_after_it(
    order: BreakerState | None,
) -> None:
    driven = Driven(consecutive=1)
    before = [driven.admit() for _ in range(2)]
    driven.breaker.force(order)
    state = driven.state

    before[0].fail()
    before[1].ok()

    assert driven.state == state
    assert driven.breaker.totals.recorded == 0


def test_results_of_a_disabled_time_do_nothing_afterwards() -> None:
    driven = Driven(consecutive=1)
    driven.breaker.force(DISABLED)
    permit = driven.admit()
    driven.breaker.force(None)

    permit.fail()

    assert driven.state == "closed"


@pytest.mark.parametrize("state", ["open", "closed", "half_open"])
def test_only_orders_can_be_ordered(state: str) -> None:
    with pytest.raises(ValueError, match="cannot be ordered"):
        Driven().breaker.force(BreakerState(state))
