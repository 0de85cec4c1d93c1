"""Which calls to turn away at the door when there are too many.

Rule: pure reckoning by in-flight calls and by the event loop's lag, which the caller
measures; decides at once, nobody waits here. The lowest class goes first, and what is
in flight is never cut. Whom a class stands for, and what the caller is told, is the
application's business.

Classes by criticality after Google's SRE book ("Handling Overload"); priorities as
thresholds on one shared limit, as in failsafe-go's prioritizer. Fairness within a
class is max-min: a key may use whatever nobody who has less wants.
"""

import math
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType, TracebackType

from resilience.clock import Clock
from resilience.errors import Shed

_LAG_LIVES_S = 5.0
_PATIENCE = 3.0


class Priority(StrEnum):
    """How much a call matters, most first."""

    CRITICAL = "critical"
    DEFAULT = "default"
    SHEDDABLE = "sheddable"


_RESERVES = MappingProxyType({Priority.CRITICAL: 0.1, Priority.DEFAULT: 0.2})
_LAG_FACTORS = {
    Priority.SHEDDABLE: 1.0,
    Priority.DEFAULT: 2.0,
    Priority.CRITICAL: 4.0,
}


class PriorityGate:
    """Admits calls by class and key, up to `limit` in flight.

    A key whose calls were shed *waits* until as many were admitted: it was told to
    come again, and is expected for three times `retry_after_s`. The fair share of a
    key is what its class may use, divided by the keys that are in flight or wait,
    rounded up. While another key waits that has less than that, no key gets more.

    Args:
        name: the gate's, for its errors.
        clock: measures how long a key waits and how old a lag is.
        limit: how many calls may be in flight.
        lag_limit_s: from this lag of the event loop (seconds) on sheddable calls are
            shed; default ones from twice, critical ones from four times as much.
        reserves: which share of the limit is kept free for a class and those above
            it, 0 to 1. What is reserved below a class, it may use.
        retry_after_s: the least pause a shed call is told to make; up to twice as
            long is drawn, so that they do not come back as one.
        uniform: draws a number from a range.

    Raises:
        ValueError: the limit is below 1, or the reserves are not shares of it.
    """

    def __init__(
        self,
        name: str,
        clock: Clock,
        *,
        limit: int = 2000,
        lag_limit_s: float = 0.1,
        reserves: Mapping[Priority, float] = _RESERVES,
        retry_after_s: float = 1.0,
        uniform: Callable[[float, float], float] = random.uniform,
    ) -> None:
        shares = reserves.values()
        if limit < 1 or any(share < 0 for share in shares) or sum(shares) > 1:
            raise ValueError("a gate has a limit, and reserves that fit into it")
        self._name = name
        self._clock = clock
        self._lag_limit_s = lag_limit_s
        self._retry_after_s = retry_after_s
        self._uniform = uniform
        self._lag_s = 0.0
        self._lag_at_s = clock.now()
        self._in_flight = 0
        self._classes: dict[Priority, _Class] = {}
        room = limit
        for priority in Priority:
            self._classes[priority] = _Class(room)
            room -= round(limit * reserves.get(priority, 0.0))

    @property
    def in_flight(self) -> int:
        """How many admitted calls have not ended."""
        return self._in_flight

    def in_flight_of(self, priority: Priority) -> int:
        """How many of them are of one class."""
        return self._classes[priority].in_flight

    def record_lag(self, lag_s: float) -> None:
        """Note by how many seconds the event loop is late; forgotten after 5 s."""
        self._lag_s, self._lag_at_s = lag_s, self._clock.now()

    def admit(self, priority: Priority, key: str) -> "Entry":
        """Return the entry of one call, to be released when the call has ended.

        Raises:
            Shed: the call must not be served; `retry_after_s` says when to try again.
        """
        now_s = self._clock.now()
        group = self._classes[priority]
        cause = self._refuses(priority, group, key, now_s)
        if cause is not None:
            group.wait(key, now_s + _PATIENCE * self._retry_after_s)
            after_s = self._uniform(self._retry_after_s, 2 * self._retry_after_s)
            raise Shed(self._name, after_s, priority=priority, cause=cause)
        group.enter(key)
        self._in_flight += 1
        return Entry(self, group, key)

    def _refuses(
        self, priority: Priority, group: "_Class", key: str, now_s: float
    ) -> str | None:
        lag_s = self._lag_s if now_s - self._lag_at_s <= _LAG_LIVES_S else 0.0
        if lag_s >= self._lag_limit_s * _LAG_FACTORS[priority]:
            return "loop_lag"
        if self._in_flight >= group.room:
            return "in_flight"
        usable = group.room - (self._in_flight - group.in_flight)
        if group.is_above_fair_share(key, usable, now_s):
            return "fair_share"
        return None

    def _leave(self, group: "_Class", key: str) -> None:
        group.leave(key)
        self._in_flight -= 1


class Entry:
    """One admitted call; a context manager that lets the call out, once."""

    __slots__ = ("_gate", "_group", "_key")

    def __init__(self, gate: PriorityGate, group: "_Class", key: str) -> None:
        self._gate: PriorityGate | None = gate
        self._group = group
        self._key = key

    def __enter__(self) -> None:
        """Nothing: the call is in."""

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.release()

    def release(self) -> None:
        """Note that the call has ended; only the first time has an effect."""
        gate, self._gate = self._gate, None
        if gate is not None:
            gate._leave(self._group, self._key)


class _Class:
    """The keys of one class: who is in flight and who waits."""

    def __init__(self, room: int) -> None:
        self.room = room
        """How many calls, of all classes, may be in flight for one more to enter."""
        self.in_flight = 0
        self._held: dict[str, int] = {}
        self._waiting: dict[str, _Wait] = {}
        """The keys that were shed, soonest forgotten first."""

    def wait(self, key: str, until_s: float) -> None:
        wait = self._waiting.pop(key, None) or _Wait()
        wait.calls += 1
        wait.until_s = until_s
        self._waiting[key] = wait

    def enter(self, key: str) -> None:
        self._held[key] = self._held.get(key, 0) + 1
        self.in_flight += 1
        wait = self._waiting.get(key)
        if wait is not None:
            wait.calls -= 1
            if not wait.calls:
                del self._waiting[key]

    def leave(self, key: str) -> None:
        self.in_flight -= 1
        self._held[key] -= 1
        if not self._held[key]:
            del self._held[key]

    def is_above_fair_share(self, key: str, usable: int, now_s: float) -> bool:
        """Whether one more call of `key` would be at the expense of who waits."""
        self._forget(now_s)
        if not self._waiting:
            return False
        held = self._held
        wanting = len(held.keys() | self._waiting.keys() | {key})
        share = math.ceil(usable / wanting)
        if held.get(key, 0) < share:
            return False
        return any(held.get(other, 0) < share for other in self._waiting)

    def _forget(self, now_s: float) -> None:
        while self._waiting:
            key, wait = next(iter(self._waiting.items()))
            if wait.until_s > now_s:
                return
            del self._waiting[key]


@dataclass(slots=True)
class _Wait:
    """How many calls of a key were shed and have not come in, and until when."""

    calls: int = 0
    until_s: float = 0.0
