"""Both windows count what a naive list of outcomes counts."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resilience.window import CountWindow, TimeWindow, Totals

outcomes = st.lists(
    st.tuples(
        st.floats(0, 40, allow_nan=False),  # seconds since the last outcome
        st.booleans(),
        st.booleans(),
    ),
    max_size=60,
)


def naive(kept: list[tuple[bool, bool]]) -> Totals:
    return Totals(len(kept), sum(one[0] for one in kept), sum(one[1] for one in kept))


@given(size=st.integers(1, 12), history=outcomes)
def test_a_count_window_holds_the_last_outcomes(
    size: int, history: list[tuple[float, bool, bool]]
) -> None:
    window = CountWindow(size)
    seen: list[tuple[bool, bool]] = []
    for _, failed, slow in history:
        window.record(0.0, failed=failed, slow=slow)
        seen.append((failed, slow))
        assert window.totals(0.0) == naive(seen[-size:])


@given(span_s=st.integers(1, 12), start_s=st.floats(-1e3, 1e6), history=outcomes)
def test_a_time_window_holds_the_outcomes_of_the_last_whole_seconds(
    span_s: int, start_s: float, history: list[tuple[float, bool, bool]]
) -> None:
    window, now_s = TimeWindow(span_s), start_s
    seen: list[tuple[float, bool, bool]] = []
    for passed_s, failed, slow in history:
        now_s += passed_s
        recent = [
            (old_failed, old_slow)
            for at_s, old_failed, old_slow in seen
            if at_s // 1 > now_s // 1 - span_s
        ]
        assert window.totals(now_s) == naive(recent)
        window.record(now_s, failed=failed, slow=slow)
        seen.append((now_s, failed, slow))
        assert window.totals(now_s) == naive([*recent, (failed, slow)])


@pytest.mark.parametrize(
    "window", [CountWindow(3), TimeWindow(3)], ids=["count", "time"]
)
def test_a_cleared_window_starts_from_nothing(window: CountWindow | TimeWindow) -> None:
    for _ in range(5):
        window.record(10.0, failed=True, slow=True)

    window.clear()

    assert window.totals(10.0) == Totals(0, 0, 0)
    window.record(2.0, failed=False, slow=True)
    assert window.totals(2.0) == Totals(1, 0, 1)


def test_a_reading_from_the_past_is_counted_in_the_newest_second() -> None:
    window = TimeWindow(2)
    window.record(10.0, failed=True, slow=False)

    window.record(3.0, failed=True, slow=False)

    assert window.totals(11.0).failed == 2
    assert window.totals(12.0).failed == 0


def test_ratios_of_an_empty_window_are_zero() -> None:
    assert (Totals(0, 0, 0).failure_ratio, Totals(0, 0, 0).slow_ratio) == (0.0, 0.0)
    assert (Totals(4, 1, 2).failure_ratio, Totals(4, 1, 2).slow_ratio) == (0.25, 0.5)


@pytest.mark.parametrize("kind", [CountWindow, TimeWindow])
def test_a_window_of_nothing_is_refused(kind: type[CountWindow]) -> None:
    with pytest.raises(ValueError, match=r"^a (count|time) window .* at least one"):
        kind(0)


def test_what_was_cleared_does_not_leave_a_second_time() -> None:
    window = TimeWindow(3)
    for _ in range(5):
        window.record(10.0, failed=True, slow=True)

    window.clear()
    window.record(13.0, failed=True, slow=False)

    assert window.totals(15.9) == Totals(1, 1, 0)
    assert window.totals(16.0) == Totals(0, 0, 0)


def test_a_cleared_time_window_forgets_when_it_last_counted() -> None:
    window = TimeWindow(3)
    window.record(10.0, failed=True, slow=False)

    window.clear()
    window.record(2.0, failed=True, slow=False)

    assert window.totals(5.0) == Totals(0, 0, 0)


def test_seconds_before_zero_are_as_long_as_those_after_it() -> None:
    window = TimeWindow(1)
    window.record(-0.5, failed=True, slow=False)

    assert window.totals(-0.1).recorded == 1
    assert window.totals(0.2).recorded == 0


def test_a_silence_of_any_length_costs_no_more_than_one_span() -> None:
    window = TimeWindow(3)
    window.record(10.0, failed=True, slow=False)

    assert window.totals(1e15) == Totals(0, 0, 0)
