"""The closed sets that label values come from.

Rule: a label value is configured or written in this code; what a client, a key or a
provider sent never becomes one. A value outside its set is recorded as `other`, so
that no traffic can add series.
"""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from app.errors import (
    AppError,
    CallerError,
    Draining,
    Overloaded,
    StreamBroken,
    UpstreamError,
    UpstreamRefused,
)
from resilience.call import AttemptKind
from resilience.errors import Refused, TimedOut

OTHER = "other"
"""Stands for any value outside its closed set."""

NONE = "none"
"""The `error_type` of an attempt that did not fail."""

CANCELLED = "cancelled"
"""The reason of an attempt that its client, or a faster one, made needless."""

PHASES = ("connect", "first_token", "idle", "progress", "total")
"""Phases of an attempt that have a limit of their own."""


class Outcome(StrEnum):
    """How a call ended, as its client would say."""

    SUCCESS = "success"
    ERROR = "error"
    """No answer, or a broken one, that the client did nothing to deserve."""
    CLIENT_ERROR = "client_error"
    """The client's to mend, its own rate limits and quotas included."""
    REJECTED = "rejected"
    """Turned away by a gateway that had too much to do or was going down."""
    CANCELLED = "cancelled"
    """The client went away."""


class HedgeResult(StrEnum):
    """How a second attempt, made because the first was late, ended."""

    WON = "won"
    """It answered first."""
    LOST = "lost"
    """It failed, or the first answered after all."""
    CANCELLED = "cancelled"
    """The call ended while both were being asked."""


@dataclass(frozen=True, slots=True)
class TargetName:
    """How a target is called: in labels, and by `resilience` (`name`).

    `address` and `port` are where its provider listens, for spans.
    """

    provider: str
    model: str
    name: str
    address: str = ""
    port: int = 0


def outcome_of(error: BaseException | None) -> Outcome:
    """Return how a call that ended with `error` is counted."""
    match error:
        case None:
            return Outcome.SUCCESS
        case asyncio.CancelledError() | GeneratorExit():
            return Outcome.CANCELLED
        case Overloaded() | Draining():
            return Outcome.REJECTED
        case CallerError() | UpstreamRefused():
            return Outcome.CLIENT_ERROR
        case _:
            return Outcome.ERROR


def error_code(error: BaseException) -> str:
    """Return the code that `error` is counted under: ours, never a provider's.

    Before the commit point the failures of single targets become `AllTargetsFailed`;
    one that reaches a client as it is has broken its stream.
    """
    match error:
        case UpstreamRefused():
            return error.code
        case UpstreamError() | TimedOut():
            return StreamBroken.code
        case AppError():
            return error.code
        case _:
            return AppError.code


def error_codes() -> frozenset[str]:
    """Return every code that an error of the gateway can have."""
    return frozenset(kind.code for kind in _tree(AppError))


def error_reasons() -> frozenset[str]:
    """Return every reason that a verdict on an attempt or a refusal can give."""
    return frozenset(
        {
            *(kind.reason for kind in _tree(UpstreamError)),
            *(kind.code for kind in _tree(AppError)),
            *(kind.reason for kind in _tree(Refused)),
            *(f"{kind.phase}_timeout" for kind in _tree(TimedOut)),
            CANCELLED,
            "deadline",
            "error",
            str(AttemptKind.HEDGE),  # a hedge that the budget did not allow
        }
    )


def _tree[T](root: type[T]) -> Iterator[type[T]]:
    yield root
    for child in root.__subclasses__():
        yield from _tree(child)
