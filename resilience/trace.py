"""Why a call went the way it did: its decisions, in order, fit to be shown.

Rule: a listener like any other, made from events alone; it decides nothing. Bounded: a
call that goes on deciding keeps its first decisions and its latest one. Names and
labels only, no error texts: those may hold what a provider was sent.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from resilience.call import Attempt
from resilience.clock import Clock
from resilience.events import (
    AttemptSettled,
    AttemptStarted,
    BreakerRejected,
    BulkheadRejected,
    DeadlineForeseen,
    Event,
    FallbackSelected,
    HedgeCancelled,
    HedgeLost,
    HedgeStarted,
    HedgeWon,
    RetryBudgetExhausted,
    RetryScheduled,
    TargetSkipped,
)


class Step(StrEnum):
    """What was decided, or turned out."""

    SKIPPED = "skipped"
    """Passed over without an attempt."""
    REFUSED = "refused"
    """Chosen, and then turned away by one of its own layers."""
    SENT = "sent"
    """Asked; `reason` is the kind of attempt."""
    FAILED = "failed"
    ANSWERED = "answered"
    """Its answer is complete; `after_s` is when its first token came."""
    RETRIED = "retried"
    """To be asked again, `after_s` later."""
    NOT_REPEATED = "not_repeated"
    """No budget for a retry or a hedge."""
    FELL_BACK = "fell_back"
    """Left for `other`."""
    HEDGED = "hedged"
    """Late by `after_s`: `other` was asked as well."""
    HEDGE_WON = "hedge_won"
    HEDGE_LOST = "hedge_lost"
    HEDGE_CANCELLED = "hedge_cancelled"
    GIVEN_UP = "given_up"
    """Nobody typically answers (within `after_s`) in the time that is left."""


@dataclass(frozen=True, slots=True)
class Decision:
    """One decision; `at_s` and `after_s` are seconds, the first since the call began.

    `target` and `other` are empty where they do not apply, as is `reason`.
    """

    at_s: float
    step: Step
    target: str = ""
    reason: str = ""
    other: str = ""
    after_s: float | None = None

    def as_dict(self) -> dict[str, str | float]:
        """Return what applies, with times rounded to a millisecond."""
        told: dict[str, str | float] = {
            "at_s": round(self.at_s, 3),
            "step": str(self.step),
        }
        for name in ("target", "reason", "other"):
            if value := getattr(self, name):
                told[name] = str(value)
        if self.after_s is not None:
            told["after_s"] = round(self.after_s, 3)
        return told


type _Told = tuple[Step, str, str, str, float | None]


class DecisionTrace:
    """The decisions of one call; give it to the call as (one of) its listeners.

    It keeps `limit` decisions, and counts those it left out before the latest.

    Raises:
        ValueError: `limit` is below 2, which leaves no room for the latest.
    """

    def __init__(self, clock: Clock, *, limit: int = 32) -> None:
        if limit < 2:
            raise ValueError("a trace has room for a first decision and the latest")
        self._clock = clock
        self._started_s = clock.now()
        self._limit = limit
        self._decisions: list[Decision] = []
        self.left_out = 0

    @property
    def decisions(self) -> tuple[Decision, ...]:
        """The decisions so far, oldest first."""
        return tuple(self._decisions)

    def on_event(self, event: Event) -> None:
        """Note `event` if it is a decision, or the outcome of one."""
        tell = _TOLD_BY.get(type(event))
        if tell is None:
            return
        decision = Decision(self._clock.now() - self._started_s, *tell(event))
        if len(self._decisions) == self._limit:
            self.left_out += 1
            self._decisions[-1] = decision
        else:
            self._decisions.append(decision)

    def as_dicts(self) -> list[dict[str, str | float]]:
        """Return the decisions for an API or a span; those left out are told of."""
        told = [decision.as_dict() for decision in self._decisions]
        if self.left_out:
            told.insert(-1, {"left_out": self.left_out})
        return told


def _on_started(event: AttemptStarted) -> _Told:
    attempt = event.attempt
    return Step.SENT, attempt.target, attempt.kind, "", None


def _on_settled(event: AttemptSettled) -> _Told:
    attempt: Attempt = event.attempt
    if event.verdict is None:
        return Step.ANSWERED, attempt.target, "", "", attempt.first_token_s
    return Step.FAILED, attempt.target, event.verdict.reason, "", attempt.duration_s


def _on_retry(event: RetryScheduled) -> _Told:
    return Step.RETRIED, event.target, event.reason, "", event.delay_s


def _on_no_budget(event: RetryBudgetExhausted) -> _Told:
    return Step.NOT_REPEATED, event.target, event.reason, "", None


def _on_skipped(event: TargetSkipped) -> _Told:
    return Step.SKIPPED, event.target, event.reason, "", None


def _on_fallback(event: FallbackSelected) -> _Told:
    return Step.FELL_BACK, event.from_target, event.reason, event.to_target, None


def _on_breaker(event: BreakerRejected) -> _Told:
    return Step.REFUSED, event.target, f"breaker_{event.state}", "", None


def _on_bulkhead(event: BulkheadRejected) -> _Told:
    return Step.REFUSED, event.target, "bulkhead_full", "", event.waited_s


def _on_hedge(event: HedgeStarted) -> _Told:
    return Step.HEDGED, event.target, "late", event.hedge_target, event.after_s


def _on_hedge_won(event: HedgeWon) -> _Told:
    return Step.HEDGE_WON, event.target, "", event.hedge_target, None


def _on_hedge_lost(event: HedgeLost) -> _Told:
    return Step.HEDGE_LOST, event.target, event.reason, event.hedge_target, None


def _on_hedge_cancelled(event: HedgeCancelled) -> _Told:
    return Step.HEDGE_CANCELLED, event.target, "", event.hedge_target, None


def _on_foreseen(event: DeadlineForeseen) -> _Told:
    return Step.GIVEN_UP, "", "deadline_foreseen", "", event.typical_s


_TOLD_BY: Mapping[type, Callable[[Any], _Told]] = {
    AttemptStarted: _on_started,
    AttemptSettled: _on_settled,
    RetryScheduled: _on_retry,
    RetryBudgetExhausted: _on_no_budget,
    TargetSkipped: _on_skipped,
    FallbackSelected: _on_fallback,
    BreakerRejected: _on_breaker,
    BulkheadRejected: _on_bulkhead,
    HedgeStarted: _on_hedge,
    HedgeWon: _on_hedge_won,
    HedgeLost: _on_hedge_lost,
    HedgeCancelled: _on_hedge_cancelled,
    DeadlineForeseen: _on_foreseen,
}
