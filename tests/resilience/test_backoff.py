"""Backoff: full jitter below a doubling bound, and never less than was asked for."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resilience.backoff import Backoff
from tests.resilience.scenery import OVERLOADED, UNAVAILABLE, throttled


def upper(low: float, high: float) -> float:
    return high


@pytest.mark.parametrize(
    ("retry", "transient_s", "throttle_s"), [(1, 0.05, 1.0), (2, 0.1, 2.0), (4, 0.4, 5)]
)
def test_the_bound_doubles_from_the_base_of_the_pace_up_to_the_cap(
    retry: int, transient_s: float, throttle_s: float
) -> None:
    backoff = Backoff(uniform=upper)

    assert backoff.delay_s(retry, UNAVAILABLE) == pytest.approx(transient_s)
    assert backoff.delay_s(retry, OVERLOADED) == pytest.approx(throttle_s)
    assert backoff.delay_s(retry, throttled()) == pytest.approx(throttle_s)


@given(retry=st.integers(1, 5000), named_s=st.none() | st.floats(0, 4000))
def test_a_delay_is_between_what_was_asked_for_and_the_cap(
    retry: int, named_s: float | None
) -> None:
    delay_s = Backoff().delay_s(retry, throttled(named_s))

    assert delay_s >= (named_s or 0.0)
    assert delay_s <= max(5.0, (named_s or 0.0) + 0.01)
