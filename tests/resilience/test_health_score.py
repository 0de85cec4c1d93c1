"""A target's score: availability, speed and breaker in one, and when it crosses."""

import pytest

from resilience.breaker import Breaker, BreakerConfig, BreakerState
from resilience.call import Attempt, AttemptKind
from resilience.events import BreakerChanged, CooldownStarted, HealthChanged, Listeners
from resilience.health import Health
from resilience.latency import TargetLatency
from resilience.outcome import Counts
from resilience.pipeline import Pipeline
from resilience.slowness import SlownessRule
from resilience.testing import ManualClock, ScriptedOperation
from tests.resilience.scenery import (
    AUTH_FAILED,
    ProviderError,
    Recorder,
    classify,
    make_call,
)

SLOW = SlownessRule(first_token_s=2.0, per_token_s=0.1)


def answer(clock: ManualClock, first_s: float, per_token_s: float) -> Attempt:
    now_s = clock.now()
    return Attempt(
        "a",
        1,
        AttemptKind.PRIMARY,
        now_s,
        first_token_at_s=now_s + first_s,
        ended_at_s=now_s + first_s + 10 * per_token_s,
        tokens=11,
    )


@pytest.mark.parametrize(
    ("first_s", "per_token_s", "speed"),
    [(2.0, 0.1, 1.0), (4.0, 0.1, 0.5), (2.0, 0.2, 0.5), (8.0, 0.2, 0.25)],
)
def test_speed_is_how_far_the_worse_of_the_two_means_keeps_to_its_threshold(
    clock: ManualClock, first_s: float, per_token_s: float, speed: float
) -> None:
    health = Health(clock, "a", slow=SLOW)
    health.started()

    health.settled(answer(clock, first_s, per_token_s), Counts.SUCCESS)

    assert health.speed == pytest.approx(speed)
    assert health.score == pytest.approx(speed)
    assert health.availability == 1.0


def test_without_thresholds_speed_is_not_judged(clock: ManualClock) -> None:
    health = Health(clock, "a")

    health.settled(answer(clock, 100.0, 10.0), Counts.SUCCESS)

    assert health.score == 1.0


@pytest.mark.parametrize(
    ("state", "score"),
    [
        (BreakerState.OPEN, 0.0),
        (BreakerState.FORCED_OPEN, 0.0),
        (BreakerState.HALF_OPEN, 0.5),
        (BreakerState.METRICS_ONLY, 1.0),
        (BreakerState.CLOSED, 1.0),
    ],
)
def test_an_open_breaker_is_no_health_and_one_on_trial_is_half(
    clock: ManualClock, state: BreakerState, score: float
) -> None:
    health = Health(clock, "a")

    health.on_event(BreakerChanged("a", "closed", state))

    assert health.score == score


def test_what_does_not_concern_its_breaker_changes_nothing(clock: ManualClock) -> None:
    health = Health(clock, "a")

    health.on_event(BreakerChanged("b", "closed", "open"))
    health.on_event(CooldownStarted("a", 1.0))

    assert health.score == 1.0


def test_it_hears_of_its_breaker_at_once(clock: ManualClock) -> None:
    heard = Recorder()
    health = Health(clock, "a", listener=heard)
    breaker = Breaker("a", BreakerConfig(), clock, listener=Listeners([health, heard]))

    breaker.force(BreakerState.FORCED_OPEN)
    assert not health.up
    breaker.force(None)

    assert health.up
    assert heard.of(HealthChanged) == [
        HealthChanged("a", False, 0.0),
        HealthChanged("a", True, 1.0),
    ]


def test_between_the_thresholds_it_stays_what_it_was(clock: ManualClock) -> None:
    heard = Recorder()
    health = Health(clock, "a", listener=heard)
    seen: list[tuple[bool, float]] = []
    for counts in [Counts.FAILURE] * 60 + [Counts.SUCCESS] * 60:
        clock.advance(1.0)
        health.record(counts)
        seen.append((health.up, health.score))

    down, up = heard.of(HealthChanged)
    assert (down.up, up.up) == (False, True)
    assert down.score < 0.5 and up.score >= 0.7
    assert all(is_up for is_up, score in seen[:60] if score >= 0.5)
    assert not any(is_up for is_up, score in seen[60:] if score < 0.7)


def test_nobody_needs_to_listen(clock: ManualClock) -> None:
    health = Health(clock, "a", latency=TargetLatency(clock, tail=0.9))

    health.on_event(BreakerChanged("a", "closed", "open"))

    assert not health.up


def test_an_unknown_target_is_free_for_the_first_only(clock: ManualClock) -> None:
    health = Health(clock, "a")
    assert health.load_s == 0.0
    health.started()
    assert health.load_s > 1000.0

    health.settled(answer(clock, 2.0, 0.1), Counts.SUCCESS)

    assert health.load_s == 2.0
    health.started()
    assert health.load_s == 4.0


async def test_a_pipeline_records_what_was_sent_from_send_to_settlement(
    clock: ManualClock,
) -> None:
    health = Health(clock, "a")
    pipeline = Pipeline([], classify=classify, health=health)
    call = make_call(target="a")

    await pipeline.execute(ScriptedOperation("answer"), call)
    assert health.in_flight == 1
    assert health.last_success_s is None
    await call.close()

    assert health.in_flight == 0
    assert health.last_success_s == clock.now()
    with pytest.raises(ProviderError):
        await pipeline.execute(ScriptedOperation(ProviderError()), call)
    assert (health.in_flight, health.availability) == (0, pytest.approx(0.98))


async def test_a_neutral_outcome_is_no_news_of_availability(clock: ManualClock) -> None:
    health = Health(clock, "a")
    pipeline = Pipeline([], classify=classify, health=health)

    with pytest.raises(ProviderError):
        await pipeline.execute(
            ScriptedOperation(ProviderError(AUTH_FAILED)), make_call(target="a")
        )

    assert (health.availability, health.last_outcome_s) == (1.0, None)
