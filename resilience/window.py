"""Rolling failure and slow ratios, over the last calls or the last seconds.

Rule: pure counting, O(1) per record, no opinion about when to trip. Modelled on the
two sliding windows of resilience4j: a ring of outcomes, and a ring of one-second
buckets whose totals are kept by subtracting what leaves.
"""

from typing import NamedTuple, Protocol

_BUCKET_S = 1.0


class Totals(NamedTuple):
    """What a window holds: recorded attempts, and how many failed or were slow."""

    recorded: int
    failed: int
    slow: int

    @property
    def failure_ratio(self) -> float:
        """Failed ÷ recorded; 0 for an empty window."""
        return self.failed / self.recorded if self.recorded else 0.0

    @property
    def slow_ratio(self) -> float:
        """Slow ÷ recorded; 0 for an empty window."""
        return self.slow / self.recorded if self.recorded else 0.0


class Window(Protocol):
    """A rolling record of outcomes."""

    def record(self, now_s: float, *, failed: bool, slow: bool) -> None:
        """Add one outcome at clock reading `now_s`."""
        ...

    def totals(self, now_s: float) -> Totals:
        """Return what the window holds at `now_s`."""
        ...

    @property
    def spotless(self) -> bool:
        """Whether nothing failed or was slow: the cheap answer of most times."""
        ...

    def clear(self) -> None:
        """Forget everything."""
        ...


class CountWindow:
    """The last `size` outcomes."""

    def __init__(self, size: int) -> None:
        if size < 1:
            raise ValueError("a count window holds at least one outcome")
        self._ring: list[tuple[bool, bool] | None] = [None] * size
        self._next = self._recorded = self._failed = self._slow = 0

    def record(self, now_s: float, *, failed: bool, slow: bool) -> None:
        """Add one outcome, pushing out the oldest once the ring is full."""
        evicted = self._ring[self._next]
        if evicted is None:
            self._recorded += 1
        else:
            self._failed -= evicted[0]
            self._slow -= evicted[1]
        self._ring[self._next] = (failed, slow)
        self._next = (self._next + 1) % len(self._ring)
        self._failed += failed
        self._slow += slow

    def totals(self, now_s: float) -> Totals:
        """Return the counts; time plays no part."""
        return Totals(self._recorded, self._failed, self._slow)

    @property
    def spotless(self) -> bool:
        """Whether nothing that it held when last looked at failed or was slow."""
        return not (self._failed or self._slow)

    def clear(self) -> None:
        """Forget everything."""
        self._ring = [None] * len(self._ring)
        self._next = self._recorded = self._failed = self._slow = 0


class TimeWindow:
    """The outcomes of the last `span_s` seconds, in buckets of one second."""

    def __init__(self, span_s: int) -> None:
        if span_s < 1:
            raise ValueError("a time window spans at least one second")
        self._size = span_s
        self._head: int | None = None
        self._buckets = [[0, 0, 0] for _ in range(span_s)]
        self._recorded = self._failed = self._slow = 0

    def record(self, now_s: float, *, failed: bool, slow: bool) -> None:
        """Add one outcome to the bucket of `now_s`."""
        bucket = self._advance(now_s)
        bucket[0] += 1
        bucket[1] += failed
        bucket[2] += slow
        self._recorded += 1
        self._failed += failed
        self._slow += slow

    def totals(self, now_s: float) -> Totals:
        """Return the counts after dropping what is older than the span."""
        self._advance(now_s)
        return Totals(self._recorded, self._failed, self._slow)

    @property
    def spotless(self) -> bool:
        """Whether nothing that it held when last looked at failed or was slow."""
        return not (self._failed or self._slow)

    def clear(self) -> None:
        """Forget everything."""
        self._buckets = [[0, 0, 0] for _ in range(self._size)]
        self._head = None
        self._recorded = self._failed = self._slow = 0

    def _advance(self, now_s: float) -> list[int]:
        """Move the head to the bucket of `now_s`, subtracting what leaves."""
        second = int(now_s // _BUCKET_S)
        head = self._head
        if head is None or second <= head:
            # A reading older than the head cannot come from a monotonic clock; it
            # is counted in the newest bucket rather than lost.
            self._head = second if head is None else head
            return self._buckets[self._head % self._size]
        for passed in range(head + 1, min(second, head + self._size) + 1):
            leaving = self._buckets[passed % self._size]
            self._recorded -= leaving[0]
            self._failed -= leaving[1]
            self._slow -= leaving[2]
            leaving[:] = (0, 0, 0)
        self._head = second
        return self._buckets[second % self._size]
