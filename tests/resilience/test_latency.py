"""A target's latency: peaks at once, means in time; nothing hides or flatters it."""

import math

import pytest

from resilience.call import Attempt, AttemptKind
from resilience.latency import Ewma, PeakEwma, TargetLatency
from resilience.testing import ManualClock


def attempt(
    clock: ManualClock,
    first_s: float | None,
    *,
    tokens: int = 0,
    lasted_s: float = 0.0,
    whole: bool = False,
) -> Attempt:
    """A settled attempt that began now."""
    now_s = clock.now()
    return Attempt(
        "a",
        1,
        AttemptKind.PRIMARY,
        now_s,
        first_token_at_s=None if first_s is None else now_s + first_s,
        ended_at_s=now_s + max(lasted_s, first_s or 0.0),
        tokens=tokens,
        whole=whole,
    )


@pytest.fixture
def latency(clock: ManualClock) -> TargetLatency:
    return TargetLatency(clock)


def test_a_mean_is_unknown_at_first_and_then_follows_time() -> None:
    mean = Ewma(1000.0, tau_s=10.0)
    assert mean.value is None

    mean.record(1.0, 1000.0)
    assert mean.value == 1.0
    mean.record(2.0, 1010.0)

    assert mean.value == pytest.approx(2.0 - 1.0 / math.e)


def test_a_peak_shows_at_once_and_fades_in_time() -> None:
    peak = PeakEwma(1000.0, tau_s=10.0)
    assert peak.value(1000.0) == 0.0
    peak.record(0.1, 1000.0)
    peak.record(3.0, 1000.0)
    assert peak.value(1000.0) == 3.0

    peak.record(0.1, 1000.0)
    assert peak.value(1000.0) == 3.0, "no time has passed"
    peak.record(0.1, 1010.0)

    assert peak.value(1010.0) == pytest.approx(0.1 + 2.9 / math.e)


def test_a_target_that_is_left_alone_looks_better_with_time() -> None:
    peak = PeakEwma(1000.0, tau_s=10.0)
    peak.record(3.0, 1000.0)

    assert 0 < peak.value(1100.0) < 0.001
    assert peak.value(1000.0) == 3.0, "looking changes nothing"


def test_an_answer_is_learnt_from_in_every_respect(
    clock: ManualClock, latency: TargetLatency
) -> None:
    for first_s in [0.1] * 18 + [2.0] * 2:
        latency.record(attempt(clock, first_s, tokens=11, lasted_s=first_s + 1.0))

    assert latency.typical_s == pytest.approx(0.1, rel=0.05)
    assert latency.tail_s == pytest.approx(2.0, rel=0.05)
    assert latency.peak_s == 2.0
    assert latency.per_token.value == pytest.approx(0.1)
    assert latency.first_token.value is not None
    assert 0.1 < latency.first_token.value < 2.0


def test_an_answer_in_one_piece_says_nothing(
    clock: ManualClock, latency: TargetLatency
) -> None:
    latency.record(attempt(clock, None, lasted_s=60.0, whole=True))

    assert latency.peak_s == 0.0
    assert latency.first_token.value is None


def test_failing_fast_does_not_look_fast(
    clock: ManualClock, latency: TargetLatency
) -> None:
    for _ in range(20):
        latency.record(attempt(clock, 1.0))
    for _ in range(100):
        latency.record(attempt(clock, None, lasted_s=0.01))

    assert latency.typical_s == pytest.approx(1.0, rel=0.05)
    assert latency.tail_s == pytest.approx(1.0, rel=0.05)
    assert (latency.peak_s, latency.first_token.value) == (1.0, 1.0)


def test_a_wait_without_a_first_token_may_raise_what_is_known(
    clock: ManualClock, latency: TargetLatency
) -> None:
    for _ in range(20):
        latency.record(attempt(clock, 1.0))
    for _ in range(20):
        latency.record(attempt(clock, None, lasted_s=5.0))

    assert latency.tail_s == pytest.approx(5.0, rel=0.05)
    assert latency.peak_s == 5.0
    assert latency.first_token.value is not None
    assert latency.first_token.value > 1.0


def test_hedges_that_end_late_attempts_do_not_hide_the_tail(
    clock: ManualClock, latency: TargetLatency
) -> None:
    """Else the tail would shrink with every hedge, and hedge ever more."""
    for _ in range(20):
        latency.record(attempt(clock, 1.0))

    for number in range(200):
        late_s = latency.tail_s
        assert late_s is not None
        if number % 10 == 0:  # one in ten is much later than that, and cut off
            latency.record(attempt(clock, None, lasted_s=late_s + 0.3))
        else:
            latency.record(attempt(clock, 1.0))

    assert latency.tail_s is not None
    assert latency.tail_s > 1.0


def test_a_wait_before_anything_is_known_is_a_peak_only(
    clock: ManualClock, latency: TargetLatency
) -> None:
    latency.record(attempt(clock, None, lasted_s=5.0))

    assert latency.peak_s == 5.0
    assert (latency.typical_s, latency.first_token.value) == (None, None)
