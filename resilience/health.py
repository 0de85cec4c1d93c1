"""The health of one target, from the same outcomes that feed its breaker.

Rule: an observation, never a decision: nothing in the request path asks for it.
Availability is an exponentially weighted mean over time, so that the score of a quiet
target does not depend on how often it is asked.
"""

import math

from resilience.clock import Clock
from resilience.outcome import Counts

_TAU_S = 30.0


class Health:
    """A score from 0 (dead) to 1 (well), and the time of the last success."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._score = 1.0
        self._updated_s = clock.now()
        self.last_success_s: float | None = None

    @property
    def score(self) -> float:
        """Weighted share of successes over the last half minute or so."""
        return self._score

    def record(self, counts: Counts) -> None:
        """Record how an attempt counted; neutral ones leave the score alone."""
        if counts is Counts.NEUTRAL:
            return
        now_s = self._clock.now()
        weight = 1 - math.exp(-(now_s - self._updated_s) / _TAU_S)
        self._updated_s = now_s
        good = counts is Counts.SUCCESS
        if good:
            self.last_success_s = now_s
        # At high rates single outcomes weigh next to nothing; a floor keeps a burst
        # of failures visible.
        self._score += max(weight, 0.02) * (float(good) - self._score)
