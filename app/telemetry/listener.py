"""Turns what `resilience` reports into metrics and log lines.

Rule: an event has one handler here, found by its type; a type that is not known (yet)
is passed over. Events of a call come through `CallListener`, which knows the route;
those of shared objects (breakers, health) come straight to `ResilienceListener`.
Compose them with `resilience.events.Listeners`, which keeps a failure here away from
the call.
"""

from collections.abc import Callable
from typing import Any

from app.telemetry.correlation import current_span
from app.telemetry.labels import CANCELLED, NONE, OTHER, HedgeResult
from app.telemetry.logging import Logger
from app.telemetry.metrics import Metrics
from resilience.breaker import BreakerState
from resilience.errors import BreakerOpen, BulkheadFull, ConnectTimeout
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
from resilience.outcome import Counts


class ResilienceListener:
    """The shared listener of one application.

    Args:
        metrics: where to count.
        logger: where to write.
    """

    def __init__(self, metrics: Metrics, logger: Logger) -> None:
        self._metrics = metrics
        self._logger = logger
        self._handlers: dict[type, Callable[[Any, str], None]] = {
            AttemptStarted: self._on_attempt_started,
            AttemptSettled: self._on_attempt_settled,
            RetryScheduled: self._on_retry_scheduled,
            RetryBudgetExhausted: self._on_retry_budget_exhausted,
            TargetSkipped: self._on_target_skipped,
            FallbackSelected: self._on_fallback_selected,
            BreakerChanged: self._on_breaker_changed,
            BreakerSharingChanged: self._on_breaker_sharing_changed,
            BreakerRejected: self._on_breaker_rejected,
            BulkheadRejected: self._on_bulkhead_rejected,
            BulkheadWaited: self._on_bulkhead_waited,
            LimitChanged: self._on_limit_changed,
            SlotExpired: self._on_slot_expired,
            AdmissionRejected: self._on_admission_rejected,
            CooldownStarted: self._on_cooldown_started,
            PhaseTimedOut: self._on_phase_timed_out,
            HedgeStarted: self._on_hedge_started,
            HedgeWon: self._on_hedge_won,
            HedgeLost: self._on_hedge_lost,
            HedgeCancelled: self._on_hedge_cancelled,
            DeadlineForeseen: self._on_deadline_foreseen,
            HealthChanged: self._on_health_changed,
        }

    @property
    def handled(self) -> frozenset[type]:
        """The types of events that are not passed over."""
        return frozenset(self._handlers)

    def on_event(self, event: Event) -> None:
        """Note an event that belongs to no call."""
        self.note(event, OTHER)

    def note(self, event: Event, route: str) -> None:
        """Note an event of a call for `route`."""
        handler = self._handlers.get(type(event))
        if handler is not None:
            handler(event, route)

    def _on_attempt_started(self, event: AttemptStarted, route: str) -> None:
        """Nothing: an attempt is counted when its outcome is known."""

    def _on_attempt_settled(self, event: AttemptSettled, route: str) -> None:
        attempt, verdict = event.attempt, event.verdict
        counts = Counts.SUCCESS if verdict is None else verdict.counts
        reason = NONE if verdict is None else verdict.reason
        self._metrics.record_attempt(attempt, counts, reason)
        if verdict is None:
            return
        if isinstance(event.error, ConnectTimeout):
            # The transport's own limit: no layer above it reports the phase.
            self._metrics.record_timeout(attempt.target, event.error.phase)
        if attempt.first_token_at_s is not None and reason != CANCELLED:
            self._metrics.record_stream_broken(attempt.target, reason)
            self._log("warning", "stream_broken", attempt.target, reason=reason)

    def _on_retry_scheduled(self, event: RetryScheduled, route: str) -> None:
        self._metrics.record_retry(event.target, event.reason)
        self._log(
            "info",
            "retry",
            event.target,
            route=route,
            retry=event.retry,
            delayMs=round(event.delay_s * 1000, 3),
            reason=event.reason,
        )

    def _on_retry_budget_exhausted(
        self, event: RetryBudgetExhausted, route: str
    ) -> None:
        self._metrics.record_budget_exhausted(event.target, event.reason)
        self._log(
            "warning",
            "retry_budget_exhausted",
            event.target,
            route=route,
            reason=event.reason,
        )

    def _on_target_skipped(self, event: TargetSkipped, route: str) -> None:
        # A chain looks before it asks, so most refusals show as a target passed over.
        if event.reason == BreakerOpen.reason:
            self._metrics.record_not_permitted(event.target)
        elif event.reason == BulkheadFull.reason:
            self._metrics.record_bulkhead_rejected(event.target)
        self._log(
            "debug", "target_skipped", event.target, route=route, reason=event.reason
        )

    def _on_fallback_selected(self, event: FallbackSelected, route: str) -> None:
        metrics = self._metrics
        metrics.record_fallback(route, event.from_target, event.to_target, event.reason)
        named = self._both(event.from_target, event.to_target)
        self._logger.info("fallback", route=route, **named, reason=event.reason)

    def _on_breaker_changed(self, event: BreakerChanged, route: str) -> None:
        self._metrics.record_breaker_changed(event.target, event.to_state)
        opened = event.to_state in (BreakerState.OPEN, BreakerState.FORCED_OPEN)
        self._log(
            "warning" if opened else "info",
            "breaker_transition",
            event.target,
            fromState=event.from_state,
            toState=event.to_state,
            openForS=event.open_for_s,
        )
        span = current_span()
        if span is not None and span.is_recording():
            span.add_event(
                "breaker.state_changed",
                {
                    "target": event.target,
                    "from": str(event.from_state),
                    "to": str(event.to_state),
                },
            )

    def _on_breaker_sharing_changed(
        self, event: BreakerSharingChanged, route: str
    ) -> None:
        level = "info" if event.shared else "warning"
        self._log(level, "breaker_sharing", event.target, shared=event.shared)

    def _on_breaker_rejected(self, event: BreakerRejected, route: str) -> None:
        self._metrics.record_not_permitted(event.target)
        self._log(
            "debug", "breaker_rejected", event.target, route=route, state=event.state
        )

    def _on_bulkhead_rejected(self, event: BulkheadRejected, route: str) -> None:
        self._metrics.record_bulkhead_rejected(event.target)
        self._metrics.record_bulkhead_wait(event.target, event.waited_s)
        self._log(
            "warning",
            "bulkhead_rejected",
            event.target,
            route=route,
            queued=event.queued,
            waitedMs=round(event.waited_s * 1000, 3),
        )

    def _on_bulkhead_waited(self, event: BulkheadWaited, route: str) -> None:
        self._metrics.record_bulkhead_wait(event.target, event.waited_s)

    def _on_limit_changed(self, event: LimitChanged, route: str) -> None:
        self._log(
            "debug",
            "bulkhead_limit",
            event.target,
            fromLimit=event.from_limit,
            toLimit=event.to_limit,
        )

    def _on_slot_expired(self, event: SlotExpired, route: str) -> None:
        self._log("warning", "slot_expired", event.target, heldS=event.held_s)

    def _on_admission_rejected(self, event: AdmissionRejected, route: str) -> None:
        self._log(
            "debug",
            "admission_rejected",
            event.target,
            route=route,
            probability=event.probability,
        )

    def _on_cooldown_started(self, event: CooldownStarted, route: str) -> None:
        self._log("info", "cooldown", event.target, route=route, forS=event.for_s)

    def _on_phase_timed_out(self, event: PhaseTimedOut, route: str) -> None:
        self._metrics.record_timeout(event.target, event.phase)
        self._log("info", "timeout", event.target, route=route, phase=event.phase)

    def _on_hedge_started(self, event: HedgeStarted, route: str) -> None:
        """Nothing: a hedge is counted when its result is known."""

    def _on_hedge_won(self, event: HedgeWon, route: str) -> None:
        self._end_hedge(event, route, HedgeResult.WON)

    def _on_hedge_lost(self, event: HedgeLost, route: str) -> None:
        self._end_hedge(event, route, HedgeResult.LOST, event.reason)

    def _on_hedge_cancelled(self, event: HedgeCancelled, route: str) -> None:
        self._end_hedge(event, route, HedgeResult.CANCELLED)

    def _end_hedge(
        self,
        event: HedgeWon | HedgeLost | HedgeCancelled,
        route: str,
        result: HedgeResult,
        reason: str | None = None,
    ) -> None:
        self._metrics.record_hedge(event.hedge_target, result)
        named = self._both(event.target, event.hedge_target)
        self._logger.info("hedge", route=route, **named, result=result, reason=reason)

    def _on_deadline_foreseen(self, event: DeadlineForeseen, route: str) -> None:
        self._logger.info(
            "deadline_foreseen",
            route=route,
            remainingMs=round(event.remaining_s * 1000, 3),
            typicalMs=round(event.typical_s * 1000, 3),
        )

    def _on_health_changed(self, event: HealthChanged, route: str) -> None:
        self._log(
            "info" if event.up else "warning",
            "health_changed",
            event.target,
            up=event.up,
            score=round(event.score, 3),
        )

    def _both(self, from_target: str, to_target: str) -> dict[str, str]:
        before = self._metrics.target(from_target)
        after = self._metrics.target(to_target)
        return {
            "fromProvider": before.provider,
            "fromModel": before.model,
            "toProvider": after.provider,
            "toModel": after.model,
        }

    def _log(self, level: str, message: str, target: str, **fields: object) -> None:
        named = self._metrics.target(target)
        write = getattr(self._logger, level)
        write(message, provider=named.provider, model=named.model, **fields)


class CallListener:
    """Tells the shared listener of one call's events, with the call's route."""

    __slots__ = ("_route", "_shared")

    def __init__(self, shared: ResilienceListener, route: str) -> None:
        self._shared = shared
        self._route = route

    def on_event(self, event: Event) -> None:
        """Pass `event` on with the route."""
        self._shared.note(event, self._route)
