"""The one absolute end time that every attempt, queue and sleep of a call shares.

Rule: a deadline only ever shrinks; nothing below may extend it. How long a single
phase may take is `timeout.py`'s business, not this module's.
"""

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
