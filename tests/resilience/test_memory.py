"""What an error's traceback reaches is freed with the error, without the collector.

An attempt's frames hold sockets and bodies. A reference cycle through a traceback
would keep them until the next full collection, under load and during outages of all
times. So the collector is off here, and everything must be gone regardless.
"""

import asyncio
import gc
import weakref
from collections.abc import Awaitable, Callable, Iterator

import pytest

from resilience.breaker import BreakerConfig
from resilience.call import Call
from resilience.chain import Chain
from resilience.deadline import Deadline
from resilience.errors import (
    BreakerOpen,
    BulkheadFull,
    ChainExhausted,
    CoolingDown,
    FirstTokenTimeout,
    IdleTimeout,
)
from resilience.testing import LoopClock
from resilience.timeout import GuardedStream
from tests.resilience.scenery import (
    AUTH_FAILED,
    OVERLOADED,
    REFUSED,
    Place,
    ProviderError,
    classify,
    make_call,
    one_each,
    stream,
    throttled,
)


@pytest.fixture(autouse=True)
def no_collector() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


class Socket:
    """Something an attempt's frame holds."""


class Operation:
    """Holds a socket in its frame and does as told with it."""

    def __init__(self, then: Callable[[], Awaitable[object]]) -> None:
        self._then = then
        self.sockets: list[weakref.ref[Socket]] = []

    async def __call__(self, call: Call) -> object:
        socket = Socket()
        self.sockets.append(weakref.ref(socket))
        call.leases.push_async_callback(asyncio.sleep, 0.01)
        return await self._then()

    @property
    def alive(self) -> int:
        return sum(socket() is not None for socket in self.sockets)


def failing(make: Callable[[], BaseException]) -> Operation:
    async def fail() -> object:
        raise make()

    return Operation(fail)


class Labels(dict[str, str]):
    """A part of a call that a weak reference can watch."""


def watched_call() -> tuple[Call, weakref.ref[Labels]]:
    labels = Labels()
    call = Call(Deadline.after(LoopClock(), 120.0), labels=labels)
    call.target = "a"
    return call, weakref.ref(labels)


async def attempt(
    run: Callable[[Call], Awaitable[object]],
    expected: type[BaseException] | tuple[type[BaseException], ...],
) -> None:
    call, held = watched_call()
    try:
        await run(call)
    except expected as exc:
        await call.close(exc)
    else:
        raise AssertionError("it did not fail")
    del call
    assert held() is None, "the call itself is part of a cycle"


@pytest.mark.parametrize(
    ("make", "sends"),
    [
        (ProviderError, 3),
        (lambda: ProviderError(OVERLOADED), 3),
        (lambda: ProviderError(throttled()), 3),
        (lambda: ProviderError(AUTH_FAILED), 1),
        (lambda: ProviderError(REFUSED), 1),
        (asyncio.CancelledError, 1),
    ],
    ids=["unavailable", "overloaded", "throttled", "auth", "refused", "cancelled"],
)
async def test_an_attempt_that_failed_for_good_is_freed(
    make: Callable[[], BaseException], sends: int
) -> None:
    place, operation = Place("a"), failing(make)

    await attempt(lambda call: place.pipeline.execute(operation, call), type(make()))

    assert len(operation.sockets) == sends
    assert operation.alive == 0


@pytest.mark.parametrize("make", [ProviderError, lambda: ProviderError(REFUSED)])
async def test_a_chain_s_attempts_are_freed(make: Callable[[], Exception]) -> None:
    places, operation = [Place(name) for name in "abc"], failing(make)
    chain = Chain([place.target for place in places], classify)

    await attempt(
        lambda call: chain.execute(operation, call), (ChainExhausted, ProviderError)
    )

    assert operation.sockets
    assert operation.alive == 0


async def test_an_exhausted_chain_s_causes_hold_their_attempts_only_as_long_as_it() -> (
    None
):
    places, operation = [Place(name) for name in "ab"], failing(ProviderError)
    chain = Chain([place.target for place in places], classify)
    try:
        await chain.execute(operation, make_call())
    except ChainExhausted as exhausted:
        assert operation.alive == 2, "each cause has its traceback, for the log"
        assert len(exhausted.causes) == 2

    assert operation.alive == 0


async def test_an_attempt_that_was_too_late_is_freed() -> None:
    place = Place("a")
    operation = Operation(lambda: asyncio.sleep(1e9))

    await attempt(
        lambda call: place.pipeline.execute(operation, call), FirstTokenTimeout
    )

    assert operation.alive == 0


async def test_an_attempt_answered_at_the_second_try_is_freed() -> None:
    place, errors = Place("a"), [ProviderError()]

    async def then_answer() -> object:
        if errors:
            raise errors.pop()
        return "answer"

    operation = Operation(then_answer)
    call, held = watched_call()
    await place.pipeline.execute(operation, call)
    await call.close()

    assert operation.alive == 0
    del call
    assert held() is None


async def test_a_call_cancelled_between_two_tries_is_freed() -> None:
    place = Place("a")
    operation = failing(lambda: ProviderError(throttled(60.0)))
    call, held = watched_call()
    running = asyncio.create_task(place.pipeline.execute(operation, call))
    await asyncio.sleep(1.0)
    assert operation.alive == 1, "its error may yet be the last"

    running.cancel()
    await asyncio.wait((running,))
    del running, call

    assert operation.alive == 0
    assert held() is None


def opened(place: Place) -> type[Exception]:
    place.breaker.admit().fail()
    return BreakerOpen


def filled(place: Place) -> type[Exception]:
    place.bulkhead.try_acquire()
    return BulkheadFull


def cooled(place: Place) -> type[Exception]:
    place.cooldown._start(60.0, make_call())
    return CoolingDown


@pytest.mark.parametrize("spoil", [opened, filled, cooled])
async def test_a_refused_call_is_freed(
    spoil: Callable[[Place], type[Exception]],
) -> None:
    place = Place("a", config=BreakerConfig(consecutive=1), slots=1, queue=1)
    expected, operation = spoil(place), failing(ProviderError)

    await attempt(lambda call: place.pipeline.execute(operation, call), expected)

    assert operation.sockets == []


async def test_a_stream_that_stalled_is_freed() -> None:
    place = Place("a")
    sources: list[weakref.ref[object]] = []

    async def operation(call: Call) -> GuardedStream[object]:
        source = stream("first", 1e9)
        sources.append(weakref.ref(source))
        items = GuardedStream(source, call, place.limits, one_each)
        await anext(items)
        return items

    async def read(call: Call) -> None:
        items = await place.pipeline.execute(operation, call)
        async for _ in items:
            pass

    await attempt(read, IdleTimeout)
    await asyncio.sleep(0)  # asyncio holds a cancellation until the task's next turn

    [source] = sources
    assert source() is None
