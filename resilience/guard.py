"""The usual layers with their defaults, around plain functions and generators.

Rule: composition only. What is built here can be built by hand of the same parts, and
no behaviour is added but this: `call` settles an attempt when the function returns, and
`stream` when the stream ends, by what the *source* did. A reader that leaves early, or
raises an error of its own, says nothing about the target.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from functools import partial

from resilience.admission import BreakerAdmit, BreakerPeek
from resilience.backoff import Backoff
from resilience.breaker import Breaker
from resilience.budget import RetryBudget
from resilience.bulkhead import Bulkhead
from resilience.call import Call
from resilience.chain import Chain
from resilience.choice import Strategy
from resilience.clock import Clock, SystemClock
from resilience.cooldown import CooldownGate
from resilience.deadline import Deadline
from resilience.errors import BulkheadFull, CoolingDown, Refused
from resilience.events import Listener, Listeners, Silent
from resilience.health import Health
from resilience.hedge import Hedge
from resilience.outcome import Classify
from resilience.outcome import classify as classify_own
from resilience.pipeline import Pipeline
from resilience.policy import Operation, Policy
from resilience.retry import Retry
from resilience.slowness import SlownessRule
from resilience.target import Target
from resilience.timeout import GuardedStream, Limits, Timeouts
from resilience.trip import BreakerConfig

_SLOW = SlownessRule(first_token_s=8.0)


class Guard:
    """One target behind every layer: retry, cool-down, breaker, bulkhead, time-outs.

    Args:
        name: the target's name, for events and errors.
        classify: how errors count; falls back on `resilience.classify` by itself.
        limits: how long each phase may take. For a function, its answer is its first
            token.
        breaker: when the breaker trips.
        slow: which attempts count as slow.
        slots: how many calls at once.
        queue: how many may wait for a slot.
        wait_s: how long each may, in seconds.
        backoff: the delays before retries.
        budget: the account of retries; give guards of one provider the same.
        context_window, weight: what the target declares to a chain.
        deadline_s: when a call ends if nothing else is said, in seconds from its start.
        max_attempts: how many attempts a call may send.
        listener: is told of every call's events, and of the breaker's and health's.
        clock: where the time comes from.

    The parts are attributes, to be observed or ordered about (`breaker.force`).
    """

    def __init__(
        self,
        name: str,
        *,
        classify: Classify = classify_own,
        limits: Limits | None = None,
        breaker: BreakerConfig | None = None,
        slow: SlownessRule = _SLOW,
        slots: int = 64,
        queue: int = 32,
        wait_s: float = 1.0,
        backoff: Backoff | None = None,
        budget: RetryBudget | None = None,
        context_window: int | None = None,
        weight: float = 1.0,
        deadline_s: float = 120.0,
        max_attempts: int = 4,
        listener: Listener | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.name = name
        self.classify = classify
        self.limits = limits or Limits()
        self.clock = clock or SystemClock()
        self.health = Health(self.clock, name, slow=slow, listener=listener)
        self.breaker = Breaker(
            name,
            breaker or BreakerConfig(),
            self.clock,
            listener=Listeners((self.health, listener or Silent())),
        )
        self.bulkhead = Bulkhead(name, limit=slots, queue=queue, wait_s=wait_s)
        self.cooldown = CooldownGate(name, self.clock, classify)
        self.budget = budget or RetryBudget(self.clock)
        self.pipeline = self._layered(slow, backoff or Backoff())
        self.target = Target(
            name,
            self.pipeline,
            self,
            context_window,
            weight=weight,
            health=self.health,
            budget=self.budget,
        )
        self._entrance = _Entrance(
            self.pipeline,
            {name: self.limits},
            self.clock,
            _Terms(deadline_s, max_attempts, listener, first=name),
        )

    def _layered(self, slow: SlownessRule, backoff: Backoff) -> Pipeline:
        layers: list[Policy] = [
            Retry(self.clock, backoff, self.budget, self.classify),
            self.cooldown,
            BreakerPeek(self.breaker),
            self.bulkhead,
            BreakerAdmit(self.breaker, self.classify, slow),
            self.budget,
            Timeouts(self.limits),
        ]
        return Pipeline(
            layers, classify=self.classify, is_slow=slow, health=self.health
        )

    def refusal(self) -> Refused | None:
        """Return why the target would not take an attempt now, or None if it would."""
        if self.cooldown.remaining_s > 0:
            return CoolingDown(self.name, self.cooldown.remaining_s)
        if not self.bulkhead.has_room:
            return BulkheadFull(self.name)
        return self.breaker.refusal()

    async def call[T](
        self,
        function: Callable[[], Awaitable[T]],
        *,
        deadline_s: float | None = None,
        listener: Listener | None = None,
    ) -> T:
        """Return what `function` returns; it is called once for each attempt.

        `deadline_s` and `listener` are this call's own; the listener hears of it as
        well as the guard's.

        Raises:
            Refused: it was not called.
            TimedOut: it took too long.
            Exception: what it raised, unchanged.
        """
        return await self._entrance.call(lambda _: function(), deadline_s, listener)

    def stream[T](
        self,
        source: Callable[[], AsyncIterator[T]],
        *,
        weigh: Callable[[T], int] | None = None,
        deadline_s: float | None = None,
        listener: Listener | None = None,
    ) -> AbstractAsyncContextManager[AsyncIterator[T]]:
        """Return `source`'s items, to be used as `async with … as items`.

        Entering waits for the first item with a weight (`weigh`: how many tokens it
        carries; each one by default). Until then a failure is retried, with a new
        iterator from `source`; afterwards it ends the iteration. Leaving closes the
        iterator and releases whatever the attempt held.

        Raises:
            Refused, TimedOut, Exception: on entering, as `call` does; from the
                iteration, what ended the stream too early.
        """
        return self._entrance.stream(
            lambda _: source(), weigh or _one, deadline_s, listener
        )


class GuardedChain:
    """Several guarded targets: when one does not answer, the next is asked.

    Args:
        guards: in the order of preference. The first one's clock and classification
            of errors are the chain's.
        strategy: in which order they are asked; `Failover` if not given.
        hedge: asks a second one when one is late; None never does.
        deadline_s: when a call ends if nothing else is said, in seconds from its start.
        max_attempts: how many attempts a call may send, over all targets.
        listener: is told of every call's events; those of a guard hear only of its
            breaker and its health.

    Raises:
        ValueError: there are no guards, or two of the same name.
    """

    def __init__(
        self,
        *guards: Guard,
        strategy: Strategy | None = None,
        hedge: Hedge | None = None,
        deadline_s: float = 120.0,
        max_attempts: int = 4,
        listener: Listener | None = None,
    ) -> None:
        limits = {guard.name: guard.limits for guard in guards}
        if not guards or len(limits) < len(guards):
            raise ValueError("a chain has at least one target, and each once")
        self._entrance = _Entrance(
            Chain(
                [guard.target for guard in guards],
                guards[0].classify,
                strategy=strategy,
                hedge=hedge,
            ),
            limits,
            guards[0].clock,
            _Terms(deadline_s, max_attempts, listener),
        )

    async def call[T](
        self,
        function: Callable[[str], Awaitable[T]],
        *,
        deadline_s: float | None = None,
        listener: Listener | None = None,
    ) -> T:
        """Return the first answer; `function` is given the name of whom to ask.

        Raises:
            ChainExhausted: no target answered.
            DeadlineExceeded: the deadline came first.
            Exception: an error that no other target could mend, unchanged.
        """
        return await self._entrance.call(
            lambda call: function(call.target), deadline_s, listener
        )

    def stream[T](
        self,
        source: Callable[[str], AsyncIterator[T]],
        *,
        weigh: Callable[[T], int] | None = None,
        deadline_s: float | None = None,
        listener: Listener | None = None,
    ) -> AbstractAsyncContextManager[AsyncIterator[T]]:
        """Return the items of the first that sends any, as `Guard.stream` does."""
        return self._entrance.stream(
            lambda call: source(call.target), weigh or _one, deadline_s, listener
        )


@dataclass(frozen=True, slots=True)
class _Terms:
    """What holds for every call that does not say otherwise."""

    deadline_s: float
    max_attempts: int
    listener: Listener | None
    first: str = ""
    """Whom to ask, where no chain chooses."""


class _Entrance:
    """Where calls begin, and are closed when they have ended."""

    def __init__(
        self,
        policy: Policy | Chain,
        limits: Mapping[str, Limits],
        clock: Clock,
        terms: _Terms,
    ) -> None:
        self._policy = policy
        self._limits = limits
        self._clock = clock
        self._terms = terms

    async def call[T](
        self,
        operation: Operation[T],
        deadline_s: float | None,
        listener: Listener | None,
    ) -> T:
        call = self._begin(deadline_s, listener)
        answer = await self._policy.execute(operation, call)
        await call.close()
        return answer

    @asynccontextmanager
    async def stream[T](
        self,
        source: Callable[[Call], AsyncIterator[T]],
        weigh: Callable[[T], int],
        deadline_s: float | None,
        listener: Listener | None,
    ) -> AsyncGenerator[AsyncIterator[T]]:
        call = self._begin(deadline_s, listener)
        items = await self._policy.execute(partial(self._open, source, weigh), call)
        try:
            yield items
        finally:
            end = items.leave()
            try:
                await call.close(end)
            finally:
                del end  # its traceback may hold this frame

    def _begin(self, deadline_s: float | None, listener: Listener | None) -> Call:
        terms = self._terms
        lasts_s = terms.deadline_s if deadline_s is None else deadline_s
        call = Call(
            Deadline.after(self._clock, lasts_s),
            max_attempts=terms.max_attempts,
            listener=_both(terms.listener, listener),
        )
        call.target = terms.first
        return call

    async def _open[T](
        self,
        source: Callable[[Call], AsyncIterator[T]],
        weigh: Callable[[T], int],
        call: Call,
    ) -> "_Items[T]":
        origin = source(call)
        close = getattr(origin, "aclose", None)
        if close is not None:
            call.leases.push_async_callback(close)
        guarded = GuardedStream(origin, call, self._limits[call.target], weigh)
        held: list[T] = []
        async for item in guarded:
            held.append(item)
            if weigh(item):
                break
        return _Items(held, guarded)


class _Items[T]:
    """What was held until the stream was open, then the rest of it."""

    def __init__(self, held: list[T], rest: AsyncIterator[T]) -> None:
        self._held = held[::-1]
        self._rest = rest
        self._end: BaseException | None = None
        """What ended the stream, early or not."""
        self._left = False

    def __aiter__(self) -> "_Items[T]":
        return self

    async def __anext__(self) -> T:
        if self._end is not None:
            raise self._end  # a broken stream does not look complete when asked again
        if self._left:
            raise RuntimeError("this stream has been left")
        if self._held:
            return self._held.pop()
        try:
            return await anext(self._rest)
        except BaseException as exc:  # noted for the settlement, and raised again
            self._end = exc
            raise

    def leave(self) -> BaseException | None:
        """Return what the source did wrong; None if it came to its end."""
        end, self._end = self._end, None
        self._left = True
        if end is None:
            return GeneratorExit()  # its reader went away
        return None if isinstance(end, StopAsyncIteration) else end


def _one(item: object) -> int:
    return 1


def _both(one: Listener | None, other: Listener | None) -> Listener | None:
    if one is None or other is None:
        return one or other
    return Listeners((one, other))
