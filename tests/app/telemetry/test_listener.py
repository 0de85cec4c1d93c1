"""Every event of `resilience` becomes what the design says it becomes."""

from dataclasses import dataclass
from typing import get_args

import pytest

from app.errors import UpstreamThrottled, UpstreamUnavailable, classify
from app.telemetry.listener import CallListener, ResilienceListener
from resilience import events
from resilience.call import Attempt, AttemptKind
from resilience.errors import ConnectTimeout, IdleTimeout
from resilience.events import (
    AttemptSettled,
    AttemptStarted,
    BreakerChanged,
    BreakerRejected,
    BulkheadRejected,
    BulkheadWaited,
    CooldownStarted,
    FallbackSelected,
    PhaseTimedOut,
    RetryBudgetExhausted,
    RetryScheduled,
    TargetSkipped,
)
from tests.app.telemetry.scene import ALPHA, BETA, Scene

ALPHA_LABELS = {"provider": "alpha", "model": "small"}


@pytest.fixture
def scene() -> Scene:
    return Scene()


@pytest.fixture
def listener(scene: Scene) -> ResilienceListener:
    return ResilienceListener(scene.metrics, scene.logger)


def an_attempt(
    *, first_token_at_s: float | None = None, ended_at_s: float = 3.0, tokens: int = 0
) -> Attempt:
    return Attempt(
        ALPHA.name, 1, AttemptKind.PRIMARY, 1.0, first_token_at_s, ended_at_s, tokens
    )


def settled(attempt: Attempt, error: BaseException | None = None) -> AttemptSettled:
    verdict = None if error is None else classify(error)
    return AttemptSettled(attempt, verdict, error, False)


def test_every_event_there_is_is_handled(listener: ResilienceListener) -> None:
    assert listener.handled == set(get_args(events.Event.__value__))


def test_an_event_of_a_later_version_is_passed_over(
    listener: ResilienceListener,
) -> None:
    @dataclass(frozen=True)
    class MoonRisen:
        target: str

    listener.on_event(MoonRisen("alpha/small"))  # type: ignore[arg-type]  # that is the point


def test_an_attempt_is_counted_when_it_ends(
    scene: Scene, listener: ResilienceListener
) -> None:
    attempt = an_attempt(first_token_at_s=1.3, ended_at_s=2.3, tokens=11)
    labels = ALPHA_LABELS | {
        "kind": "primary",
        "outcome": "success",
        "error_type": "none",
    }
    listener.on_event(AttemptStarted(attempt))
    assert scene.value("attempts_total", **labels) == 0
    listener.on_event(settled(attempt))
    assert scene.value("attempts_total", **labels) == 1
    name = "attempt_duration_seconds_sum"
    duration_s = scene.value(name, **ALPHA_LABELS, outcome="success")
    assert duration_s == pytest.approx(1.3)
    first_token_s = scene.value("time_to_first_token_seconds_sum", **ALPHA_LABELS)
    assert first_token_s == pytest.approx(0.3)
    per_token_s = scene.value("time_per_output_token_seconds_sum", **ALPHA_LABELS)
    assert per_token_s == pytest.approx(0.1)
    name = "provider_last_success_timestamp_seconds"
    assert (scene.value(name, **ALPHA_LABELS) or 0) > 1.7e9


def test_a_failed_attempt_is_counted_by_its_reason(
    scene: Scene, listener: ResilienceListener
) -> None:
    listener.on_event(settled(an_attempt(), UpstreamUnavailable()))
    labels = {"kind": "primary", "outcome": "failure", "error_type": "unavailable"}
    assert scene.value("attempts_total", **ALPHA_LABELS, **labels) == 1
    assert (
        scene.value("streams_broken_total", provider="alpha", reason="unavailable")
        is None
    )


def test_a_throttled_attempt_is_counted_as_neutral(
    scene: Scene, listener: ResilienceListener
) -> None:
    listener.on_event(settled(an_attempt(), UpstreamThrottled()))
    labels = {"kind": "primary", "outcome": "neutral", "error_type": "throttled"}
    assert scene.value("attempts_total", **ALPHA_LABELS, **labels) == 1


def test_a_failure_after_the_first_token_is_a_broken_stream(
    scene: Scene, listener: ResilienceListener
) -> None:
    broken = settled(an_attempt(first_token_at_s=1.2), IdleTimeout(15))
    listener.on_event(broken)
    labels = {"provider": "alpha", "reason": "idle_timeout"}
    assert scene.value("streams_broken_total", **labels) == 1
    assert scene.lines("stream_broken")[0]["reason"] == "idle_timeout"


def test_a_client_that_leaves_in_mid_stream_broke_nothing(
    scene: Scene, listener: ResilienceListener
) -> None:
    listener.on_event(settled(an_attempt(first_token_at_s=1.2), GeneratorExit()))
    labels = {"provider": "alpha", "reason": "cancelled"}
    assert scene.value("streams_broken_total", **labels) is None


def test_timeouts_are_counted_by_phase_whoever_keeps_the_limit(
    scene: Scene, listener: ResilienceListener
) -> None:
    listener.on_event(PhaseTimedOut(ALPHA.name, "first_token"))
    listener.on_event(PhaseTimedOut(ALPHA.name, "deadline"))
    listener.on_event(settled(an_attempt(), ConnectTimeout(2)))
    for phase, expected in (("first_token", 1), ("connect", 1), ("idle", 0)):
        assert scene.value("timeouts_total", provider="alpha", phase=phase) == expected
    assert scene.value("timeouts_total", provider="alpha", phase="deadline") is None


def test_a_retry_is_counted_and_logged(
    scene: Scene, listener: ResilienceListener
) -> None:
    CallListener(listener, "chat").on_event(
        RetryScheduled(ALPHA.name, 1, 0.05, "unavailable")
    )
    assert scene.value("retries_total", provider="alpha", reason="unavailable") == 1
    line = scene.lines("retry")[0]
    assert line["route"] == "chat"
    assert (line["provider"], line["model"]) == ("alpha", "small")
    assert (line["retry"], line["delayMs"]) == (1, 50.0)


def test_an_empty_budget_is_counted_and_logged(
    scene: Scene, listener: ResilienceListener
) -> None:
    listener.on_event(RetryBudgetExhausted(ALPHA.name, "unavailable"))
    labels = {"provider": "alpha", "reason": "unavailable"}
    assert scene.value("retry_budget_exhausted_total", **labels) == 1
    assert scene.lines("retry_budget_exhausted")[0]["level"] == "warning"


def test_a_fallback_is_counted_for_the_route_of_its_call(
    scene: Scene, listener: ResilienceListener
) -> None:
    CallListener(listener, "chat").on_event(
        FallbackSelected(ALPHA.name, BETA.name, "first_token_timeout")
    )
    labels = {
        "route": "chat",
        "from_provider": "alpha",
        "to_provider": "beta",
        "reason": "first_token_timeout",
    }
    assert scene.value("fallbacks_total", **labels) == 1
    line = scene.lines("fallback")[0]
    assert line["toModel"] == "Qwen/Qwen3-8B"


def test_a_breakers_change_is_counted_and_logged(
    scene: Scene, listener: ResilienceListener
) -> None:
    listener.on_event(BreakerChanged(ALPHA.name, "closed", "open", 10.0))
    listener.on_event(BreakerChanged(ALPHA.name, "open", "half_open"))
    name = "circuit_breaker_transitions_total"
    assert scene.value(name, **ALPHA_LABELS, to="open") == 1
    assert scene.value(name, **ALPHA_LABELS, to="half_open") == 1
    opened, tried = scene.lines("breaker_transition")
    assert (opened["level"], opened["fromState"], opened["openForS"]) == (
        "warning",
        "closed",
        10.0,
    )
    assert (tried["level"], tried["toState"]) == ("info", "half_open")


def test_an_open_breaker_counts_whether_it_was_asked_or_passed_over(
    scene: Scene, listener: ResilienceListener
) -> None:
    listener.on_event(BreakerRejected(ALPHA.name, "open"))
    listener.on_event(TargetSkipped(ALPHA.name, "breaker_open"))
    listener.on_event(TargetSkipped(ALPHA.name, "cooling_down"))
    assert scene.value("circuit_breaker_not_permitted_total", **ALPHA_LABELS) == 2


def test_a_full_bulkhead_counts_whether_it_was_asked_or_passed_over(
    scene: Scene, listener: ResilienceListener
) -> None:
    listener.on_event(BulkheadRejected(ALPHA.name, True, 1.0))
    listener.on_event(TargetSkipped(ALPHA.name, "bulkhead_full"))
    listener.on_event(BulkheadWaited(ALPHA.name, 0.02))
    assert scene.value("bulkhead_rejected_total", **ALPHA_LABELS) == 2
    assert scene.value("bulkhead_wait_seconds_count", **ALPHA_LABELS) == 2
    assert scene.lines("bulkhead_rejected")[0]["waitedMs"] == 1000.0


def test_a_cool_down_is_logged(scene: Scene, listener: ResilienceListener) -> None:
    listener.on_event(CooldownStarted(ALPHA.name, 2.0))
    assert scene.lines("cooldown")[0]["forS"] == 2.0


def test_an_event_of_an_unknown_target_is_counted_as_other(
    scene: Scene, listener: ResilienceListener
) -> None:
    listener.on_event(BreakerRejected("gone/away", "open"))
    labels = {"provider": "other", "model": "other"}
    assert scene.value("circuit_breaker_not_permitted_total", **labels) == 1
