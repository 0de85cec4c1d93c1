"""Concurrent slots per target, with a bounded queue in front.

Rule: a slot is a lease: it is given back when the reply closes. Waiting is first
come, first served, bounded in length and time, and a waiter that is cancelled or too
late never takes a slot with it. The wait is ours, so a refusal is never the target's
failure. After Nygard's bulkhead pattern ("Release It!").

The limit may be adaptive: what it becomes is `adaptive.py`'s business. Slots beyond a
lowered limit are never taken away, they just are not reused. With a `lease_s`, a slot
held for longer counts as free: its task was lost. That, too, is looked at when
somebody asks for a slot, not by a timer.
"""

import asyncio
from collections import deque
from types import TracebackType

from resilience.adaptive import AdaptiveLimit
from resilience.call import Call
from resilience.clock import Clock, SystemClock
from resilience.errors import BulkheadFull
from resilience.events import (
    BulkheadRejected,
    BulkheadWaited,
    LimitChanged,
    Listener,
    Silent,
    SlotExpired,
    tell,
)
from resilience.policy import Operation


class Bulkhead:
    """`limit` slots and a queue of at most `queue` waiters.

    A waiter waits `wait_s` seconds at the most.

    Args:
        target: whose slots these are.
        limit: how many; with `adaptive`, how many at the most.
        queue: how many may wait.
        wait_s: how long each may, in seconds.
        adaptive: lowers the limit by what it learns from the attempts made here.
        lease_s: after how many seconds a slot counts as lost, and frees itself; to be
            longer than any call lasts. None: never.
        clock: measures `lease_s`.
        listener: is told when the limit adapts, and of lost slots.

    Raises:
        ValueError: `lease_s` is no length of time.
    """

    def __init__(
        self,
        target: str,
        *,
        limit: int = 64,
        queue: int = 32,
        wait_s: float = 1.0,
        adaptive: AdaptiveLimit | None = None,
        lease_s: float | None = None,
        clock: Clock | None = None,
        listener: Listener | None = None,
    ) -> None:
        if lease_s is not None and lease_s <= 0:
            raise ValueError("a lease lasts for some time")
        self.target = target
        self._most = limit
        self._queue = queue
        self._wait_s = wait_s
        self._adaptive = adaptive
        self._lease_s = lease_s
        self._clock = clock or SystemClock()
        self._listener = listener or Silent()
        self._limit = limit if adaptive is None else min(limit, adaptive.limit)
        self._in_use = 0
        self._leased: dict[Slot, float] = {}
        """When each slot was taken, oldest first; empty without a `lease_s`."""
        self._waiters: deque[asyncio.Future[Slot]] = deque()

    @property
    def limit(self) -> int:
        """How many slots there are now; may be changed at any time.

        In adaptive mode, what is set is how many there may be at the most.
        """
        return self._limit

    @limit.setter
    def limit(self, limit: int) -> None:
        self._most = limit
        self._follow()

    @property
    def in_use(self) -> int:
        """Slots taken."""
        self._free_lost()
        return self._in_use

    @property
    def queued(self) -> int:
        """Calls waiting for a slot."""
        return len(self._waiters)

    @property
    def has_room(self) -> bool:
        """Whether a call that came now would get a slot or a place in the queue."""
        self._free_lost()
        return self._in_use < self._limit or len(self._waiters) < self._queue

    def try_acquire(self) -> "Slot | None":
        """Take a slot if one is free and nobody waits for it."""
        self._free_lost()
        if self._in_use < self._limit and not self._waiters:
            return self._take()
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
        waiter: asyncio.Future[Slot] = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        try:
            async with asyncio.timeout(wait_s):
                return await waiter
        except BaseException as exc:  # cancelled too: a slot may be ours
            if waiter.done() and not waiter.cancelled():
                waiter.result().release()  # handed over in the very moment we gave up
            elif waiter in self._waiters:  # else passed over, having been cancelled
                self._waiters.remove(waiter)
            if not isinstance(exc, TimeoutError):
                raise
        slot = self.try_acquire()  # one may have been lost meanwhile
        if slot is None:
            raise BulkheadFull(self.target)
        return slot

    async def execute[T](self, operation: Operation[T], call: Call) -> T:
        """Run `operation` in a slot that is freed when the reply closes.

        Raises:
            BulkheadFull: the operation was not run.
        """
        slot = self.try_acquire()
        if slot is None:
            slot = await self._wait(call)
        adaptive = self._adaptive
        if adaptive is None:
            call.leases.push(slot)
            return await operation(call)
        in_flight = self._in_use
        call.leases.push(_Watched(slot, self, adaptive, call, in_flight))
        opened = await operation(call)
        if call.attempt is not None:
            adaptive.record_opened(call.attempt, in_flight)
            self._follow()
        return opened

    def _follow(self) -> None:
        """Make the limit what it has to be."""
        adaptive, before = self._adaptive, self._limit
        self._limit = (
            self._most if adaptive is None else min(self._most, adaptive.limit)
        )
        if self._limit == before:
            return
        if adaptive is not None:
            tell(self._listener, LimitChanged(self.target, before, self._limit))
        self._hand_out()

    def _take(self) -> "Slot":
        slot = Slot(self)
        self._in_use += 1
        if self._lease_s is not None:
            self._leased[slot] = self._clock.now()
        return slot

    def _give_back(self, slot: "Slot") -> None:
        self._leased.pop(slot, None)
        self._in_use -= 1
        self._hand_out()

    def _free_lost(self) -> None:
        """Give back every slot whose lease is over."""
        while self._leased:
            slot, taken_at_s = next(iter(self._leased.items()))
            held_s = self._clock.now() - taken_at_s
            if self._lease_s is None or held_s < self._lease_s:
                return
            slot.release()
            tell(self._listener, SlotExpired(self.target, held_s))

    def _hand_out(self) -> None:
        while self._waiters and self._in_use < self._limit:
            waiter = self._waiters.popleft()
            if not waiter.done():
                # Taken on behalf of the waiter, who has yet to wake up.
                waiter.set_result(self._take())

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
        self.release()

    def release(self) -> None:
        """Give the slot back; the first waiter gets it. Once is enough."""
        bulkhead, self._bulkhead = self._bulkhead, None
        if bulkhead is not None:
            bulkhead._give_back(self)


class _Watched:
    """A slot of an adaptive bulkhead: how it is left is learned from, first."""

    __slots__ = ("_adaptive", "_bulkhead", "_call", "_in_flight", "_slot")

    def __init__(
        self,
        slot: Slot,
        bulkhead: Bulkhead,
        adaptive: AdaptiveLimit,
        call: Call,
        in_flight: int,
    ) -> None:
        self._slot = slot
        self._bulkhead = bulkhead
        self._adaptive = adaptive
        self._call = call
        self._in_flight = in_flight

    def __enter__(self) -> None:
        """Nothing: the slot is taken already."""

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        attempt = self._call.attempt
        try:
            if exc is not None and attempt is not None:
                # Before the slot is free, so that a cut holds for who gets it.
                self._adaptive.record_failed(attempt, exc, self._in_flight)
                self._bulkhead._follow()
        finally:
            self._slot.release()
