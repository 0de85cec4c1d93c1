"""Latency quantiles of the last minute or so, in constant time and space.

Rule: pure counting; what an estimate is good for is decided elsewhere, and what time it
is, is told by who asks. Too few samples give no estimate rather than a bad one.

Buckets whose bounds grow by a constant factor keep the *relative* error constant, as in
DDSketch (Masson, Rim and Lee, "DDSketch: A Fast and Fully-Mergeable Quantile Sketch
with Relative-Error Guarantees", VLDB 2019). Two half windows rotate, so that an old
time is forgotten within one window, whatever was recorded in it. A quantile's bucket is
remembered and moved, not searched for.
"""

import math

_LOWEST_S = 0.001
_GROWTH = 1.1
_BUCKETS = 146  # up to 1000 s
_LOG_GROWTH = math.log(_GROWTH)


class LatencySketch:
    """The latencies recorded within the last `window_s` seconds, in buckets.

    Every quantile to be asked for is tracked from the start: see `track`.
    """

    __slots__ = ("_half", "_half_s", "_min_samples", "_newer", "_older", "_tracked")

    def __init__(self, *, window_s: float = 60.0, min_samples: int = 20) -> None:
        self._half_s = window_s / 2
        self._min_samples = max(1, min_samples)
        self._half = 0
        self._older = [0] * _BUCKETS
        self._newer = [0] * _BUCKETS
        self._tracked: list[Quantile] = []

    def track(self, quantile: float) -> "Quantile":
        """Return the estimate of `quantile`, kept up to date from now on.

        Raises:
            ValueError: `quantile` is not above 0 and at most 1.
        """
        if not 0 < quantile <= 1:
            raise ValueError("a quantile is above 0 and at most 1")
        tracked = Quantile(self, quantile)
        self._tracked.append(tracked)
        return tracked

    def record(self, latency_s: float, now_s: float) -> None:
        """Add one sample, at clock reading `now_s`; both in seconds."""
        self.rotate(now_s)
        bucket = 0
        if latency_s > _LOWEST_S:
            bucket = int(math.log(latency_s / _LOWEST_S) / _LOG_GROWTH)
            bucket = min(bucket, _BUCKETS - 1)
        self._newer[bucket] += 1
        for quantile in self._tracked:
            quantile.note(bucket)

    def held(self, bucket: int) -> int:
        """Return how many samples are in `bucket`."""
        return self._older[bucket] + self._newer[bucket]

    def enough(self, samples: int) -> bool:
        """Return whether `samples` are enough for an estimate."""
        return samples >= self._min_samples

    def rotate(self, now_s: float) -> None:
        """Forget what is too old at `now_s`."""
        half = int(now_s // self._half_s)
        passed = half - self._half
        if passed <= 0:
            return
        self._half = half
        self._older = self._newer if passed == 1 else [0] * _BUCKETS
        self._newer = [0] * _BUCKETS
        samples = sum(self._older)
        for quantile in self._tracked:
            quantile.start_over(samples)


class Quantile:
    """One quantile of a sketch.

    Estimates are within 5 % of a recorded latency, between 1 ms and 1000 s. After a
    change they are right again within the sketch's window.
    """

    __slots__ = ("_below", "_bucket", "_quantile", "_samples", "_sketch")

    def __init__(self, sketch: LatencySketch, quantile: float) -> None:
        self._sketch = sketch
        self._quantile = quantile
        self.start_over(0)

    def value_s(self, now_s: float) -> float | None:
        """Return the estimate in seconds; None while there are too few samples."""
        sketch = self._sketch
        sketch.rotate(now_s)
        if not sketch.enough(self._samples):
            return None
        rank = max(1, math.ceil(self._quantile * self._samples))
        while self._below >= rank:
            self._bucket -= 1
            self._below -= sketch.held(self._bucket)
        while self._below + (held := sketch.held(self._bucket)) < rank:
            self._below += held
            self._bucket += 1
        return _LOWEST_S * math.exp(_LOG_GROWTH * (self._bucket + 0.5))

    def note(self, bucket: int) -> None:
        """Note a new sample in `bucket`."""
        self._samples += 1
        if bucket < self._bucket:
            self._below += 1

    def start_over(self, samples: int) -> None:
        """Note that the sketch holds other samples now, and how many."""
        self._samples = samples
        self._bucket = 0  # where the estimate was found last
        self._below = 0  # how many samples lie in the buckets below that one
