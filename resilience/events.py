"""What happened, as frozen facts, and the protocol of those who want to know.

Rule: events are past tense, carry values only, and never influence a call: a
listener that raises is reported to the log and otherwise ignored. Metrics, spans
and logs are made of these by the application, never by the library.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from resilience.call import Attempt
    from resilience.outcome import Verdict

_log = logging.getLogger("resilience")


@dataclass(frozen=True, slots=True)
class AttemptStarted:
    """An attempt was sent."""

    attempt: "Attempt"


@dataclass(frozen=True, slots=True)
class AttemptSettled:
    """An attempt ended: its answer, or its stream, is complete or has failed.

    `verdict` and `error` are None for a success; `slow` is the breaker's view.
    """

    attempt: "Attempt"
    verdict: "Verdict | None"
    error: BaseException | None
    slow: bool


@dataclass(frozen=True, slots=True)
class RetryScheduled:
    """The same target will be asked again in `delay_s` seconds."""

    target: str
    retry: int
    delay_s: float
    reason: str


@dataclass(frozen=True, slots=True)
class RetryBudgetExhausted:
    """A further attempt was not made because the target's budget is empty."""

    target: str
    reason: str


@dataclass(frozen=True, slots=True)
class TargetSkipped:
    """A target of a chain was passed over without an attempt."""

    target: str
    reason: str


@dataclass(frozen=True, slots=True)
class FallbackSelected:
    """A chain went on from one target to another."""

    from_target: str
    to_target: str
    reason: str


@dataclass(frozen=True, slots=True)
class BreakerChanged:
    """A circuit breaker changed its state; `open_for_s` is set when it opened."""

    target: str
    from_state: str
    to_state: str
    open_for_s: float | None = None


@dataclass(frozen=True, slots=True)
class BreakerSharingChanged:
    """A breaker is heard by those of other replicas from now on, or is alone again."""

    target: str
    shared: bool


@dataclass(frozen=True, slots=True)
class BreakerRejected:
    """A circuit breaker did not admit an attempt."""

    target: str
    state: str


@dataclass(frozen=True, slots=True)
class BulkheadRejected:
    """A bulkhead had no slot, and no room or time to wait for one."""

    target: str
    queued: bool
    waited_s: float


@dataclass(frozen=True, slots=True)
class BulkheadWaited:
    """A call got its slot after waiting `waited_s` seconds."""

    target: str
    waited_s: float


@dataclass(frozen=True, slots=True)
class LimitChanged:
    """An adaptive bulkhead has another number of slots now."""

    target: str
    from_limit: int
    to_limit: int


@dataclass(frozen=True, slots=True)
class SlotExpired:
    """A slot was held for longer than any call lasts: lost, and free again."""

    target: str
    held_s: float


@dataclass(frozen=True, slots=True)
class AdmissionRejected:
    """An adaptive throttle kept a call away; it does so to this share of calls."""

    target: str
    probability: float


@dataclass(frozen=True, slots=True)
class CooldownStarted:
    """A target asked for a pause of `for_s` seconds."""

    target: str
    for_s: float


@dataclass(frozen=True, slots=True)
class PhaseTimedOut:
    """A phase of an attempt exceeded its limit."""

    target: str
    phase: str


@dataclass(frozen=True, slots=True)
class HedgeStarted:
    """A target was late, by `after_s` seconds of silence: another was asked as well."""

    target: str
    hedge_target: str
    after_s: float


@dataclass(frozen=True, slots=True)
class HedgeWon:
    """The hedge answered first; the attempt on `target` was cancelled or had failed."""

    target: str
    hedge_target: str


@dataclass(frozen=True, slots=True)
class HedgeLost:
    """The hedge was no use: it failed, or (`beaten`) the target answered first."""

    target: str
    hedge_target: str
    reason: str


@dataclass(frozen=True, slots=True)
class HedgeCancelled:
    """The call ended while both were still being asked."""

    target: str
    hedge_target: str


@dataclass(frozen=True, slots=True)
class DeadlineForeseen:
    """A call was given up: not even the fastest target typically answers in time."""

    remaining_s: float
    typical_s: float


@dataclass(frozen=True, slots=True)
class HealthChanged:
    """A target's health score crossed a threshold: it went down, or came up again."""

    target: str
    up: bool
    score: float


type Event = (
    AttemptStarted
    | AttemptSettled
    | RetryScheduled
    | RetryBudgetExhausted
    | TargetSkipped
    | FallbackSelected
    | BreakerChanged
    | BreakerSharingChanged
    | BreakerRejected
    | BulkheadRejected
    | BulkheadWaited
    | LimitChanged
    | SlotExpired
    | AdmissionRejected
    | CooldownStarted
    | PhaseTimedOut
    | HedgeStarted
    | HedgeWon
    | HedgeLost
    | HedgeCancelled
    | DeadlineForeseen
    | HealthChanged
)


class Listener(Protocol):
    """Somebody who is told of events, synchronously and briefly."""

    def on_event(self, event: Event) -> None:
        """Take note of `event`; must not block."""
        ...


class Silent:
    """A listener that ignores everything."""

    def on_event(self, event: Event) -> None:
        """Ignore `event`."""


def tell(listener: Listener, event: Event) -> None:
    """Tell `listener` of `event`; if it raises, that is logged and goes no further."""
    try:
        listener.on_event(event)
    except Exception:  # a listener must not harm a call
        _log.exception("a listener failed on %s", type(event).__name__)


class Listeners:
    """Tells several listeners; one that raises harms neither the call nor the rest."""

    def __init__(self, listeners: Sequence[Listener] = ()) -> None:
        self._listeners = tuple(listeners)

    def on_event(self, event: Event) -> None:
        """Pass `event` to each listener in turn."""
        for listener in self._listeners:
            tell(listener, event)
