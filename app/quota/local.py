"""The limits of this process alone: without a store, or while it is away.

Rule: the same algorithm and the same answers as `scripts/hold.lua`, on local time.
"""

from dataclasses import dataclass

from resilience.clock import Clock

MICRO = 1_000_000


@dataclass(frozen=True, slots=True)
class Decision:
    """What a limit says to one request. Times are seconds from now."""

    admitted: bool
    remaining: int
    retry_after_s: float
    reset_after_s: float


class LocalLimits:
    """GCRA per key: one timestamp each, the theoretical arrival time of the next.

    Reckoned in whole microseconds, as the script does: sums of fractions of a second
    would drift, and refuse the last request of a large burst.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._due_us: dict[str, int] = {}

    def hold(self, key: str, *, interval_us: int, burst: int) -> Decision:
        """Admit or refuse one request.

        `interval_us` is the time between two requests at the steady rate, in
        microseconds; `burst` how many may come at once.
        """
        now_us = round(self._clock.now() * MICRO)
        due_us = max(now_us, self._due_us.get(key, now_us))
        next_due_us = due_us + interval_us
        tolerance_us = interval_us * burst
        ahead_us = next_due_us - now_us
        if ahead_us > tolerance_us:
            wait_us = ahead_us - tolerance_us
            return Decision(False, 0, wait_us / MICRO, (due_us - now_us) / MICRO)
        self._due_us[key] = next_due_us
        remaining = (tolerance_us - ahead_us) // interval_us
        return Decision(True, remaining, 0.0, ahead_us / MICRO)
