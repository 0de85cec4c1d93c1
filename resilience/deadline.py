"""The one absolute end time that every attempt, queue and sleep of a call shares.

Rule: a deadline only ever shrinks; nothing below may extend it. While a call's
operation runs, its deadline is also in a context variable: a call made inside it, by
code that knows nothing of the outer one, ends with it at the latest. How long a single
phase may take is `timeout.py`'s business, not this module's.
"""

from contextvars import ContextVar, Token
from dataclasses import dataclass
from typing import Self

from resilience.clock import Clock


@dataclass(frozen=True, slots=True)
class Deadline:
    """An absolute end time, as a reading of the clock that made it (seconds)."""

    at_s: float
    clock: Clock

    @classmethod
    def after(cls, clock: Clock, delay_s: float) -> Self:
        """Return the deadline that lies `delay_s` seconds from now."""
        return cls(clock.now() + delay_s, clock)

    def remaining_s(self) -> float:
        """Return the seconds left; zero or less once it has passed."""
        return self.at_s - self.clock.now()

    @property
    def passed(self) -> bool:
        """Whether no time is left."""
        return self.remaining_s() <= 0


_current: ContextVar[Deadline | None] = ContextVar("resilience_deadline", default=None)


def current_deadline() -> Deadline | None:
    """Return the deadline of the call whose operation is running, None outside one.

    It covers the operation up to the opened reply, and every task started there: one
    that is to outlive the call is to be given a context of its own
    (`create_task(…, context=contextvars.Context())`).
    """
    return _current.get()


def shrunk(deadline: Deadline) -> Deadline:
    """Return `deadline`, or the end of the surrounding call if that comes first."""
    outer = _current.get()
    if outer is None or outer is deadline:
        return deadline
    clock = deadline.clock
    if outer.clock is clock:
        return deadline if deadline.at_s <= outer.at_s else outer
    # Clocks have origins of their own: what they share is how much is left.
    ends_s = clock.now() + outer.remaining_s()
    return deadline if deadline.at_s <= ends_s else Deadline(ends_s, clock)


def enter(deadline: Deadline) -> Token[Deadline | None]:
    """Make `deadline` the current one; to be undone by `leave`."""
    return _current.set(deadline)


def leave(token: Token[Deadline | None]) -> None:
    """Restore what was current before."""
    try:
        _current.reset(token)
    except ValueError:
        # A coroutine that was abandoned is closed in another's context: what it had
        # set is gone with its own.
        return
