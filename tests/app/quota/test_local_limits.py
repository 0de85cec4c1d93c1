"""The limits of one process, on its own clock."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.quota.local import MICRO, LocalLimits
from resilience.testing import ManualClock

rates = st.tuples(st.integers(1, 60 * MICRO), st.integers(1, 50))
waits_us = st.lists(st.integers(0, 5 * MICRO), min_size=1, max_size=60)


class Tap:
    """One key at a fixed rate."""

    def __init__(self, interval_us: int, burst: int, now_s: float = 1000.0) -> None:
        self.clock = ManualClock(now_s)
        self.limits = LocalLimits(self.clock)
        self.interval_us = interval_us
        self.burst = burst

    def ask(self, key: str = "k"):  # type: ignore[no-untyped-def]  # returns Decision
        return self.limits.hold(key, interval_us=self.interval_us, burst=self.burst)


@given(
    limit=st.integers(1, 3000),
    now_s=st.floats(0, 1e8),
)
def test_a_whole_burst_is_admitted_at_once_whatever_the_clock_shows(
    limit: int, now_s: float
) -> None:
    tap = Tap(60 * MICRO // limit, limit, now_s)
    remaining = [tap.ask().remaining for _ in range(limit)]
    assert remaining == list(range(limit - 1, -1, -1))
    assert not tap.ask().admitted


@given(rate=rates, waits=waits_us)
def test_never_more_is_admitted_than_the_burst_and_what_the_time_has_earned(
    rate: tuple[int, int], waits: list[int]
) -> None:
    interval_us, burst = rate
    tap = Tap(interval_us, burst)
    admitted, passed_us = 0, 0
    for wait_us in waits:
        tap.clock.advance(wait_us / MICRO)
        passed_us += wait_us + 1  # the clock's own rounding
        admitted += tap.ask().admitted
        assert admitted <= burst + passed_us / interval_us


@given(rate=rates, waits=waits_us)
def test_who_waits_as_long_as_told_is_admitted(
    rate: tuple[int, int], waits: list[int]
) -> None:
    tap = Tap(*rate)
    for wait_us in waits:
        tap.clock.advance(wait_us / MICRO)
        decision = tap.ask()
        if not decision.admitted:
            assert decision.remaining == 0
            assert decision.retry_after_s > 0
            tap.clock.advance(decision.retry_after_s + 1 / MICRO)
            assert tap.ask().admitted


@given(rate=rates, asked=st.integers(1, 100))
def test_after_the_reset_the_whole_burst_is_free(
    rate: tuple[int, int], asked: int
) -> None:
    tap = Tap(*rate)
    for _ in range(asked):
        decision = tap.ask()
    tap.clock.advance(decision.reset_after_s + 1 / MICRO)
    assert all(tap.ask().admitted for _ in range(tap.burst))
    assert not tap.ask().admitted


def test_a_refusal_costs_nothing() -> None:
    tap = Tap(MICRO, 1)
    assert tap.ask().admitted
    first = tap.ask()
    assert tap.ask() == first
    assert first.retry_after_s == pytest.approx(1.0)


def test_keys_do_not_share_a_limit() -> None:
    tap = Tap(MICRO, 1)
    assert tap.ask("a").admitted
    assert tap.ask("b").admitted
    assert not tap.ask("a").admitted
