"""How long to wait before an attempt is sent again.

Rule: pure arithmetic; whether to retry at all is decided elsewhere. Full jitter
after Brooker, "Exponential Backoff And Jitter" (AWS Architecture Blog, 2015): a
uniform draw from [0, min(cap, base * 2**n)], so that clients do not march in step.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass, field

from resilience.outcome import Pace, Verdict

# A sleep may end a hair early; the target's pause must not be cut short by it.
_RETRY_AFTER_MARGIN_S = 0.005
_MAX_DOUBLINGS = 64  # a float overflows at 1024: a night of throttling gets there


def doubled_s(base_s: float, times: int, cap_s: float) -> float:
    """Return `base_s`, doubled `times` times, `cap_s` at the most (seconds)."""
    return min(cap_s, base_s * 2.0 ** min(times, _MAX_DOUBLINGS))


@dataclass(frozen=True, slots=True)
class Backoff:
    """Delays in seconds: `base_s` for blips, `throttle_base_s` for a target that is
    overloaded or throttling; `cap_s` bounds the computed part, never a Retry-After.
    """

    base_s: float = 0.05
    throttle_base_s: float = 1.0
    cap_s: float = 5.0
    uniform: Callable[[float, float], float] = field(default=random.uniform)

    def delay_s(self, retry: int, verdict: Verdict) -> float:
        """Return the wait before retry number `retry` (1 is the first).

        A pause that the target named is a lower bound.
        """
        transient = verdict.pace is Pace.TRANSIENT
        base_s = self.base_s if transient else self.throttle_base_s
        computed = self.uniform(0, doubled_s(base_s, retry - 1, self.cap_s))
        if verdict.retry_after_s is None:
            return computed
        return max(computed, verdict.retry_after_s + _RETRY_AFTER_MARGIN_S)
