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
        base = self.base_s if transient else self.throttle_base_s
        computed = self.uniform(0, min(self.cap_s, base * 2.0 ** (retry - 1)))
        if verdict.retry_after_s is None:
            return computed
        return max(computed, verdict.retry_after_s + _RETRY_AFTER_MARGIN_S)
