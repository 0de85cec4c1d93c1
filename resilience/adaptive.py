"""How many attempts a target can bear at once, learned from how they go.

Rule: pure reckoning on the clock readings of attempts; slots and queues are
`bulkhead.py`'s business. Two signals, both only from attempts that began after the
last cut: the others ran under a limit that is no more, so that a burst of timeouts
counts once.

- Additive increase, multiplicative decrease (Chiu and Jain, 1989; TCP, RFC 5681): a
  timeout or an answer of *too many* cuts the limit to 0.9 of itself at once. A round
  of as many openings as the limit (20 at least), made while half of it was in use,
  raises it by 1, each further such round by twice as much as the one before; but not
  before as long has passed as the last sign of overload took to show (30 s at the
  most): answers are quick, timeouts are not.
- The gradient of the first-token latency, after the idea of Gradient2 in Netflix's
  concurrency-limits: a round whose mean is above `tolerance` times the long-term mean
  lowers the limit in proportion, by a tenth at the most; half-way there it is kept.

What is unlike Gradient2, and why. A timeout never enters a mean: constant timeouts
would read as a stable latency (its issue #137). An attempt that was given up before
its first token is a lower bound of its latency, and counted as such. The first to
open after a cut are the quickest, so a round begins later. The long-term mean learns
hardly from attempts under load, or it would creep up with the queue it is there to
see; but a little, or one that is too low would hold the limit down for good.
"""

from math import inf

from resilience.call import Attempt
from resilience.clock import Clock
from resilience.errors import TimedOut
from resilience.outcome import Classify, Counts, Pace
from resilience.outcome import classify as classify_own

_CUT = 0.9
_MIN_ROUND = 20
_LONG_TERM_SAMPLES = 50
_PULL = 0.2
_MAX_PACE_S = 30.0


class AdaptiveLimit:
    """A limit between `floor` and `ceiling` attempts in flight; starts at `ceiling`.

    `tolerance`: by what factor the mean first-token latency of a round may exceed the
    long-term mean. Give it to a `Bulkhead`, which feeds it.

    Raises:
        ValueError: the floor is below 1 or above the ceiling.
    """

    def __init__(
        self,
        clock: Clock,
        *,
        ceiling: int = 64,
        floor: int = 4,
        tolerance: float = 1.2,
        classify: Classify = classify_own,
    ) -> None:
        if not 1 <= floor <= ceiling:
            raise ValueError("an adaptive limit needs 1 <= floor <= ceiling")
        self._clock = clock
        self._floor = floor
        self._ceiling = ceiling
        self._tolerance = tolerance
        self._classify = classify
        self._limit = float(ceiling)
        self._cut_at_s = self._changed_at_s = self._counts_from_s = -inf
        self._pace_s = 0.0
        """How long after a change the limit may be raised at the earliest."""
        self._step = 1
        self._usual_s: float | None = None
        self._learned = 0.0
        self._openings = 0
        self._samples = 0
        self._sum_s = 0.0

    @property
    def limit(self) -> int:
        """How many attempts may be in flight now."""
        return int(self._limit)

    @property
    def usual_first_token_s(self) -> float | None:
        """The long-term mean first-token latency; None before the first sample."""
        return self._usual_s

    def record_opened(self, attempt: Attempt, in_flight: int) -> None:
        """Learn from an attempt whose first token has come.

        `in_flight`: how many were, this one included, when it began.
        """
        if attempt.started_at_s <= self._cut_at_s:
            return
        first_s = attempt.first_token_s
        if first_s is not None:
            self._learn(first_s, in_flight)
        self._count(first_s, in_flight)

    def record_failed(
        self, attempt: Attempt, error: BaseException, in_flight: int
    ) -> None:
        """Learn from an attempt, opened or not, that has ended with `error`."""
        if attempt.started_at_s <= self._cut_at_s:
            return
        if self._tells_of_overload(error):
            self._cut(_CUT)
            self._pace_s = min(_MAX_PACE_S, attempt.duration_s or 0.0)
        elif attempt.first_token_at_s is None and not attempt.whole:
            waited_s = attempt.duration_s or 0.0
            if waited_s > (self._usual_s or inf):
                self._count(waited_s, in_flight)

    def _tells_of_overload(self, error: BaseException) -> bool:
        verdict = self._classify(error)
        if verdict.pace is not Pace.TRANSIENT:
            return True
        return isinstance(error, TimedOut) and verdict.counts is Counts.FAILURE

    def _learn(self, first_s: float, in_flight: int) -> None:
        """Take `first_s` for usual, the less so the more was in flight."""
        few = max(self._floor, self._limit / 8)
        weight = min(1.0, few / in_flight) ** 4
        usual_s = first_s if self._usual_s is None else self._usual_s
        self._learned = min(self._learned + weight, _LONG_TERM_SAMPLES)
        self._usual_s = usual_s + (first_s - usual_s) * weight / self._learned

    def _count(self, latency_s: float | None, in_flight: int) -> None:
        """Add to the round, if it was the limit that bounded the load."""
        if in_flight * 2 < self.limit or self._clock.now() < self._counts_from_s:
            return
        self._openings += 1
        if latency_s is not None:
            self._samples += 1
            self._sum_s += latency_s
        if self._openings >= max(_MIN_ROUND, self.limit):
            self._close_round()

    def _close_round(self) -> None:
        ratio = self._ratio()
        if ratio > self._tolerance:
            self._cut(max(_CUT, self._tolerance / ratio))
            return
        self._openings, self._samples, self._sum_s = 0, 0, 0.0
        if ratio > (1 + self._tolerance) / 2:
            self._step = 1
            return
        now_s = self._clock.now()
        if now_s - self._changed_at_s < self._pace_s:
            return
        self._changed_at_s = now_s
        self._limit = min(self._limit + self._step, float(self._ceiling))
        self._step = min(self._step * 2, self.limit)

    def _cut(self, to: float) -> None:
        """Lower the limit to the share `to`; what is under way says no more of it."""
        self._limit = max(self._limit * to, float(self._floor))
        self._cut_at_s = self._changed_at_s = self._clock.now()
        # The first to open are the quickest: they would make the round look good.
        self._counts_from_s = self._cut_at_s + 2 * (self._usual_s or 0.0)
        self._step = 1
        self._openings, self._samples, self._sum_s = 0, 0, 0.0

    def _ratio(self) -> float:
        """The round's mean latency in terms of the usual; 1 if there is no telling."""
        if self._samples < _MIN_ROUND or not self._usual_s:
            return 1.0
        mean_s = self._sum_s / self._samples
        if mean_s * self._tolerance < self._usual_s:
            # Faster under load than it ever was without: what is usual has changed.
            self._usual_s += _PULL * (mean_s - self._usual_s)
        return mean_s / self._usual_s
