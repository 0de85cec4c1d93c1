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
    AdmissionRejected,
    AttemptSettled,
    AttemptStarted,
    BreakerChanged,
    BreakerRejected,
    BreakerSharingChanged,
    BulkheadRejected,
    BulkheadWaited,
    CooldownStarted,
    DeadlineForeseen,
    Event,
    FallbackSelected,
    HealthChanged,
    HedgeCancelled,
    HedgeLost,
    HedgeStarted,
    HedgeWon,
    LimitChanged,
    PhaseTimedOut,
    RetryBudgetExhausted,
    RetryScheduled,
    SlotExpired,
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


HEDGES = {
    "won": (HedgeWon(ALPHA.name, BETA.name), None),
    "lost": (HedgeLost(ALPHA.name, BETA.name, "beaten"), "beaten"),
    "cancelled": (HedgeCancelled(ALPHA.name, BETA.name), None),
}


@pytest.mark.parametrize("result", HEDGES)
def test_a_hedge_is_counted_for_whom_it_was_sent_to_when_it_has_ended(
    scene: Scene, listener: ResilienceListener, result: str
) -> None:
    ended, reason = HEDGES[result]
    told = CallListener(listener, "chat")
    told.on_event(HedgeStarted(ALPHA.name, BETA.name, 0.8))
    assert not scene.lines("hedge")
    told.on_event(ended)

    for each in HEDGES:
        counted = scene.value("hedges_total", provider="beta", result=each)
        assert counted == (each == result)
    [line] = scene.lines("hedge")
    assert (line["route"], line["result"], line["reason"]) == ("chat", result, reason)
    assert (line["fromProvider"], line["toProvider"]) == ("alpha", "beta")


def test_a_hedge_that_the_budget_did_not_allow_is_counted_as_one(
    scene: Scene, listener: ResilienceListener
) -> None:
    listener.on_event(RetryBudgetExhausted(BETA.name, AttemptKind.HEDGE))
    labels = {"provider": "beta", "reason": "hedge"}
    assert scene.value("retry_budget_exhausted_total", **labels) == 1


TOLD: dict[str, tuple[Event, str, dict[str, object]]] = {
    "deadline_foreseen": (
        DeadlineForeseen(0.5, 2.0),
        "info",
        {"remainingMs": 500.0, "typicalMs": 2000.0, "route": "chat"},
    ),
    "health_changed": (
        HealthChanged(ALPHA.name, False, 0.41234),
        "warning",
        {"up": False, "score": 0.412, "provider": "alpha"},
    ),
    "breaker_sharing": (
        BreakerSharingChanged(ALPHA.name, False),
        "warning",
        {"shared": False, "provider": "alpha"},
    ),
    "bulkhead_limit": (
        LimitChanged(ALPHA.name, 40, 36),
        "debug",
        {"fromLimit": 40, "toLimit": 36, "provider": "alpha"},
    ),
    "slot_expired": (
        SlotExpired(ALPHA.name, 300.0),
        "warning",
        {"heldS": 300.0, "provider": "alpha"},
    ),
    "admission_rejected": (
        AdmissionRejected(ALPHA.name, 0.25),
        "debug",
        {"probability": 0.25, "provider": "alpha", "route": "chat"},
    ),
}


@pytest.mark.parametrize("message", TOLD)
def test_what_changes_nothing_for_a_metric_is_logged(
    scene: Scene, listener: ResilienceListener, message: str
) -> None:
    event, level, fields = TOLD[message]
    CallListener(listener, "chat").on_event(event)
    [line] = scene.lines(message)
    assert line["level"] == level
    assert {name: line[name] for name in fields} == fields


def test_what_gets_well_again_is_no_warning(
    scene: Scene, listener: ResilienceListener
) -> None:
    listener.on_event(HealthChanged(ALPHA.name, True, 0.8))
    listener.on_event(BreakerSharingChanged(ALPHA.name, True))
    assert {line["level"] for line in scene.lines()} == {"info"}
