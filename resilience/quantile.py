"""A latency quantile of the last minute or so, in constant time and space.

Rule: pure counting; what an estimate is good for is decided elsewhere. Too few samples
give no estimate rather than a bad one.

Buckets whose bounds grow by a constant factor keep the *relative* error constant, as in
DDSketch (Masson, Rim and Lee, "DDSketch: A Fast and Fully-Mergeable Quantile Sketch
with Relative-Error Guarantees", VLDB 2019). Two half windows rotate, so that an old
time is forgotten within one window, whatever was recorded in it. The quantile's bucket
is remembered and moved, not searched for.
"""

import math

from resilience.clock import Clock

_LOWEST_S = 0.001
_GROWTH = 1.1
_BUCKETS = 146  # up to 1000 s
_LOG_GROWTH = math.log(_GROWTH)


class LatencyQuantile:
    """The `quantile` (0 to 1) of latencies recorded within `window_s` seconds.

    Estimates are within 5 % of a recorded latency, between 1 ms and 1000 s. After a
    change they are right again within `window_s`; below `min_samples` there is none.

    Raises:
        ValueError: `quantile` is not above 0 and at most 1.
    """

    __slots__ = (
        "_below",
        "_bucket",
        "_clock",
        "_count",
        "_half",
        "_half_s",
        "_min_samples",
        "_newer",
        "_older",
        "_quantile",
    )

    def __init__(
        self,
        clock: Clock,
        quantile: float,
        *,
        window_s: float = 60.0,
        min_samples: int = 20,
    ) -> None:
        if not 0 < quantile <= 1:
            raise ValueError("a quantile is above 0 and at most 1")
        self._clock = clock
        self._quantile = quantile
        self._min_samples = min_samples
        self._half_s = window_s / 2
        self._half = int(clock.now() // self._half_s)
        self._older = [0] * _BUCKETS
        self._newer = [0] * _BUCKETS
        self._count = 0
        self._bucket = 0
        """Where the estimate was found last."""
        self._below = 0
        """How many samples lie in the buckets below that one."""

    def record(self, latency_s: float) -> None:
        """Add one sample, in seconds."""
        self._rotate()
        bucket = 0
        if latency_s > _LOWEST_S:
            bucket = int(math.log(latency_s / _LOWEST_S) / _LOG_GROWTH)
            bucket = min(bucket, _BUCKETS - 1)
        self._newer[bucket] += 1
        self._count += 1
        self._below += bucket < self._bucket

    @property
    def value_s(self) -> float | None:
        """The estimate in seconds; None while there are too few samples."""
        self._rotate()
        if self._count < max(1, self._min_samples):
            return None
        rank = max(1, math.ceil(self._quantile * self._count))
        while self._below >= rank:
            self._bucket -= 1
            self._below -= self._held(self._bucket)
        while self._below + self._held(self._bucket) < rank:
            self._below += self._held(self._bucket)
            self._bucket += 1
        return _LOWEST_S * math.exp(_LOG_GROWTH * (self._bucket + 0.5))

    def _held(self, bucket: int) -> int:
        return self._older[bucket] + self._newer[bucket]

    def _rotate(self) -> None:
        half = int(self._clock.now() // self._half_s)
        passed = half - self._half
        if passed <= 0:
            return
        self._half = half
        self._older = self._newer if passed == 1 else [0] * _BUCKETS
        self._newer = [0] * _BUCKETS
        self._count = sum(self._older)
        self._bucket = self._below = 0
