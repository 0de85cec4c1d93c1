"""A hedged call may be cancelled at any moment; nothing of it stays behind."""

import asyncio
import gc
import weakref
from collections.abc import Iterator

import pytest

from resilience.breaker import BreakerConfig
from resilience.call import Call
from resilience.testing import ScriptedOperation
from tests.resilience.racing import Track, warm
from tests.resilience.scenery import AUTH_FAILED, Place, ProviderError, spin

# What happens: a is sent (0) and late (0.2); b queues for its slot until 0.3; a fails
# (0.5), closes its connection (0.51), waits, and is retried; b answers at 0.8, as the
# probe of a breaker on trial; a is cancelled and closes (0.81); b's reply is open.
MOMENTS_S = (
    0.0,
    0.1,
    0.2,
    0.25,
    0.3,
    0.4,
    0.5,
    0.505,
    0.51,
    0.52,
    0.54,
    0.7,
    0.8,
    0.805,
)
TURNS = 12


class Journey:
    """One hedged call through queues, failures, retries and probes."""

    def __init__(self) -> None:
        self.a = Place("a")
        self.b = Place("b", slots=1, config=BreakerConfig(permitted=1))
        self.track = Track(
            places=[self.a, self.b],
            a=ScriptedOperation(0.5, ProviderError(), 1e9, "never"),
            b=ScriptedOperation(0.5, "from b"),
        )

    async def begin(self) -> None:
        """Bring b's breaker on trial, take its slot until 0.3 s from now."""
        for _ in range(5):
            self.b.breaker.admit().fail()
        await asyncio.sleep(self.b.breaker.open_for_s)
        warm(self.a)
        blocker = self.b.bulkhead.try_acquire()
        assert blocker is not None
        leave = blocker.__exit__
        asyncio.get_running_loop().call_later(0.3, leave, None, None, None)

    async def assert_nothing_is_left(self) -> None:
        await asyncio.sleep(1.0)  # by now the slot taken at the start is free
        self.track.assert_nothing_is_left()
        assert self.b.breaker.ready, "no probe's place is lost"


async def test_undisturbed_the_journey_goes_everywhere_and_arrives() -> None:
    journey = Journey()
    await journey.begin()

    assert await journey.track.run() == "from b"
    await journey.track.call.close()

    assert journey.track.kinds == [("a", "primary"), ("b", "hedge"), ("a", "retry")]
    assert journey.b.breaker.state == "closed"
    await journey.assert_nothing_is_left()


@pytest.mark.parametrize("times", [1, 2])
@pytest.mark.parametrize("moment_s", MOMENTS_S)
async def test_cancelled_at_any_moment_and_turn_it_leaves_no_slot_permit_lease_or_task(
    moment_s: float, times: int
) -> None:
    for turn in range(TURNS):
        journey = Journey()
        await journey.begin()
        running = asyncio.create_task(journey.track.run())
        await asyncio.sleep(moment_s)
        await spin(turn)
        for _ in range(times):
            running.cancel()
            await spin(2)
        await asyncio.wait((running,))

        if not running.cancelled():
            await journey.track.call.close()  # it was there already
        await journey.assert_nothing_is_left()


class Socket:
    """Something that an attempt's frame holds."""


class Holding:
    """An operation whose frames hold sockets, and which does as told: after 0.5 s each
    target answers or fails, or stays silent.
    """

    def __init__(self, **does: str) -> None:
        self._does = does
        self.sockets: list[weakref.ref[Socket]] = []

    async def __call__(self, call: Call) -> object:
        socket = Socket()
        self.sockets.append(weakref.ref(socket))
        call.leases.push_async_callback(asyncio.sleep, 0.01)
        does = self._does[call.target]
        await asyncio.sleep(1e9 if does == "is silent" else 0.5)
        if does == "fails":
            raise ProviderError(AUTH_FAILED)
        return "answer"

    @property
    def alive(self) -> int:
        return sum(socket() is not None for socket in self.sockets)


@pytest.fixture
def no_collector() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("no_collector")
@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("is silent", "answers"),
        ("answers", "is silent"),
        ("fails", "answers"),
        ("is silent", "fails"),
        ("fails", "fails"),
    ],
)
async def test_what_a_race_held_is_freed_with_it(a: str, b: str) -> None:
    track = Track(deadline_s=5.0)
    operation = Holding(a=a, b=b)
    try:
        await track.chain.execute(operation, track.call)
    except Exception as exc:
        await track.call.close(exc)
    else:
        await track.call.close()

    track.heard.events.clear()
    assert (len(operation.sockets), operation.alive) == (2, 0)


@pytest.mark.usefixtures("no_collector")
async def test_what_a_race_held_is_freed_when_the_call_is_cancelled() -> None:
    track = Track()
    operation = Holding(a="is silent", b="is silent")
    running = asyncio.create_task(track.chain.execute(operation, track.call))
    await asyncio.sleep(1.0)
    running.cancel()
    await asyncio.wait((running,))
    assert running.cancelled()
    del running
    await track.call.close()

    track.heard.events.clear()
    assert (len(operation.sockets), operation.alive) == (2, 0)
