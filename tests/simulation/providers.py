"""Models of providers: how long they take, what they can carry, how they fail.

A provider has a number of places to work in and one queue in front of them. What was
sent is worked off even if nobody waits for it any more: that is what makes overload
dangerous. A fault changes its behaviour between two points in time.
"""

import asyncio
import heapq
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from math import inf
from random import Random

from resilience.outcome import Counts, Disposition, Pace, Verdict
from resilience.outcome import classify as classify_own

REFUSED_AFTER_S = 0.002
"""How long it takes to hear that nobody listens, or that there is no room."""


class ProviderError(Exception):
    """An answer that is none; it knows how it counts."""

    def __init__(self, verdict: Verdict) -> None:
        super().__init__(verdict.reason)
        self.verdict = verdict


def classify(exc: BaseException) -> Verdict:
    return exc.verdict if isinstance(exc, ProviderError) else classify_own(exc)


UNAVAILABLE = Verdict(Counts.FAILURE, Disposition.RETRY, "unavailable")
OVERLOADED = Verdict(
    Counts.FAILURE, Disposition.RETRY, "overloaded", pace=Pace.OVERLOADED
)


def throttled(retry_after_s: float) -> Verdict:
    return Verdict(
        Counts.NEUTRAL,
        Disposition.RETRY,
        "throttled",
        pace=Pace.THROTTLED,
        retry_after_s=retry_after_s,
    )


@dataclass(frozen=True)
class Fault:
    """What is wrong from `from_s` to `to_s`, in seconds since the start.

    `errors` is the share of requests that fail, after the time that they would have
    taken; `slower` multiplies the time; `flaps_s` switches the fault on and off every
    so many seconds; above `allowed_per_s` requests are throttled, for `retry_after_s`.
    """

    from_s: float
    to_s: float
    down: bool = False
    silent: bool = False
    errors: float = 0.0
    slower: float = 1.0
    flaps_s: float = inf
    allowed_per_s: float = inf
    retry_after_s: float = 2.0

    def holds(self, at_s: float) -> bool:
        inside = self.from_s <= at_s < self.to_s
        return inside and (at_s - self.from_s) // self.flaps_s % 2 == 0


@dataclass(frozen=True)
class Model:
    """A provider when it is well, and what befalls it."""

    name: str
    median_s: float = 0.4
    spread: float = 0.25
    """Sigma of the logarithm of the time that an answer takes."""
    places: int = 200
    queue: int = 10_000
    """Beyond it a request is turned away at once (503)."""
    faults: Sequence[Fault] = ()


class Provider:
    """A provider at work."""

    def __init__(self, model: Model, random: Random, began_s: float) -> None:
        self.model = model
        self._random = random
        self._began_s = began_s
        self._free_at_s = [0.0] * model.places
        self._waiting: deque[float] = deque()
        self._counted_second, self._counted = -1, 0
        self.under_way = 0

    async def answer(self) -> None:
        """Answer one request, or fail as the model does."""
        self.under_way += 1
        try:
            await self._answer()
        finally:
            self.under_way -= 1

    async def _answer(self) -> None:
        at_s = asyncio.get_running_loop().time() - self._began_s
        slower, errors = 1.0, 0.0
        for fault in self.model.faults:
            if fault.holds(at_s):
                await self._fail_at_once(fault, at_s)
                slower, errors = slower * fault.slower, max(errors, fault.errors)
        takes_s = slower * self._random.lognormvariate(0.0, self.model.spread)
        await asyncio.sleep(self._waits_s(at_s, takes_s * self.model.median_s))
        if errors and self._random.random() < errors:
            raise ProviderError(UNAVAILABLE)

    async def _fail_at_once(self, fault: Fault, at_s: float) -> None:
        if fault.silent:
            await asyncio.sleep(1e6)
        if fault.down:
            await asyncio.sleep(REFUSED_AFTER_S)
            raise ProviderError(UNAVAILABLE)
        second = int(at_s)
        if second != self._counted_second:
            self._counted_second, self._counted = second, 0
        self._counted += 1
        if self._counted > fault.allowed_per_s:
            await asyncio.sleep(REFUSED_AFTER_S)
            raise ProviderError(throttled(fault.retry_after_s))

    def _waits_s(self, at_s: float, takes_s: float) -> float:
        """Take the place that is free first; return queueing and working time."""
        while self._waiting and self._waiting[0] <= at_s:
            self._waiting.popleft()
        if len(self._waiting) >= self.model.queue:
            raise ProviderError(OVERLOADED)
        starts_s = max(at_s, heapq.heappop(self._free_at_s))
        heapq.heappush(self._free_at_s, starts_s + takes_s)
        if starts_s > at_s:
            self._waiting.append(starts_s)
        return starts_s + takes_s - at_s
