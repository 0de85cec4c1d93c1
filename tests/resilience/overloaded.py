"""A server with a capacity, and an open-loop load on it: what a limit is to find out.

Callers do not slow down when the server does, as in the real world.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from resilience.adaptive import AdaptiveLimit
from resilience.bulkhead import Bulkhead
from resilience.call import Call
from resilience.deadline import Deadline
from resilience.pipeline import Pipeline
from resilience.testing import LoopClock
from resilience.timeout import Limits, Timeouts
from tests.resilience.scenery import ProviderError, classify, throttled

SERVICE_S = 1.0
"""What an unhurried server takes, on average, for one answer."""


class Server:
    """Serves `capacity` at once at full speed; what it does beyond that differs."""

    def __init__(self, capacity: int, draw: random.Random) -> None:
        self.capacity = capacity
        self.busy = 0
        self.most_busy = 0
        self._draw = draw

    async def __call__(self, call: Call) -> str:
        self.busy += 1
        self.most_busy = max(self.most_busy, self.busy)
        try:
            await self.serve()
        finally:
            self.busy -= 1
        return "answer"

    async def serve(self) -> None:
        raise NotImplementedError

    def service_s(self) -> float:
        return self._draw.uniform(0.5, 1.5) * SERVICE_S


class Rejecting(Server):
    """Says 429 to whom it has no room for."""

    async def serve(self) -> None:
        if self.busy > self.capacity:
            await asyncio.sleep(0.02)
            raise ProviderError(throttled())
        await asyncio.sleep(self.service_s())


class Queueing(Server):
    """Lets everybody wait, as a batch scheduler does."""

    def __init__(self, capacity: int, draw: random.Random) -> None:
        super().__init__(capacity, draw)
        self._workers = asyncio.Semaphore(capacity)

    async def serve(self) -> None:
        async with self._workers:
            await asyncio.sleep(self.service_s())


class Thrashing(Server):
    """Slows down by the square of its overload: the more, the less gets done."""

    async def serve(self) -> None:
        overload = max(1.0, self.busy / self.capacity)
        await asyncio.sleep(self.service_s() * overload**2)


class Dropping(Server):
    """Never answers whom it has no room for: only a timeout ends that wait."""

    def __init__(self, capacity: int, draw: random.Random) -> None:
        super().__init__(capacity, draw)
        self._working = 0

    async def serve(self) -> None:
        if self._working >= self.capacity:
            await asyncio.Event().wait()
        self._working += 1
        try:
            await asyncio.sleep(self.service_s())
        finally:
            self._working -= 1


@dataclass
class Observed:
    """One reading per second."""

    limits: list[int] = field(default_factory=list)
    answers: list[int] = field(default_factory=list)
    """How many answers came in each second."""

    def goodput_per_s(self, first_s: int, last_s: int | None = None) -> float:
        answers = self.answers[first_s:last_s]
        return sum(answers) / len(answers)


class Load:
    """Calls at random moments, `rate_per_s` on average, through a bulkhead."""

    def __init__(
        self,
        server: Callable[[Call], Awaitable[str]],
        draw: random.Random,
        *,
        ceiling: int = 64,
        first_token_s: float = 10.0,
        adaptive: bool = True,
    ) -> None:
        self.clock = LoopClock()
        self.server = server
        self._draw = draw
        limit = AdaptiveLimit(self.clock, ceiling=ceiling, classify=classify)
        self.bulkhead = Bulkhead(
            "a", limit=ceiling, queue=32, adaptive=limit if adaptive else None
        )
        self._pipeline = Pipeline(
            [self.bulkhead, Timeouts(Limits(first_token_s=first_token_s))],
            classify=classify,
        )
        self._answers = 0
        self.observed = Observed()

    async def run(self, rate_per_s: float, for_s: int) -> None:
        async with asyncio.TaskGroup() as calls:
            for _ in range(for_s):
                before, ends_s = self._answers, self.clock.now() + 1.0
                while self.clock.now() < ends_s:
                    calls.create_task(self._call())
                    await asyncio.sleep(self._draw.expovariate(rate_per_s))
                self.observed.limits.append(self.bulkhead.limit)
                self.observed.answers.append(self._answers - before)

    async def _call(self) -> None:
        call = Call(Deadline.after(self.clock, 60.0), max_attempts=1)
        call.target = "a"
        error: BaseException | None = None
        try:
            await self._pipeline.execute(self.server, call)
            self._answers += 1
        except Exception as exc:
            error = exc
        await call.close(error)
