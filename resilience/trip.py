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
    on `consecutive` failures, or, at low traffic, on `quiet_consecutive` failures:
    when there was no success for `quiet_after_s`, or these failures alone took
    `quiet_run_s`. It stays open for `open_s`, doubled with each opening in a row up to
    `open_cap_s`, ± `jitter`; then `permitted` probes, at most `concurrent` at once,
    decide (see `judge_probes`); a probe without a verdict after
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
    quiet_run_s: float = 3.0
    open_s: float = 10.0
    open_cap_s: float = 300.0
    jitter: float = 0.2
    permitted: int = 3
    concurrent: int = 1
    verdict_within_s: float = 60.0
    ramp_s: float = 10.0


def judge_probes(config: BreakerConfig, probes: Totals) -> bool | None:
    """Whether the probes passed; None as long as that is open.

    They pass only when all are in. They fail as soon as that is certain: when the
    bad ones can no longer be outweighed, or when none has succeeded yet and one has
    failed. A target that was out and fails again is still out, and more probes would
    tell nothing but cost a client each.
    """
    rounds = max(config.permitted, probes.recorded)
    if 0 < probes.failed == probes.recorded:
        return False
    if probes.failed >= config.failure_ratio * rounds:
        return False
    if probes.slow >= config.slow_ratio * rounds:
        return False
    return True if probes.recorded >= config.permitted else None


def ratios_trip(config: BreakerConfig, totals: Totals, share: float = 1.0) -> bool:
    """Whether `totals` are enough, and as bad as `share` of the limits."""
    if totals.recorded < config.min_calls:
        return False
    return (
        totals.failure_ratio >= config.failure_ratio * share
        or totals.slow_ratio >= config.slow_ratio * share
    )


class TripPolicy:
    """Records outcomes and says when it is enough."""

    def __init__(self, config: BreakerConfig, now_s: float) -> None:
        self._config = config
        kind = TimeWindow if config.window == "time" else CountWindow
        self._window: Window = kind(config.window_size)
        self._failures_in_a_row = 0
        self._first_of_row_s = self._last_failure_s = self._last_success_s = now_s

    def record_failure(self, now_s: float, *, slow: bool) -> None:
        """Record an attempt that failed by the target's fault."""
        if self._failures_in_a_row == 0:
            self._first_of_row_s = now_s
        self._last_failure_s = now_s
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
        quiet = (
            now_s - self._last_success_s >= config.quiet_after_s
            or now_s - self._first_of_row_s >= config.quiet_run_s
        )
        if quiet and self._failures_in_a_row >= config.quiet_consecutive:
            return True
        if self._window.spotless:
            return False
        return ratios_trip(config, self.totals(now_s))

    def agrees(self, now_s: float) -> bool:
        """Return whether there is some evidence for what others report: the last
        attempt failed, not long ago, or a ratio is halfway to its limit.
        """
        config = self._config
        since_s = now_s - self._last_failure_s
        if self._failures_in_a_row and since_s < config.quiet_after_s:
            return True
        return ratios_trip(config, self.totals(now_s), share=0.5)

    def totals(self, now_s: float) -> Totals:
        """Return what the window holds."""
        return self._window.totals(now_s)

    def clear(self, now_s: float) -> None:
        """Start afresh."""
        self._window.clear()
        self._failures_in_a_row = 0
        self._last_success_s = now_s
