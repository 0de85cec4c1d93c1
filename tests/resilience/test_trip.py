"""When it is enough: the numbers, the row of failures, and what counts as evidence."""

import pytest

from resilience.trip import BreakerConfig, TripPolicy, judge_probes, ratios_trip
from resilience.window import Totals


def policy(**config: object) -> TripPolicy:
    return TripPolicy(BreakerConfig(**config), 0.0)


def fail(policy: TripPolicy, *at_s: float) -> None:
    for one_s in at_s:
        policy.record_failure(one_s, slow=False)


def test_unless_told_otherwise_it_judges_by_these_numbers() -> None:
    assert BreakerConfig() == BreakerConfig(
        window="count",
        window_size=100,
        min_calls=10,
        failure_ratio=0.5,
        slow_ratio=0.8,
        consecutive=5,
        quiet_consecutive=3,
        quiet_after_s=30.0,
        quiet_run_s=3.0,
        open_s=10.0,
        open_cap_s=300.0,
        jitter=0.2,
        permitted=3,
        concurrent=1,
        verdict_within_s=60.0,
        ramp_s=10.0,
    )


def test_a_row_of_failures_is_as_long_as_since_its_first() -> None:
    row = policy(quiet_run_s=3.0)
    row.record_success(10.0, slow=False)
    fail(row, 11.0, 12.0)

    fail(row, 13.9)
    assert not row.trips(13.9)
    assert row.trips(14.0)


def test_a_target_that_has_just_answered_is_not_quiet() -> None:
    busy = policy(quiet_after_s=30.0)
    busy.record_success(40.0, slow=False)
    fail(busy, 41.0, 41.0, 41.0)

    assert not busy.trips(41.0)


def test_what_was_cleared_answers_as_if_it_had_just_succeeded() -> None:
    cleared = policy(quiet_after_s=30.0)
    fail(cleared, 1.0, 2.0)
    cleared.clear(40.0)
    fail(cleared, 41.0, 41.0, 41.0)

    assert not cleared.trips(41.0)
    assert cleared.totals(41.0) == Totals(3, 3, 0)


def test_answers_and_slow_attempts_leave_a_time_window_too() -> None:
    timed = policy(window="time", window_size=10)
    timed.record_success(0.0, slow=True)
    timed.record_slow(0.0)
    fail(timed, 0.0)
    assert timed.totals(9.9) == Totals(3, 1, 2)

    assert timed.totals(10.0) == Totals(0, 0, 0)


# --- evidence for what others report


def test_a_failure_is_evidence_until_it_was_long_ago() -> None:
    seen = policy(quiet_after_s=30.0)
    assert not seen.agrees(0.0)
    fail(seen, 40.0)

    assert seen.agrees(69.9)
    assert not seen.agrees(70.0)


@pytest.mark.parametrize(
    ("failed", "slow", "agrees"), [(2, 3, False), (3, 0, True), (0, 4, True)]
)
def test_halfway_to_a_limit_is_evidence_and_not_enough_to_trip(
    failed: int, slow: int, agrees: bool
) -> None:
    seen = policy(min_calls=10, failure_ratio=0.5, slow_ratio=0.8)
    fail(seen, *[1.0] * failed)
    for number in range(10 - failed):
        seen.record_success(1.0, slow=number < slow)

    assert seen.agrees(1.0) is agrees
    assert not seen.trips(1.0)


def test_evidence_in_a_time_window_grows_old() -> None:
    timed = policy(window="time", window_size=10)
    for _ in range(10):
        timed.record_slow(1.0)

    assert timed.agrees(10.9)
    assert not timed.agrees(11.0)


@pytest.mark.parametrize("share", [0.5, 1.0])
def test_a_share_of_the_limits_is_reached_exactly_at_it(share: float) -> None:
    config = BreakerConfig(min_calls=10, failure_ratio=0.4, slow_ratio=0.8)
    failed, slow = int(4 * share), int(8 * share)

    assert ratios_trip(config, Totals(10, failed, 0), share)
    assert ratios_trip(config, Totals(10, 0, slow), share)
    assert not ratios_trip(config, Totals(10, failed - 1, slow - 1), share)
    assert not ratios_trip(config, Totals(9, 9, 9), share)


# --- probes


def test_more_probes_than_were_permitted_are_judged_by_their_own_number() -> None:
    config = BreakerConfig(permitted=3, failure_ratio=0.5, slow_ratio=0.8)

    assert judge_probes(config, Totals(5, 2, 3)) is True
    assert judge_probes(config, Totals(5, 3, 0)) is False
    assert judge_probes(config, Totals(5, 0, 4)) is False
