"""Some replicas with a breaker each, on one manual clock, driven in words."""

from resilience.breaker import Breaker, BreakerConfig
from resilience.errors import BreakerOpen
from resilience.membership import Member
from resilience.memory_fleet import MemoryFleet
from resilience.permit import Permit
from resilience.shared import View
from resilience.testing import ManualClock
from tests.resilience.scenery import Recorder, middle


class Crew:
    """Replicas r0, r1, … and the fleet they share."""

    def __init__(self, size: int, **config: object) -> None:
        self.clock = ManualClock()
        self.fleet = MemoryFleet(self.clock)
        self.config = BreakerConfig(**{"quiet_run_s": 1e9, **config})
        self.heard = [Recorder() for _ in range(size)]
        self.members = [
            Member(self.fleet, f"r{n}", self.clock, listener=heard)
            for n, heard in enumerate(self.heard)
        ]
        self.seats = [member.seat("a") for member in self.members]
        self.breakers = [
            Breaker(
                "a", self.config, self.clock, listener=heard, uniform=middle, seat=seat
            )
            for seat, heard in zip(self.seats, self.heard, strict=True)
        ]

    async def meet(self, times: int = 1, *, every_s: float = 0.25) -> None:
        """Let everybody report and hear, in turn; then some time passes."""
        for _ in range(times):
            for member in self.members:
                await member.exchange()
            self.clock.advance(every_s)

    def trip(self, n: int) -> None:
        for _ in range(self.config.consecutive):
            self.breakers[n].admit().fail()
        assert self.breakers[n].state == "open"

    async def opened(self) -> None:
        """Open the fleet by two of its replicas; everybody has heard of it."""
        await self.meet()
        self.trip(0)
        self.trip(1)
        await self.meet(2)
        assert self.states == ["open"] * len(self.breakers)

    async def probing(self) -> Permit:
        """Open, and wait until r0 holds the permit of the first probe."""
        await self.opened()
        await self.wait_out()
        assert self.breakers[0].refusal() is not None, "no lease yet"
        await self.meet()
        return self.breakers[0].admit()

    async def wait_out(self) -> None:
        while self.breakers[0].open_for_s > 0:
            await self.meet()

    async def probe(self, n: int) -> Permit:
        """Ask until `n` may probe."""
        for _ in range(50):
            try:
                return self.breakers[n].admit()
            except BreakerOpen:
                await self.meet()
        raise AssertionError("never admitted")

    async def view(self, n: int = 0) -> View:
        """What the record says to `n` right now."""
        seat = self.seats[n]
        [view] = await self.fleet.exchange(f"r{n}", [seat.report()])
        return view

    @property
    def states(self) -> list[str]:
        return [str(breaker.state) for breaker in self.breakers]

    @property
    def shared(self) -> list[bool]:
        return [breaker.shared for breaker in self.breakers]
