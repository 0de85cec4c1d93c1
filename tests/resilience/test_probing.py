"""Active probes: an open target recovers without a user's call."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from resilience.breaker import Breaker, BreakerConfig, BreakerState
from resilience.call import Attempt, AttemptKind
from resilience.events import AttemptSettled, AttemptStarted, BreakerChanged
from resilience.probing import Prober
from resilience.slowness import SlownessRule
from resilience.testing import LoopClock
from tests.resilience.scenery import (
    REFUSED,
    ProviderError,
    Recorder,
    classify,
    middle,
    spin,
    throttled,
)


class Probed:
    """A breaker, and a prober whose target does as it is told."""

    def __init__(
        self,
        *,
        interval_s: float = 10.0,
        within_s: float = 5.0,
        uniform: Callable[[float, float], float] = middle,
        is_slow: Callable[[Attempt], bool] = lambda attempt: False,
        **config: float,
    ) -> None:
        self.heard = Recorder()
        self.breaker = Breaker(
            "a",
            BreakerConfig(**config),
            LoopClock(),
            listener=self.heard,
            uniform=middle,
        )
        self.sent_at_s: list[float] = []
        self.takes_s = 0.1
        self.error: BaseException | None = None
        self.prober = Prober(
            self.breaker,
            self._probe,
            LoopClock(),
            interval_s=interval_s,
            within_s=within_s,
            classify=classify,
            is_slow=is_slow,
            listener=self.heard,
            uniform=uniform,
        )

    @asynccontextmanager
    async def running(self) -> AsyncIterator[asyncio.Task[None]]:
        task = asyncio.create_task(self.prober.run())
        yield task
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert task.cancelled()

    def trip(self) -> None:
        for _ in range(5):
            self.breaker.admit().fail()
        assert self.breaker.state == "open"

    async def _probe(self) -> None:
        self.sent_at_s.append(asyncio.get_running_loop().time())
        await asyncio.sleep(self.takes_s)
        if self.error is not None:
            raise self.error


async def test_an_open_target_recovers_by_probes_alone() -> None:
    place = Probed()
    async with place.running():
        place.trip()

        await asyncio.sleep(12)

        assert place.breaker.state == "closed"
        assert len(place.sent_at_s) == 3, "as many as the breaker permits"
        changes = [str(e.to_state) for e in place.heard.of(BreakerChanged)]
        assert changes == ["open", "half_open", "closed"]


async def test_no_probe_is_sent_before_the_open_time_is_over() -> None:
    place = Probed(interval_s=1.0)
    place.error = ProviderError()
    async with place.running():
        place.trip()
        await asyncio.sleep(9.9)
        assert place.sent_at_s == []

        await asyncio.sleep(1.2)

        assert len(place.sent_at_s) == 1


async def test_a_closed_target_is_never_probed() -> None:
    place = Probed(interval_s=1.0)
    async with place.running():
        await asyncio.sleep(100)

    assert place.sent_at_s == []


@pytest.mark.parametrize(
    "order",
    [BreakerState.FORCED_OPEN, BreakerState.DISABLED, BreakerState.METRICS_ONLY],
)
async def test_nor_is_one_that_an_operator_has_forced(order: BreakerState) -> None:
    place = Probed(interval_s=1.0)
    async with place.running():
        place.breaker.force(order)
        await asyncio.sleep(100)

    assert place.sent_at_s == []


async def test_a_failing_probe_reopens_and_the_next_one_waits_for_the_open_time() -> (
    None
):
    place = Probed(interval_s=1.0)
    place.error = ProviderError()
    async with place.running():
        place.trip()

        await asyncio.sleep(32)

    first, second = place.sent_at_s
    assert 20.0 <= second - first <= 21.2, "twice the first open time"
    assert place.breaker.state == "open"


async def test_a_target_that_fails_again_after_a_good_probe_is_left_alone() -> None:
    place = Probed()
    async with place.running():
        place.trip()
        await asyncio.sleep(10.15)  # the first probe is through
        place.error = ProviderError()

        await asyncio.sleep(5)

    assert 2 <= len(place.sent_at_s) <= 3


async def test_a_pause_that_a_failing_probe_is_told_to_make_is_kept() -> None:
    place = Probed(interval_s=1.0, permitted=1)
    async with place.running():
        place.trip()
        place.error = ProviderError(throttled(40.0))
        await asyncio.sleep(15)
        assert place.breaker.state == "half_open", "429 is neutral: no verdict yet"
        place.error = None

        await asyncio.sleep(5)

        assert place.breaker.state == "closed"


async def test_a_neutral_probe_gives_its_permit_back() -> None:
    place = Probed(interval_s=2.0)
    place.error = ProviderError(REFUSED)
    async with place.running():
        place.trip()
        await asyncio.sleep(20)

    assert len(place.sent_at_s) >= 4, "more than are permitted, one by one"
    assert place.breaker.ready


async def test_a_silent_target_fails_the_probe_in_time() -> None:
    place = Probed(within_s=5.0, permitted=1)
    place.takes_s = 1000.0
    async with place.running():
        place.trip()
        await asyncio.sleep(16)

        assert place.breaker.state == "open"
        [settled] = place.heard.of(AttemptSettled)
        assert settled.verdict is not None
        assert settled.verdict.reason == "first_token_timeout"
        assert settled.attempt.duration_s == pytest.approx(5.0, abs=0.01)


async def test_the_probes_own_timeout_error_is_its_own() -> None:
    place = Probed(permitted=1)
    place.error = TimeoutError("mine")
    async with place.running():
        place.trip()
        await asyncio.sleep(12)

    [settled] = place.heard.of(AttemptSettled)
    assert settled.error is place.error


async def test_slow_probes_do_not_close_a_breaker() -> None:
    place = Probed(is_slow=SlownessRule(first_token_s=2.0), permitted=1)
    place.takes_s = 3.0
    async with place.running():
        place.trip()
        await asyncio.sleep(14)

    assert place.breaker.state == "open"
    [settled] = place.heard.of(AttemptSettled)
    assert settled.slow


async def test_each_probe_is_told_of_as_an_attempt_of_its_kind() -> None:
    place = Probed(permitted=1)
    async with place.running():
        place.trip()
        await asyncio.sleep(12)

    [started], [settled] = (
        place.heard.of(AttemptStarted),
        place.heard.of(AttemptSettled),
    )
    assert started.attempt is settled.attempt
    assert settled.attempt.kind is AttemptKind.PROBE
    assert (settled.attempt.target, settled.attempt.number) == ("a", 1)
    assert (settled.verdict, settled.error, settled.slow) == (None, None, False)


async def test_a_call_that_holds_the_permit_keeps_the_prober_waiting() -> None:
    place = Probed(interval_s=1.0)
    async with place.running():
        place.trip()
        await asyncio.sleep(10.0)
        users = place.breaker.admit()
        await asyncio.sleep(5)
        assert len(place.sent_at_s) == 0

        users.ok()
        await asyncio.sleep(5)

        assert len(place.sent_at_s) == 2
        assert place.breaker.state == "closed"


async def test_cancelling_the_prober_in_a_probe_gives_the_permit_back() -> None:
    place = Probed()
    place.takes_s = 4.0
    async with place.running() as task:
        place.trip()
        await asyncio.sleep(12)
        assert not place.breaker.ready, "its probe is under way"

        task.cancel()
        await spin()

        assert place.breaker.ready
        assert place.breaker.state == "half_open"
    [settled] = place.heard.of(AttemptSettled)
    assert settled.verdict is not None
    assert settled.verdict.reason == "cancelled"


async def test_looks_are_jittered() -> None:
    draws = iter([0.8, 1.2, 0.9])

    def draw(low: float, high: float) -> float:
        assert (low, high) == (0.8, 1.2)
        return next(draws, 1.0)

    place = Probed(interval_s=10.0, uniform=draw)
    place.error = ProviderError(REFUSED)  # neutral: the breaker goes on asking
    started_s = asyncio.get_running_loop().time()
    async with place.running():
        place.trip()
        await asyncio.sleep(31)

    first, second = (at_s - started_s for at_s in place.sent_at_s)
    assert first == pytest.approx(20.0, abs=0.01), "after 8 s it was still open"
    assert second == pytest.approx(29.1, abs=0.01)
