"""The demo's course: all is well, the first provider is killed, it comes back.

The rule it keeps: the kill is a real SIGKILL of a real process, and nothing tells the
gateway of it. What is shown, and how, is the screen's business.
"""

import asyncio
import re
from dataclasses import dataclass

import httpx

from scripts.demo.answers import TOKENS
from scripts.demo.caller import Caller
from scripts.demo.screen import Screen
from scripts.demo.tally import Phase, Result, Tally
from scripts.local import start_stand_in
from scripts.processes import Child, Children, HarnessFailed

# Half a second per answer: at any moment some are in the midst of being delivered.
PACE = ("--first-token-ms", "50", "--tokens-per-s", "45", "--tokens", str(TOKENS))
_LOOK_EVERY_S = 0.1
_BREAKER = re.compile(
    r"^llm_gateway_circuit_breaker_state\{(?P<labels>[^}]*)\} 1(?:\.0)?$", re.MULTILINE
)
_LABEL = re.compile(r'(\w+)="([^"]*)"')


@dataclass(frozen=True, slots=True)
class Times:
    """How long each phase lasts."""

    well_s: float
    killed_s: float
    back_s: float

    @classmethod
    def of(cls, total_s: float) -> "Times":
        """Share `total_s` out: a little less before the kill than after it."""
        return cls(total_s * 6 / 22, total_s * 8 / 22, total_s * 8 / 22)


class Demo:
    """One run. Everything it learns is in `tally`."""

    def __init__(
        self,
        children: Children,
        victim: Child,
        victim_port: int,
        caller: Caller,
        screen: Screen,
        times: Times,
    ) -> None:
        self.tally = Tally(victim.name)
        self._children = children
        self._victim = victim
        self._port = victim_port
        self._caller = caller
        self._screen = screen
        self._times = times
        self._breaker = "?"
        self._notes: list[str] = []
        self._shown = 0
        self._expected_dead: set[int] = set()
        self._phase = Phase.WELL
        self._used_again = False

    async def run(self, rate_per_s: float) -> None:
        """Play it from beginning to end.

        Raises:
            ExceptionGroup: of HarnessFailed; a process died that was not killed here,
                or there was nothing to kill.
        """
        stop = asyncio.Event()
        async with asyncio.TaskGroup() as background:
            watching = (
                background.create_task(self._watch_breaker()),
                background.create_task(self._tell_seconds()),
            )
            async with asyncio.TaskGroup() as course:
                course.create_task(self._act(stop))
                course.create_task(
                    self._caller.send_steadily(rate_per_s, stop, self._record)
                )
            for task in watching:
                task.cancel()
        self._tell_second(self._caller.now_s())

    async def _act(self, stop: asyncio.Event) -> None:
        await asyncio.sleep(self._times.well_s)
        self._kill()
        await asyncio.sleep(self._times.killed_s)
        self._note(f"{self._victim.name} is started again")
        again = await asyncio.to_thread(
            start_stand_in,
            self._children,
            self._victim.name,
            self._port,
            PACE,
            label=f"{self._victim.name}-again",
        )
        self.tally.back_at_s = self._caller.now_s()
        self._phase = Phase.BACK
        self._note(f"{self._victim.name} is back (process {again.process.pid})")
        await asyncio.sleep(self._times.back_s)
        stop.set()

    def _kill(self) -> None:
        """Kill the victim, and see that it is dead before anything else is sent."""
        name, process = self._victim.name, self._victim.process
        if not self.tally.answered_by(Phase.WELL)[name]:
            raise HarnessFailed(
                f"{name} answered nothing while all was well: killing it would prove "
                f"nothing. The end of its log:\n{self._victim.tail()}"
            )
        self._expected_dead.add(process.pid)
        self.tally.killed_at_s = self._caller.now_s()
        process.kill()
        process.wait()
        self._phase = Phase.KILLED
        self._note(f"{name} killed (SIGKILL, process {process.pid})")

    def _record(self, result: Result) -> None:
        self.tally.results.append(result)
        if not self._used_again and self.tally.is_by_returned_victim(result):
            self._used_again = True
            self._note(f"{self._victim.name} answers again")

    async def _watch_breaker(self) -> None:
        while True:
            try:
                state = breaker_state(await self._caller.metrics(), self._victim.name)
            except httpx.HTTPError:
                state = "?"  # seen by the requests as well, if the gateway is gone
            if state != self._breaker:
                self._breaker_is(state)
            await asyncio.sleep(_LOOK_EVERY_S)

    def _breaker_is(self, state: str) -> None:
        before, self._breaker = self._breaker, state
        tally = self.tally
        if state == "open" and tally.breaker_open_at_s is None:
            tally.breaker_open_at_s = self._caller.now_s()
            took_s = tally.breaker_took_s()
            self._note(
                "breaker opened"
                if took_s is None
                else f"breaker opened {took_s:.1f} s after the kill"
            )
        elif state == "closed" and before != "?" and self._phase is Phase.BACK:
            self._note("breaker closed")

    async def _tell_seconds(self) -> None:
        second = 0
        while True:
            second += 1
            await asyncio.sleep(max(0.0, second - self._caller.now_s()))
            self._tell_second(second)
            for child in self._children.running():
                if child.process.pid not in self._expected_dead:
                    self._children.check(child)

    def _tell_second(self, at_s: float) -> None:
        results = self.tally.results[self._shown :]
        self._shown += len(results)
        notes, self._notes = self._notes, []
        self._screen.second(at_s, self.tally.second(results), self._breaker, notes)

    def _note(self, text: str) -> None:
        self._notes.append(text)
        self._screen.phase(self._phase)


def breaker_state(metrics: str, provider: str) -> str:
    """Return the state of a provider's breaker by the metrics; `?` without one."""
    for line in _BREAKER.finditer(metrics):
        labels = dict(_LABEL.findall(line["labels"]))
        if labels.get("provider") == provider:
            return str(labels["state"])
    return "?"
