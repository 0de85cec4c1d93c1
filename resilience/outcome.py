"""How an attempt counts, and what may be done about a failed one.

Rule: this is the only vocabulary in which the library speaks about errors. What
*kind* of error an application's exception is, is told by a `Classify` function
that the application supplies; the library never looks at exception texts.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from resilience.errors import (
    ConnectTimeout,
    DeadlineExceeded,
    Refused,
    TimedOut,
    TotalTimeout,
)


class Counts(StrEnum):
    """What an attempt says about its target."""

    SUCCESS = "success"
    FAILURE = "failure"
    NEUTRAL = "neutral"


class Disposition(StrEnum):
    """What may be done after a failed attempt, before anything was delivered."""

    RETRY = "retry"
    """Send it again to the same target, or go to the next."""
    NEXT_TARGET = "next_target"
    """Another target may answer; this one must not be asked again."""
    GIVE_UP = "give_up"
    """The answer would be the same everywhere: give the error to the caller."""


class Pace(StrEnum):
    """How a `RETRY` is paced."""

    TRANSIENT = "transient"
    """A blip: short base delay; sent again even while others are ready."""
    OVERLOADED = "overloaded"
    """The target is drowning: long base, and only if no other target is ready."""
    THROTTLED = "throttled"
    """The target named a pause (429): it is kept, or another target is used."""


class Condition(StrEnum):
    """What a further target must bring to be worth asking after this error."""

    NONE = "none"
    LARGER_CONTEXT = "larger_context"
    """Only a target whose declared context window is larger."""
    ANOTHER_FILTER = "another_filter"
    """Only if the route says so: a content filter refused, and others may differ."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """The classification of one error.

    `retry_after_s` is the pause the target asked for, in seconds from the error.
    `reason` is a short label from a closed set, fit for a metric.
    """

    counts: Counts
    disposition: Disposition
    reason: str
    pace: Pace = Pace.TRANSIENT
    condition: Condition = Condition.NONE
    retry_after_s: float | None = None


type Classify = Callable[[BaseException], Verdict]

_CANCELLED = Verdict(Counts.NEUTRAL, Disposition.GIVE_UP, "cancelled")
_DEADLINE = Verdict(Counts.NEUTRAL, Disposition.GIVE_UP, "deadline")
_TOTAL = Verdict(Counts.NEUTRAL, Disposition.NEXT_TARGET, "total_timeout")
_CONNECT = Verdict(Counts.FAILURE, Disposition.RETRY, "connect_timeout")
_UNKNOWN = Verdict(Counts.FAILURE, Disposition.RETRY, "error")


def classify(exc: BaseException) -> Verdict:
    """Classify the library's own errors; any other `Exception` is a transient failure.

    Applications call this for what they do not know themselves. A cancellation, or
    another `BaseException` that is no `Exception`, is neutral: it says nothing about
    the target.
    """
    match exc:
        case asyncio.CancelledError() | GeneratorExit():
            return _CANCELLED
        case DeadlineExceeded():
            return _DEADLINE
        case TotalTimeout():
            return _TOTAL
        case ConnectTimeout():
            return _CONNECT
        case TimedOut():
            return Verdict(
                Counts.FAILURE, Disposition.NEXT_TARGET, f"{exc.phase}_timeout"
            )
        case Refused():
            return Verdict(
                Counts.NEUTRAL,
                Disposition.NEXT_TARGET,
                exc.reason,
                retry_after_s=exc.retry_after_s,
            )
        case Exception():
            return _UNKNOWN
        case _:
            return _CANCELLED
