"""Concurrent slots per target, with a bounded queue in front.

Rule: a slot is a lease: it is given back when the reply closes. Waiting is first
come, first served, bounded in length and time, and a waiter that is cancelled or too
late never takes a slot with it. The wait is ours, so a refusal is never the target's
failure. After Nygard's bulkhead pattern ("Release It!").
"""

import asyncio
from collections import deque
from types import TracebackType

from resilience.call import Call
from resilience.errors import BulkheadFull
from resilience.events import BulkheadRejected, BulkheadWaited
from resilience.policy import Operation


class Bulkhead:
    """`limit` slots and a queue of at most `queue` waiters.

    A waiter waits `wait_s` seconds at the most.
    """

    def __init__(
        self, target: str, *, limit: int = 64, queue: int = 32, wait_s: float = 1.0
    ) -> None:
        self.target = target
        self._limit = limit
        self._queue = queue
        self._wait_s = wait_s
        self._in_use = 0
        self._waiters: deque[asyncio.Future[None]] = deque()

    @property
    def limit(self) -> int:
        """How many slots there are; may be changed at any time.

        Slots beyond a lowered limit are not taken away: they just are not reused.
        """
        return self._limit

    @limit.setter
    def limit(self, limit: int) -> None:
        self._limit = limit
        self._hand_out()

    @property
    def in_use(self) -> int:
        """Slots taken."""
        return self._in_use

    @property
    def queued(self) -> int:
        """Calls waiting for a slot."""
        return len(self._waiters)

    @property
    def has_room(self) -> bool:
        """Whether a call that came now would get a slot or a place in the queue."""
        return self._in_use < self._limit or len(self._waiters) < self._queue

    def try_acquire(self) -> "Slot | None":
        """Take a slot if one is free and nobody waits for it."""
        if self._in_use < self._limit and not self._waiters:
            self._in_use += 1
            return Slot(self)
        return None

    async def acquire(self, wait_s: float) -> "Slot":
        """Take a slot, waiting up to `wait_s` seconds for it.

        Raises:
            BulkheadFull: no slot, and no room or time to wait for one.
        """
        slot = self.try_acquire()
        if slot is not None:
            return slot
        if len(self._waiters) >= self._queue or wait_s <= 0:
            raise BulkheadFull(self.target)
        waiter = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        try:
            async with asyncio.timeout(wait_s):
                await waiter
        except BaseException as exc:
            if waiter.done() and not waiter.cancelled():
                self.release()  # handed over in the very moment we gave up
            elif waiter in self._waiters:  # else passed over, having been cancelled
                self._waiters.remove(waiter)
            if isinstance(exc, TimeoutError):
                raise BulkheadFull(self.target) from None
            raise
        return Slot(self)

    def release(self) -> None:
        """Give a slot back; the first waiter gets it."""
        self._in_use -= 1
        self._hand_out()

    async def execute[T](self, operation: Operation[T], call: Call) -> T:
        """Run `operation` in a slot that is freed when the reply closes.

        Raises:
            BulkheadFull: the operation was not run.
        """
        slot = self.try_acquire()
        if slot is None:
            slot = await self._wait(call)
        call.leases.push(slot)
        return await operation(call)

    def _hand_out(self) -> None:
        while self._waiters and self._in_use < self._limit:
            waiter = self._waiters.popleft()
            if not waiter.done():
                self._in_use += 1  # on behalf of the waiter, who has yet to wake up
                waiter.set_result(None)

    async def _wait(self, call: Call) -> "Slot":
        clock = call.deadline.clock
        started_s = clock.now()
        had_room = self.has_room
        try:
            slot = await self.acquire(min(self._wait_s, call.deadline.remaining_s()))
        except BulkheadFull:
            waited_s = clock.now() - started_s
            call.emit(BulkheadRejected(self.target, had_room, waited_s))
            raise
        call.emit(BulkheadWaited(self.target, clock.now() - started_s))
        return slot


class Slot:
    """One taken slot; leaving it gives the slot back, once."""

    __slots__ = ("_bulkhead",)

    def __init__(self, bulkhead: Bulkhead) -> None:
        self._bulkhead: Bulkhead | None = bulkhead

    def __enter__(self) -> None:
        """Nothing: the slot is taken already."""

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        bulkhead, self._bulkhead = self._bulkhead, None
        if bulkhead is not None:
            bulkhead.release()
