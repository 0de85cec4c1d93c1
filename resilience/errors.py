"""What the library itself raises.

    ResilienceError
      Refused            never sent; not a failure of the target, never retried here
        BreakerOpen
        BulkheadFull
        CoolingDown
        AdmissionRefused
        BudgetExhausted
        Shed             the whole call, before any target was chosen
      TimedOut           sent, and too slow in one phase
        ConnectTimeout
        FirstTokenTimeout
        IdleTimeout
        TooSlow
        TotalTimeout
        DeadlineExceeded the call's own end time; says nothing about the target
      ChainExhausted     every target was tried or skipped; carries their causes

Errors of the protected operation pass through unchanged: none is ever replaced by
one of these.
"""

from collections.abc import Sequence
from typing import ClassVar


class ResilienceError(Exception):
    """Base of everything the library raises."""


class Refused(ResilienceError):
    """An attempt was not sent.

    `target` names who would have been asked, `retry_after_s` when asking again may
    help (seconds from now), where that is known.
    """

    reason: ClassVar[str] = "refused"

    def __init__(self, target: str, retry_after_s: float | None = None) -> None:
        super().__init__(f"{target}: {self.reason}")
        self.target = target
        self.retry_after_s = retry_after_s


class BreakerOpen(Refused):
    """The target's circuit breaker does not admit this attempt now."""

    reason = "breaker_open"


class BulkheadFull(Refused):
    """The target's slots and queue are taken, or the wait for a slot was too long."""

    reason = "bulkhead_full"


class CoolingDown(Refused):
    """The target asked for a pause (429) that has not ended."""

    reason = "cooling_down"


class AdmissionRefused(Refused):
    """The adaptive throttle kept this attempt away from an ailing target.

    Our own choice, not the target's answer: a provider's 429 is none of these.
    """

    reason = "admission_refused"


class BudgetExhausted(Refused):
    """The attempt or retry budget allows no further attempt."""

    reason = "budget_exhausted"


class Shed(Refused):
    """A call was turned away at the gate `target`, to keep the rest alive.

    `priority` is its class; `cause` is why: `in_flight`, `loop_lag` or `fair_share`.
    """

    reason = "shed"

    def __init__(
        self,
        target: str,
        retry_after_s: float | None = None,
        *,
        priority: str = "",
        cause: str = "",
    ) -> None:
        super().__init__(target, retry_after_s)
        self.priority = priority
        self.cause = cause


class TimedOut(ResilienceError):
    """A phase of an attempt took longer than its limit (`limit_s`, seconds)."""

    phase: ClassVar[str] = "unknown"

    def __init__(self, limit_s: float) -> None:
        super().__init__(f"{self.phase} limit of {limit_s:g} s exceeded")
        self.limit_s = limit_s


class ConnectTimeout(TimedOut):
    """No connection (name, TCP, TLS) in time."""

    phase = "connect"


class FirstTokenTimeout(TimedOut):
    """Sent, but no meaningful content in time."""

    phase = "first_token"


class IdleTimeout(TimedOut):
    """Silence in the middle of a stream."""

    phase = "idle"


class TooSlow(TimedOut):
    """A stream that goes on, but below the agreed rate."""

    phase = "progress"


class TotalTimeout(TimedOut):
    """An attempt that lasted longer than an attempt may, however lively it was."""

    phase = "total"


class DeadlineExceeded(TimedOut):
    """The call's own deadline came first."""

    phase = "deadline"


class ChainExhausted(ResilienceError):
    """No target answered; `causes` holds each target's error, in order of trial."""

    def __init__(self, causes: Sequence[tuple[str, BaseException]]) -> None:
        told = "; ".join(f"{name}: {type(exc).__name__}" for name, exc in causes)
        super().__init__(f"all targets failed ({told})")
        self.causes = tuple(causes)
