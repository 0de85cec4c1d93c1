"""When a circuit breaker trips: its numbers, and the verdict over recorded outcomes.

Rule: pure judgement over a window and a run of failures; no states, no time of its
own. The state machine that acts on it is `breaker.py`.
"""

from dataclasses import dataclass

from resilience.window import CountWindow, TimeWindow, Totals, Window


@dataclass(frozen=True, slots=True)
class BreakerConfig:
    """When a breaker trips and how it recovers. Times are seconds, ratios 0 to 1.

    It trips on `failure_ratio` or `slow_ratio` over a window with at least `min_calls`,
    on `consecutive` failures, or on `quiet_consecutive` failures when there was no
    success for `quiet_after_s` (low traffic). It stays open for `open_s`, doubled with
    each opening in a row up to `open_cap_s`, ± `jitter`; then `permitted` probes, at
    most `concurrent` at once, decide; a probe without a verdict after
    `verdict_within_s` reopens it. After closing, while another target could answer
    instead, it admits a share that grows to all within `ramp_s`.
    """

    window: str = "count"
    window_size: int = 100
    min_calls: int = 10
    failure_ratio: float = 0.5
    slow_ratio: float = 0.8
    consecutive: int = 5
    quiet_consecutive: int = 3
    quiet_after_s: float = 30.0
    open_s: float = 10.0
    open_cap_s: float = 300.0
    jitter: float = 0.2
    permitted: int = 3
    concurrent: int = 1
    verdict_within_s: float = 60.0
    ramp_s: float = 10.0


class TripPolicy:
    """Records outcomes and says when it is enough."""

    def __init__(self, config: BreakerConfig, now_s: float) -> None:
        self._config = config
        kind = TimeWindow if config.window == "time" else CountWindow
        self._window: Window = kind(config.window_size)
        self._failures_in_a_row = 0
        self._last_success_s = now_s

    def record_failure(self, now_s: float, *, slow: bool) -> None:
        """Record an attempt that failed by the target's fault."""
        self._failures_in_a_row += 1
        self._window.record(now_s, failed=True, slow=slow)

    def record_success(self, now_s: float, *, slow: bool) -> None:
        """Record an answer."""
        self._failures_in_a_row = 0
        self._last_success_s = now_s
        self._window.record(now_s, failed=False, slow=slow)

    def record_slow(self, now_s: float) -> None:
        """Record an attempt that tells nothing but that it was slow."""
        self._window.record(now_s, failed=False, slow=True)

    def trips(self, now_s: float) -> bool:
        """Return whether the target must be left alone."""
        config = self._config
        if self._failures_in_a_row >= config.consecutive:
            return True
        quiet = now_s - self._last_success_s >= config.quiet_after_s
        if quiet and self._failures_in_a_row >= config.quiet_consecutive:
            return True
        if self._window.spotless:
            return False
        totals = self.totals(now_s)
        if totals.recorded < config.min_calls:
            return False
        return (
            totals.failure_ratio >= config.failure_ratio
            or totals.slow_ratio >= config.slow_ratio
        )

    def totals(self, now_s: float) -> Totals:
        """Return what the window holds."""
        return self._window.totals(now_s)

    def clear(self, now_s: float) -> None:
        """Start afresh."""
        self._window.clear()
        self._failures_in_a_row = 0
        self._last_success_s = now_s
