"""Replicas, providers and clients in virtual time: the real layers between them.

Every replica composes the library as a gateway does, on a clock of its own that agrees
with no other, and shares its breakers through a fleet in memory. All randomness comes
from one seed, so that a run can be repeated to the last digit.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count
from random import Random

from resilience.admission import BreakerAdmit, BreakerPeek
from resilience.backoff import Backoff
from resilience.breaker import Breaker, BreakerConfig, BreakerState
from resilience.budget import RetryBudget
from resilience.bulkhead import Bulkhead
from resilience.call import Call
from resilience.chain import Chain, Target
from resilience.cooldown import CooldownGate
from resilience.deadline import Deadline
from resilience.errors import BulkheadFull, CoolingDown, Refused, ResilienceError
from resilience.events import (
    BreakerChanged,
    BreakerSharingChanged,
    Event,
    Listener,
)
from resilience.membership import Member
from resilience.memory_fleet import MemoryFleet
from resilience.pipeline import Pipeline
from resilience.policy import Policy
from resilience.retry import Retry
from resilience.slowness import SlownessRule
from resilience.testing import LoopClock, run_virtually
from resilience.timeout import Limits, Timeouts
from tests.simulation.diary import Change, Diary, Request, Send
from tests.simulation.providers import Model, Provider, ProviderError, classify

BUDGET_RATIO = 0.2
FLEET_FLOOR_PER_S = 3.0
"""Retries per second that are always allowed, to all replicas together."""

LIMITS = Limits(first_token_s=3.0, total_s=20.0)
BREAKER = BreakerConfig()


@dataclass(frozen=True)
class Surge:
    """`times` as many requests between two points in time."""

    from_s: float
    to_s: float
    times: float


@dataclass(frozen=True)
class Setup:
    """One run.

    `routes` are chains of provider names with their share of the requests;
    `client_tries` is how often a client asks until it gives up. Without `protected`
    there is neither breaker nor budget nor bulkhead.
    """

    models: Sequence[Model]
    routes: tuple[tuple[tuple[str, ...], float], ...]
    replicas: int = 3
    seed: int = 1
    rate_per_s: float = 50.0
    every_s: float | None = None
    """Seconds between requests, if they are not to come at random."""
    lasts_s: float = 180.0
    surge: Surge | None = None
    client_tries: int = 1
    protected: bool = True
    shared: bool = True
    deadline_s: float = 30.0
    limits: Limits = LIMITS
    breaker: BreakerConfig = BREAKER
    medium_delay_s: float = 0.0
    medium_loss: float = 0.01
    medium_down: tuple[float, float] = (1e6, 2e6)


class OwnClock(LoopClock):
    """The loop's time as one replica reads it: no two agree."""

    def __init__(self, ahead_s: float) -> None:
        self._ahead_s = ahead_s

    def now(self) -> float:
        return super().now() + self._ahead_s


class Guards:
    """One replica's layers in front of one provider."""

    def __init__(
        self,
        name: str,
        setup: Setup,
        clock: OwnClock,
        member: Member,
        listener: Listener,
        random: Random,
    ) -> None:
        self.name = name
        self.breaker = Breaker(
            name,
            setup.breaker,
            clock,
            listener=listener,
            uniform=random.uniform,
            seat=member.seat(name) if setup.shared else None,
        )
        self.bulkhead = Bulkhead(name, limit=64 if setup.protected else 10**6)
        self.cooldown = CooldownGate(name, clock, classify)
        self.budget = RetryBudget(
            clock,
            ratio=BUDGET_RATIO if setup.protected else 1e6,
            floor_per_s=FLEET_FLOOR_PER_S / setup.replicas,
        )
        slow = SlownessRule(first_token_s=setup.limits.first_token_s * 0.8)
        backoff = Backoff(uniform=random.uniform)
        layers: list[Policy] = [
            Retry(clock, backoff, self.budget, classify),
            self.cooldown,
            BreakerPeek(self.breaker),
            self.bulkhead,
            BreakerAdmit(self.breaker, classify, slow),
            self.budget,
            Timeouts(setup.limits),
        ]
        if not setup.protected:
            self.breaker.force(BreakerState.DISABLED)
        pipeline = Pipeline(layers, classify=classify, is_slow=slow)
        self.target = Target(name, pipeline, self)

    def refusal(self) -> Refused | None:
        if self.cooldown.remaining_s > 0:
            return CoolingDown(self.name, self.cooldown.remaining_s)
        if not self.bulkhead.has_room:
            return BulkheadFull(self.name)
        return self.breaker.refusal()


class Replica:
    """One gateway."""

    def __init__(self, name: str, world: "World", random: Random) -> None:
        setup = world.setup
        self.name = name
        self._world = world
        self.clock = OwnClock(random.uniform(-1e6, 1e6))
        self.member = Member(world.fleet, name, self.clock, listener=self)
        self.guards = {
            one.name: Guards(one.name, setup, self.clock, self.member, self, random)
            for one in setup.models
        }
        self._chains = {
            route: Chain([self.guards[one].target for one in route], classify)
            for route, _ in setup.routes
        }

    def on_event(self, event: Event) -> None:
        """Write down what the breakers do."""
        world = self._world
        match event:
            case BreakerChanged(target=target, to_state=state):
                change = Change(world.now_s, self.name, str(state))
                world.diary.changes[target].append(change)
            case BreakerSharingChanged(shared=shared):
                world.diary.sharing.append((world.now_s, shared))

    async def ask(self, route: tuple[str, ...]) -> bool:
        """Send one request through; return whether it was answered in time."""
        world, number = self._world, next(self._world.calls)
        call = Call(Deadline.after(self.clock, world.setup.deadline_s))

        async def send(call: Call) -> None:
            sent = Send(world.now_s, number, call.target)
            world.diary.sends[call.target].append(sent)
            try:
                await world.providers[call.target].answer()
            finally:
                sent.until_s = world.now_s

        try:
            await self._chains[route].execute(send, call)
        except (ResilienceError, ProviderError):
            return False
        finally:
            await call.close()
        return True


class World:
    """Everything there is in a run; made inside its loop."""

    def __init__(self, setup: Setup) -> None:
        self.setup = setup
        self.diary = Diary.of(
            setup.replicas,
            [model.name for model in setup.models],
            [route for route, _ in setup.routes],
        )
        self.calls = count()
        self._began_s = asyncio.get_running_loop().time()
        random = Random(setup.seed)
        self.fleet = MemoryFleet(
            LoopClock(),
            delay_s=setup.medium_delay_s,
            loss=setup.medium_loss,
            draw=Random(setup.seed + 1).random,
        )
        self.fleet.down = setup.medium_down[0] <= 0
        self.providers = {
            one.name: Provider(one, Random(setup.seed + 2 + n), self._began_s)
            for n, one in enumerate(setup.models)
        }
        self.replicas = [Replica(f"r{n}", self, random) for n in range(setup.replicas)]

    async def live(self) -> Diary:
        """Run from beginning to end."""
        behind = [asyncio.create_task(self._meet(one)) for one in self.replicas]
        behind.append(asyncio.create_task(self._cut_the_medium()))
        async with asyncio.TaskGroup() as clients:
            await self._arrive(clients)
        for task in behind:
            task.cancel()
        await asyncio.gather(*behind, return_exceptions=True)
        return self.diary

    @property
    def now_s(self) -> float:
        """Seconds since the start."""
        return asyncio.get_running_loop().time() - self._began_s

    async def _meet(self, replica: Replica) -> None:
        """Take part in the fleet, out of step with the others."""
        if self.setup.shared:
            await asyncio.sleep(int(replica.name[1:]) * 0.25 / self.setup.replicas)
            await replica.member.run()

    async def _arrive(self, clients: asyncio.TaskGroup) -> None:
        """Requests come at random, whether or not earlier ones were answered."""
        setup, random = self.setup, Random(self.setup.seed + 100)
        routes = [route for route, _ in setup.routes]
        shares = [share for _, share in setup.routes]
        while self.now_s < setup.lasts_s:
            rate_per_s, surge = setup.rate_per_s, setup.surge
            if surge is not None and surge.from_s <= self.now_s < surge.to_s:
                rate_per_s *= surge.times
            await asyncio.sleep(setup.every_s or random.expovariate(rate_per_s))
            route = random.choices(routes, shares)[0]
            clients.create_task(self._client(route, random.choice(self.replicas)))

    async def _client(self, route: tuple[str, ...], replica: Replica) -> None:
        began_s = self.now_s
        answered, tries = False, 0
        while not answered and tries < self.setup.client_tries:
            tries += 1
            answered = await replica.ask(route)
        took_s = self.now_s - began_s
        self.diary.requests[route].append(Request(began_s, took_s, answered))

    async def _cut_the_medium(self) -> None:
        from_s, to_s = self.setup.medium_down
        await asyncio.sleep(from_s)
        self.fleet.down = True
        await asyncio.sleep(to_s - from_s)
        self.fleet.down = False


def run(setup: Setup) -> Diary:
    """Run in virtual time."""

    async def live() -> Diary:
        return await World(setup).live()

    return run_virtually(live())
