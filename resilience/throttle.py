"""Keeps a share of calls away from an ailing target, before its breaker has to.

Rule: it only ever diverts: while no other target could answer instead, everybody is
let through, since a certain refusal is no better than a likely failure (the breaker
acts when the failures are too many). The breaker has the last word, too: while it is
open or half-open its probes pass, and what was counted before is forgotten.

Client-side throttling of Google's SRE book ("Handling Overload") in the form of Envoy's
admission control: P = max(0, (n - ok / 0.9) / (n + 1)), at most 80 %, over the calls
of the last 30 s. As there, and unlike the book, calls that were kept away are not in
n: with a threshold as high as 0.9 they would, at any lasting share of failures above a
tenth, drive P to its cap.
"""

import random
from collections.abc import Callable
from math import inf
from types import TracebackType

from resilience.breaker import Breaker, BreakerState
from resilience.call import Call
from resilience.clock import Clock
from resilience.errors import AdmissionRefused
from resilience.events import AdmissionRejected
from resilience.outcome import Classify, Counts, Pace
from resilience.policy import Operation
from resilience.window import TimeWindow


class AdaptiveThrottle:
    """Refuses attempts with a probability that grows with the share that fails.

    Failures of the target count, and its answers of *too many* (429); what says
    nothing about the target does not. Belongs between the cool-down gate and the
    breaker.

    Args:
        target: who is protected.
        clock: measures the window.
        classify: how errors count.
        breaker: the target's, if it has one.
        ok_ratio: the share of successes below which refusals begin, 0 to 1.
        window_s: for how many whole seconds an outcome counts.
        cap: the highest probability, so that a recovery is seen.
        min_calls: below this number in the window nobody is refused.
        uniform: draws a number from a range.
    """

    def __init__(
        self,
        target: str,
        clock: Clock,
        classify: Classify,
        *,
        breaker: Breaker | None = None,
        ok_ratio: float = 0.9,
        window_s: int = 30,
        cap: float = 0.8,
        min_calls: int = 10,
        uniform: Callable[[float, float], float] = random.uniform,
    ) -> None:
        self.target = target
        self._clock = clock
        self._classify = classify
        self._breaker = breaker
        self._ok_ratio = ok_ratio
        self._cap = cap
        self._min_calls = min_calls
        self._uniform = uniform
        self._window_s = window_s
        self._window = TimeWindow(window_s)
        self._failed_at_s = -inf

    @property
    def probability(self) -> float:
        """With what probability a call would be kept away now."""
        totals = self._window.totals(self._clock.now())
        n = totals.recorded
        if n < self._min_calls:
            return 0.0
        ok = n - totals.failed
        return min(self._cap, max(0.0, (n - ok / self._ok_ratio) / (n + 1)))

    async def execute[T](self, operation: Operation[T], call: Call) -> T:
        """Run `operation`, unless it is kept away.

        Raises:
            AdmissionRefused: the operation was not run; another target is ready.
        """
        # Looked at first, and mostly the end of it: without failures there is no share.
        if self._clock.now() - self._failed_at_s < self._window_s:
            self._divert(call)
        call.leases.push(self._settle)
        return await operation(call)

    def _divert(self, call: Call) -> None:
        """Refuse `call` if it is drawn."""
        if self._left_to_breaker():
            self._window.clear()
            return
        probability = self.probability
        if self._draws(probability) and call.alternative_ready():
            call.emit(AdmissionRejected(self.target, probability))
            raise AdmissionRefused(self.target)

    def _left_to_breaker(self) -> bool:
        breaker = self._breaker
        return breaker is not None and breaker.state in (
            BreakerState.OPEN,
            BreakerState.HALF_OPEN,
        )

    def _draws(self, probability: float) -> bool:
        return probability > 0 and self._uniform(0, 1) < probability

    def _settle(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        now_s = self._clock.now()
        if exc is None:
            self._window.record(now_s, failed=False, slow=False)
            return
        verdict = self._classify(exc)
        if verdict.counts is Counts.FAILURE or verdict.pace is Pace.THROTTLED:
            self._failed_at_s = now_s
            self._window.record(now_s, failed=True, slow=False)
