"""What the tests of the library have in common: errors, a listener, whole targets."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

from resilience.admission import BreakerAdmit, BreakerPeek
from resilience.backoff import Backoff
from resilience.breaker import Breaker
from resilience.budget import RetryBudget
from resilience.bulkhead import Bulkhead
from resilience.call import Call
from resilience.chain import Target
from resilience.cooldown import CooldownGate
from resilience.deadline import Deadline
from resilience.errors import BulkheadFull, CoolingDown, Refused
from resilience.events import Event, Listener
from resilience.health import Health
from resilience.outcome import Condition, Counts, Disposition, Pace, Verdict
from resilience.outcome import classify as classify_own
from resilience.pipeline import Pipeline
from resilience.policy import Policy
from resilience.retry import Retry
from resilience.slowness import SlownessRule
from resilience.testing import LoopClock, ScriptedOperation
from resilience.timeout import GuardedStream, Limits, Timeouts
from resilience.trip import BreakerConfig

UNAVAILABLE = Verdict(Counts.FAILURE, Disposition.RETRY, "unavailable")
OVERLOADED = Verdict(
    Counts.FAILURE, Disposition.RETRY, "overloaded", pace=Pace.OVERLOADED
)
AUTH_FAILED = Verdict(Counts.NEUTRAL, Disposition.NEXT_TARGET, "auth_failed")
REFUSED = Verdict(Counts.NEUTRAL, Disposition.GIVE_UP, "refused")
CONTENT_FILTER = Verdict(Counts.NEUTRAL, Disposition.GIVE_UP, "content_filter")
POOL_FULL = Verdict(Counts.NEUTRAL, Disposition.NEXT_TARGET, "pool_full")
CONTEXT_LENGTH = Verdict(
    Counts.NEUTRAL,
    Disposition.NEXT_TARGET,
    "context_length",
    condition=Condition.LARGER_CONTEXT,
)


def throttled(retry_after_s: float | None = None) -> Verdict:
    return Verdict(
        Counts.NEUTRAL,
        Disposition.RETRY,
        "throttled",
        pace=Pace.THROTTLED,
        retry_after_s=retry_after_s,
    )


class ProviderError(Exception):
    """An error of the protected operation, which knows how it counts."""

    def __init__(self, verdict: Verdict = UNAVAILABLE) -> None:
        super().__init__(verdict.reason)
        self.verdict = verdict


def classify(exc: BaseException) -> Verdict:
    return exc.verdict if isinstance(exc, ProviderError) else classify_own(exc)


@dataclass
class Recorder:
    """A listener that keeps what it hears."""

    events: list[Event] = field(default_factory=list)

    def on_event(self, event: Event) -> None:
        self.events.append(event)

    def of[E](self, kind: type[E]) -> list[E]:
        return [event for event in self.events if isinstance(event, kind)]

    @property
    def kinds(self) -> list[str]:
        return [type(event).__name__ for event in self.events]


class Cue:
    """A lease that notes how often, and told of what, it was released."""

    def __init__(self) -> None:
        self.told: list[BaseException | None] = []

    def __enter__(self) -> None: ...

    def __exit__(self, kind: object, exc: BaseException | None, trace: object) -> None:
        self.told.append(exc)


def middle(low: float, high: float) -> float:
    """A draw without surprises."""
    return (low + high) / 2


def make_call(
    listener: Listener | None = None,
    *,
    deadline_s: float = 120.0,
    max_attempts: int = 4,
    target: str = "",
) -> Call:
    deadline = Deadline.after(LoopClock(), deadline_s)
    call = Call(deadline, max_attempts=max_attempts, listener=listener)
    call.target = target
    return call


async def spin(times: int = 5) -> None:
    """Let everything that is ready run; no time passes."""
    for _ in range(times):
        await asyncio.sleep(0)


class Place:
    """A target with every layer, composed as a gateway does."""

    def __init__(
        self,
        name: str,
        listener: Listener | None = None,
        *,
        config: BreakerConfig | None = None,
        limits: Limits | None = None,
        slots: int = 64,
        queue: int = 32,
        floor_per_s: float = 3.0,
        context_window: int | None = None,
        weight: float = 1.0,
    ) -> None:
        clock = LoopClock()
        self.name = name
        self.limits = limits or Limits()
        self.breaker = Breaker(
            name, config or BreakerConfig(), clock, listener=listener, uniform=middle
        )
        self.bulkhead = Bulkhead(name, limit=slots, queue=queue)
        self.cooldown = CooldownGate(name, clock, classify)
        self.budget = RetryBudget(clock, floor_per_s=floor_per_s)
        self.health = Health(clock, name, listener=listener)
        slow = SlownessRule(first_token_s=8.0)
        layers: list[Policy] = [
            Retry(clock, Backoff(uniform=middle), self.budget, classify),
            self.cooldown,
            BreakerPeek(self.breaker),
            self.bulkhead,
            BreakerAdmit(self.breaker, classify, slow),
            self.budget,
            Timeouts(self.limits),
        ]
        self.pipeline = Pipeline(
            layers, classify=classify, is_slow=slow, health=self.health
        )
        self.target = Target(
            name,
            self.pipeline,
            self,
            context_window,
            weight=weight,
            health=self.health,
            budget=self.budget,
        )

    def refusal(self) -> Refused | None:
        if self.cooldown.remaining_s > 0:
            return CoolingDown(self.name, self.cooldown.remaining_s)
        if not self.bulkhead.has_room:
            return BulkheadFull(self.name)
        return self.breaker.refusal()

    @property
    def at_rest(self) -> bool:
        """Nothing is taken that somebody would have to give back."""
        return self.bulkhead.in_use == 0 and self.bulkhead.queued == 0


class Routed:
    """An operation that does for each target what that target's script says."""

    def __init__(self, **scripts: ScriptedOperation) -> None:
        self._scripts = scripts
        self.sends: list[str] = []

    async def __call__(self, call: Call) -> Any:
        self.sends.append(call.target)
        return await self._scripts[call.target](call)


def one_each(item: object) -> int:
    """Weighs every item as one token."""
    return 1


async def stream(*steps: object) -> AsyncIterator[object]:
    """Yield the steps; a float is a silence in seconds, an exception is raised."""
    for step in steps:
        if isinstance(step, float):
            await asyncio.sleep(step)
        elif isinstance(step, BaseException):
            raise step
        else:
            yield step


class Streaming:
    """An operation that opens a guarded stream once its first item is there."""

    def __init__(
        self, limits: Limits, source: Callable[[], AsyncIterator[Any]]
    ) -> None:
        self._limits = limits
        self._source = source

    async def __call__(self, call: Call) -> GuardedStream[Any]:
        guarded = GuardedStream(self._source(), call, self._limits, one_each)
        await anext(guarded)
        return guarded
