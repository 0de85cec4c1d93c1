"""The limits of this process alone: without a store, or while it is away.

Rule: the same algorithm and the same answers as `scripts/hold.lua`, on local time.
"""

from dataclasses import dataclass

from resilience.clock import Clock


@dataclass(frozen=True, slots=True)
class Decision:
    """What a limit says to one request. Times are seconds from now."""

    admitted: bool
    remaining: int
    retry_after_s: float
    reset_after_s: float


class LocalLimits:
    """GCRA per key: one timestamp each, the theoretical arrival time of the next."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._due_s: dict[str, float] = {}

    def hold(self, key: str, *, interval_s: float, burst: int) -> Decision:
        """Admit or refuse one request.

        `interval_s` is the time between two requests at the steady rate, `burst` how
        many may come at once.
        """
        now_s = self._clock.now()
        due_s = max(now_s, self._due_s.get(key, now_s))
        next_due_s = due_s + interval_s
        tolerance_s = interval_s * burst
        wait_s = next_due_s - now_s - tolerance_s
        if wait_s > 1e-9:
            return Decision(False, 0, wait_s, due_s - now_s)
        self._due_s[key] = next_due_s
        ahead_s = next_due_s - now_s
        remaining = int((tolerance_s - ahead_s) / interval_s + 1e-9)
        return Decision(True, remaining, 0.0, ahead_s)
