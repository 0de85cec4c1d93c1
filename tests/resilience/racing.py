"""A hedged route: targets with a known latency, and an operation that holds leases."""

import asyncio
from collections.abc import Sequence
from typing import Any

from resilience.call import Attempt, AttemptKind, Call
from resilience.chain import Chain
from resilience.events import AttemptSettled, Event
from resilience.hedge import Hedge
from resilience.testing import LoopClock, ScriptedOperation
from tests.resilience.scenery import Cue, Place, Recorder, classify, make_call

LATE_S = 0.2


def warm(place: Place, first_s: float = LATE_S) -> None:
    """Let `place` have answered often enough for its latency to be known."""
    for _ in range(20):
        now_s = asyncio.get_running_loop().time()
        place.health.latency.record(
            Attempt(
                place.name,
                1,
                AttemptKind.PRIMARY,
                now_s - first_s,
                first_token_at_s=now_s,
                ended_at_s=now_s,
            )
        )


class Track:
    """A chain of warm targets whose hedges are paid for, and what came of a call.

    Each target does what its script says; everything that an attempt holds is a cue,
    and a connection that takes a moment to close.
    """

    def __init__(
        self,
        names: str = "ab",
        *,
        places: Sequence[Place] = (),
        paid: int = 1,
        max_attempts: int = 4,
        deadline_s: float = 120.0,
        **scripts: ScriptedOperation,
    ) -> None:
        self.heard = Recorder()
        known = {place.name: place for place in places}
        self.places = {
            name: known.get(name) or Place(name, self.heard) for name in names
        }
        for place in self.places.values():
            warm(place)
        self.hedge = Hedge(LoopClock(), classify, budget_ratio=1.0)
        for _ in range(paid):
            self.hedge.share.deposit()
        self.chain = Chain(
            [place.target for place in self.places.values()],
            classify,
            hedge=self.hedge,
        )
        self.scripts = scripts
        self.sends: list[str] = []
        self.cues: list[tuple[str, Cue]] = []
        self.call = make_call(
            self.heard, max_attempts=max_attempts, deadline_s=deadline_s
        )

    def __getitem__(self, name: str) -> Place:
        return self.places[name]

    async def run(self) -> Any:
        """Make the call; what it opens stays open."""
        try:
            return await self.chain.execute(self.attempt, self.call)
        except BaseException as exc:
            await self.call.close(exc)
            raise

    async def attempt(self, call: Call) -> Any:
        self.sends.append(call.target)
        cue = Cue()
        self.cues.append((call.target, cue))
        call.leases.push(cue)
        call.leases.push_async_callback(self.close_connection)
        return await self.scripts[call.target](call)

    async def close_connection(self) -> None:
        await asyncio.sleep(0.01)

    @property
    def kinds(self) -> list[tuple[str, str]]:
        return [(attempt.target, attempt.kind) for attempt in self.call.attempts]

    def told(self, name: str) -> list[BaseException | None]:
        """What the leases of attempts on `name` were released with."""
        return [
            told for target, cue in self.cues if target == name for told in cue.told
        ]

    def hedges(self) -> list[Event]:
        """The events that tell of hedges."""
        return [
            event
            for event in self.heard.events
            if type(event).__name__.startswith("Hedge")
        ]

    def settled(self, name: str) -> list[str]:
        """How attempts on `name` counted: `success`, or why not."""
        return [
            "success" if event.verdict is None else event.verdict.reason
            for event in self.heard.of(AttemptSettled)
            if event.attempt.target == name
        ]

    def assert_nothing_is_left(self) -> None:
        """No slot, lease, permit or task is held by anybody."""
        assert all(place.at_rest for place in self.places.values())
        assert all(place.health.in_flight == 0 for place in self.places.values())
        assert all(len(cue.told) == 1 for _, cue in self.cues)
        assert asyncio.all_tasks() == {asyncio.current_task()}


def answers_after(delay_s: float, answer: str) -> ScriptedOperation:
    return ScriptedOperation(delay_s, answer)


def now_s() -> float:
    """Seconds since the test began."""
    return asyncio.get_running_loop().time() - 1000.0
