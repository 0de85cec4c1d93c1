"""The log of what reached the stand-in, and how each request ended on its side.

Bounded, in memory, never written anywhere. Headers and bodies are kept as they came
because tests assert on them: send no real key or prompt here.
"""

import asyncio
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from time import monotonic
from typing import Any


class Outcome(StrEnum):
    """How a request ended, as the stand-in sees it."""

    IN_FLIGHT = "in_flight"
    ANSWERED = "answered"  # all of the normal answer, or a refusal, was sent
    FAULTED = "faulted"  # the fault was played to its end
    CLIENT_GONE = "client_gone"  # the client closed the connection before that
    STOPPED = "stopped"  # the stand-in was stopped before that


@dataclass(slots=True)
class Record:
    """One request. Times are monotonic seconds (`time.monotonic`).

    `status` and `tokens_sent` say what was put on the wire so far: a request that got
    no headers has no status. `body` is None when it was no JSON or too large to keep.
    """

    at: float
    method: str
    path: str
    model: str | None
    stream: bool
    fault: str | None
    body: Any
    headers: dict[str, str]
    status: int | None = None
    outcome: Outcome = Outcome.IN_FLIGHT
    tokens_sent: int = 0
    ended_at: float | None = None

    def as_dict(self) -> dict[str, Any]:
        """The form that the control endpoint shows."""
        return {name: getattr(self, name) for name in _FIELDS}


_FIELDS = tuple(Record.__dataclass_fields__)


class Journal:
    """The newest records, and counts of everything since the last `clear`."""

    def __init__(self, limit: int) -> None:
        """Keep at most `limit` records; older ones only count."""
        self.records: deque[Record] = deque(maxlen=limit)
        self.count = 0
        self.outcomes: Counter[str] = Counter()
        self.in_flight = 0
        self._waiters: list[tuple[Callable[[], bool], asyncio.Future[None]]] = []

    def arrived(self, record: Record) -> None:
        """A request was read to its end."""
        self.records.append(record)
        self.count += 1
        self.in_flight += 1
        self.changed()

    def sent(self, record: Record, status: int | None, tokens: int) -> None:
        """Some of an answer was put on the wire."""
        record.status = status
        record.tokens_sent += tokens
        self.changed()

    def ended(self, record: Record, outcome: Outcome) -> None:
        """A request ended; only the first outcome counts."""
        if record.outcome is not Outcome.IN_FLIGHT:
            return
        record.outcome = outcome
        record.ended_at = monotonic()
        self.in_flight -= 1
        self.outcomes[outcome.value] += 1
        self.changed()

    def clear(self) -> None:
        """Forget the records; requests in flight stay counted as such."""
        self.records.clear()
        self.outcomes.clear()
        self.count = 0
        self.changed()

    def changed(self) -> None:
        """Wake who waits for something that has become true."""
        for waiter in [*self._waiters] if self._waiters else ():
            condition, woken = waiter
            if not woken.done() and condition():
                woken.set_result(None)

    async def until(self, condition: Callable[[], bool], timeout_s: float) -> None:
        """Wait for `condition`, looked at after each change.

        Raises:
            TimeoutError: it did not become true within `timeout_s`.
        """
        if condition():
            return
        woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        waiter = (condition, woken)
        self._waiters.append(waiter)
        try:
            async with asyncio.timeout(timeout_s):
                await woken
        finally:
            self._waiters.remove(waiter)
