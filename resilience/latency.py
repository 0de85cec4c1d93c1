"""How fast a target is: to its first token, and from token to token.

Rule: an observation of settled attempts; who is asked because of it is decided
elsewhere. An attempt that ended before its first token shows only that it would have
taken longer: it may raise an estimate, and never lowers one. So a target that fails
fast does not look fast, and the hedges that end slow attempts do not hide them.
"""

import math

from resilience.call import Attempt
from resilience.clock import Clock
from resilience.quantile import LatencySketch

_MEAN_TAU_S = 30.0
_PEAK_TAU_S = 10.0
_TYPICAL = 0.5
# At high rates single samples weigh next to nothing; a floor keeps a burst visible.
_LEAST_WEIGHT = 0.02


class Ewma:
    """A mean over the last `tau_s` seconds or so, weighted exponentially by time.

    By time, not by count: a quiet target's mean is as young as a busy one's. `value`
    is None until something is known.
    """

    __slots__ = ("_tau_s", "_updated_s", "value")

    def __init__(
        self, now_s: float, first: float | None = None, *, tau_s: float = _MEAN_TAU_S
    ) -> None:
        self._tau_s = tau_s
        self._updated_s = now_s
        self.value = first

    def record(self, sample: float, now_s: float) -> None:
        """Add one sample, at clock reading `now_s`."""
        if self.value is None:
            self.value = sample
        else:
            weight = 1 - math.exp((self._updated_s - now_s) / self._tau_s)
            self.value += max(weight, _LEAST_WEIGHT) * (sample - self.value)
        self._updated_s = now_s


class PeakEwma:
    """A mean that jumps up to a peak at once, and comes down over `tau_s` seconds.

    After Finagle's PeakEwma load metric (com.twitter.finagle.loadbalancer). As there,
    it fades towards 0 while nothing is recorded, so that a target which lost every
    comparison is tried again; unlike there, looking at it does not change it.
    """

    __slots__ = ("_peak", "_tau_s", "_updated_s")

    def __init__(self, now_s: float, *, tau_s: float = _PEAK_TAU_S) -> None:
        self._tau_s = tau_s
        self._updated_s = now_s
        self._peak = 0.0

    def value(self, now_s: float) -> float:
        """Return the mean at `now_s`; 0 when nothing was ever recorded."""
        return self._peak * math.exp((self._updated_s - now_s) / self._tau_s)

    def record(self, sample: float, now_s: float) -> None:
        """Add one sample, at clock reading `now_s`."""
        if sample > self._peak:
            self._peak = sample
        else:
            kept = math.exp((self._updated_s - now_s) / self._tau_s)
            self._peak = self._peak * kept + sample * (1 - kept)
        self._updated_s = now_s


class TargetLatency:
    """Every estimate of one target's latency, in seconds.

    `tail` is the quantile after which an attempt counts as late, for hedging.
    """

    __slots__ = (
        "_clock",
        "_peak",
        "_sketch",
        "_tail",
        "_typical",
        "first_token",
        "per_token",
    )

    def __init__(self, clock: Clock, *, tail: float = 0.95) -> None:
        now_s = clock.now()
        self._clock = clock
        self.first_token = Ewma(now_s)
        """Mean time to the first token."""
        self.per_token = Ewma(now_s)
        """Mean time per token after the first."""
        self._peak = PeakEwma(now_s)
        self._sketch = LatencySketch()
        self._typical = self._sketch.track(_TYPICAL)
        self._tail = self._sketch.track(tail)

    @property
    def peak_s(self) -> float:
        """Time to the first token, bad news first; 0 when nothing is known."""
        return self._peak.value(self._clock.now())

    @property
    def typical_s(self) -> float | None:
        """The median time to the first token; None while too little is known."""
        return self._typical.value_s(self._clock.now())

    @property
    def tail_s(self) -> float | None:
        """The tail's time to the first token; None while too little is known."""
        return self._tail.value_s(self._clock.now())

    def record(self, attempt: Attempt) -> None:
        """Learn from a settled attempt; one whose answer was one piece says nothing."""
        if attempt.whole:
            return
        now_s = self._clock.now()
        first_s = attempt.first_token_s
        if first_s is None:
            self._record_longer_than(attempt.duration_s or 0.0, now_s)
            return
        self.first_token.record(first_s, now_s)
        self._peak.record(first_s, now_s)
        self._sketch.record(first_s, now_s)
        per_token_s = attempt.per_token_s
        if per_token_s is not None:
            self.per_token.record(per_token_s, now_s)

    def _record_longer_than(self, waited_s: float, now_s: float) -> None:
        """Learn from a wait that ended without a first token.

        Beyond the tail its rank is known, though not its size: all a quantile needs.
        """
        tail_s = self._tail.value_s(now_s)
        if tail_s is not None and waited_s > tail_s:
            self._sketch.record(waited_s, now_s)
        mean_s = self.first_token.value
        if mean_s is not None and waited_s > mean_s:
            self.first_token.record(waited_s, now_s)
        if waited_s > self._peak.value(now_s):
            self._peak.record(waited_s, now_s)
