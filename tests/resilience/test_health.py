"""The health score follows outcomes, and time rather than the number of calls."""

import pytest

from resilience.health import Health
from resilience.outcome import Counts
from resilience.testing import ManualClock


@pytest.fixture
def health(clock: ManualClock) -> Health:
    return Health(clock)


def test_a_target_is_well_until_something_is_known(health: Health) -> None:
    assert (health.score, health.last_success_s) == (1.0, None)


def test_neutral_outcomes_leave_the_score_alone(health: Health) -> None:
    health.record(Counts.NEUTRAL)

    assert (health.score, health.last_success_s) == (1.0, None)


def test_a_minute_of_failures_is_nearly_dead_and_a_minute_of_answers_nearly_well(
    health: Health, clock: ManualClock
) -> None:
    for counts, low, high in [(Counts.FAILURE, 0, 0.2), (Counts.SUCCESS, 0.8, 1)]:
        for _ in range(60):
            clock.advance(1.0)
            health.record(counts)
        assert low <= health.score <= high

    assert health.last_success_s == clock.now()


def test_a_burst_of_failures_within_one_moment_shows(health: Health) -> None:
    for _ in range(50):
        health.record(Counts.FAILURE)

    assert health.score < 0.4
