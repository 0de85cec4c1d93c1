"""One client request (a *call*) and its upstream sends (*attempts*).

Rule: a `Call` is what the layers share: the deadline, the number of attempts left,
the listener, and the leases. Leases (slots, permits, holds, open responses) are
pushed onto `call.leases`; the layer that makes attempts gives each its own stack by
`fork()` and joins it with `adopt()` when the attempt has opened a reply. So they are
released when the *reply* closes, with the error that closed it, and exactly once.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Self

from resilience.deadline import Deadline, shrunk
from resilience.events import AttemptStarted, Event, Listener, Silent, tell
from resilience.leases import Leases


class AttemptKind(StrEnum):
    """Why an attempt is made."""

    PRIMARY = "primary"
    RETRY = "retry"
    FALLBACK = "fallback"
    HEDGE = "hedge"
    PROBE = "probe"


@dataclass(slots=True, eq=False)
class Attempt:
    """One upstream send. Times are clock readings in seconds.

    `tokens` counts meaningful pieces of content, for rates; it is not the provider's
    usage figure. `sent` turns True when the protected operation starts.
    """

    target: str
    number: int
    kind: AttemptKind
    started_at_s: float
    first_token_at_s: float | None = None
    ended_at_s: float | None = None
    tokens: int = 0
    whole: bool = False
    """Whether the answer comes in one piece: then it has no first token."""

    @property
    def first_token_s(self) -> float | None:
        """Seconds from send to first meaningful content; None if there was none."""
        if self.first_token_at_s is None:
            return None
        return self.first_token_at_s - self.started_at_s

    @property
    def per_token_s(self) -> float | None:
        """Mean seconds per token after the first; None below two tokens."""
        if self.first_token_at_s is None or self.ended_at_s is None or self.tokens < 2:
            return None
        return (self.ended_at_s - self.first_token_at_s) / (self.tokens - 1)

    @property
    def duration_s(self) -> float | None:
        """Seconds from send to settlement; None while it runs."""
        return None if self.ended_at_s is None else self.ended_at_s - self.started_at_s


@dataclass(slots=True)
class _Shared:
    """What every fork of a call has in common."""

    deadline: Deadline
    max_attempts: int
    listener: Listener
    labels: Mapping[str, str]
    attempts: list[Attempt] = field(default_factory=list)


_SILENT = Silent()


def _no_alternative() -> bool:
    return False


class Call:
    """One client request, as one layer sees it.

    Args:
        deadline: when the whole call ends; a call made inside another one's
            operation ends with that at the latest.
        max_attempts: how many attempts may be sent, over all targets.
        listener: who is told of this call's events.
        labels: names for events and spans, from closed sets.
    """

    __slots__ = (
        "_shared",
        "alternative_ready",
        "attempt",
        "kind",
        "leases",
        "on_first_token",
        "target",
    )

    def __init__(
        self,
        deadline: Deadline,
        *,
        max_attempts: int = 4,
        listener: Listener | None = None,
        labels: Mapping[str, str] | None = None,
    ) -> None:
        self._shared = _Shared(
            shrunk(deadline), max_attempts, listener or _SILENT, labels or {}
        )
        self.leases = Leases()
        self.kind = AttemptKind.PRIMARY
        self.target = ""
        self.attempt: Attempt | None = None
        self.on_first_token: Callable[[], None] | None = None
        """Told once, by `mark_first_token`; for the layer that bounds the wait."""
        self.alternative_ready: Callable[[], bool] = _no_alternative
        """Whether another target of the chain could be asked instead, right now."""

    @property
    def deadline(self) -> Deadline:
        """When the whole call ends."""
        return self._shared.deadline

    @property
    def labels(self) -> Mapping[str, str]:
        """Names for events and spans."""
        return self._shared.labels

    @property
    def attempts(self) -> list[Attempt]:
        """Every attempt sent so far, in order."""
        return self._shared.attempts

    @property
    def attempts_left(self) -> int:
        """How many further attempts may be sent."""
        return self._shared.max_attempts - len(self._shared.attempts)

    def emit(self, event: Event) -> None:
        """Tell this call's listener."""
        tell(self._shared.listener, event)

    def fork(self) -> Self:
        """Return a view of the same call with leases of its own."""
        twin = object.__new__(type(self))
        twin._shared = self._shared
        twin.leases = Leases()
        twin.kind = self.kind
        twin.target = self.target
        twin.attempt = None
        twin.on_first_token = None
        twin.alternative_ready = self.alternative_ready
        return twin

    def adopt(self, fork: Self) -> None:
        """Take over a fork's leases and attempt: it has opened the reply."""
        self.leases.adopt(fork.leases)
        self.attempt = fork.attempt
        self.target = fork.target
        self.kind = fork.kind

    def begin_attempt(self) -> Attempt:
        """Record that an attempt is being sent now."""
        shared = self._shared
        attempt = Attempt(
            target=self.target,
            number=len(shared.attempts) + 1,
            kind=self.kind,
            started_at_s=shared.deadline.clock.now(),
        )
        shared.attempts.append(attempt)
        self.attempt = attempt
        self.emit(AttemptStarted(attempt))
        return attempt

    def mark_first_token(self) -> None:
        """Note that the running attempt's first meaningful content is here.

        An operation that returns only when its answer is complete calls this, so that
        the first-token limit ends and its first-token time is known.
        """
        attempt = self.attempt
        if attempt is None or attempt.first_token_at_s is not None:
            return
        attempt.first_token_at_s = self.deadline.clock.now()
        if self.on_first_token is not None:
            self.on_first_token()

    def expect_whole(self) -> None:
        """Note that the running attempt's answer comes in one piece.

        Its time is all generation, which no first-token limit may judge: from now on
        only its total limit and the deadline hold.
        """
        if self.attempt is not None:
            self.attempt.whole = True
        if self.on_first_token is not None:
            self.on_first_token()

    async def close(self, exc: BaseException | None = None) -> None:
        """Release every lease, newest first, telling each what ended the call.

        Shielded: a cancellation that arrives meanwhile is delivered afterwards.
        Safe to call more than once; only the first call does anything.
        """
        await self.leases.release(exc)
