"""Gauges read from live breakers, bulkheads, budgets and health at scrape time."""

import asyncio
import threading
from typing import Any

import pytest

from app.telemetry import Metrics
from app.telemetry.targets import TargetCollector
from resilience.breaker import BreakerState
from resilience.outcome import Counts
from resilience.testing import ManualClock
from tests.app.telemetry.scene import ALPHA, BETA, live


def _value(metrics: Metrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(f"llm_gateway_{name}", labels)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


def test_a_breaker_is_in_one_of_its_states(clock: ManualClock) -> None:
    metrics, target = Metrics(), live(clock)
    metrics.track_targets([target])
    assert target.breaker is not None
    for state in (BreakerState.FORCED_OPEN, BreakerState.DISABLED):
        target.breaker.force(state)
        shown = {
            one: _value(
                metrics,
                "circuit_breaker_state",
                provider="alpha",
                model="small",
                state=str(one),
            )
            for one in BreakerState
        }
        assert shown == {one: float(one is state) for one in BreakerState}


def test_a_target_without_a_breaker_has_no_breaker_series(clock: ManualClock) -> None:
    metrics = Metrics()
    metrics.track_targets([live(clock, breaker=None)])
    assert b"circuit_breaker_state{" not in metrics.render()[0]
    assert _value(metrics, "provider_up", provider="alpha", model="small") == 1


def test_a_target_is_down_while_its_breaker_is_open(clock: ManualClock) -> None:
    metrics, target = Metrics(), live(clock)
    metrics.track_targets([target])
    labels = {"provider": "alpha", "model": "small"}
    assert _value(metrics, "provider_up", **labels) == 1
    assert target.breaker is not None
    target.breaker.force(BreakerState.FORCED_OPEN)
    assert _value(metrics, "provider_up", **labels) == 0


def test_a_target_is_down_while_most_of_its_attempts_fail(clock: ManualClock) -> None:
    metrics, target = Metrics(), live(clock)
    metrics.track_targets([target])
    labels = {"provider": "alpha", "model": "small"}
    clock.advance(60)
    target.health.record(Counts.FAILURE)
    score = _value(metrics, "provider_health_score", **labels)
    assert score is not None and score < 0.5
    assert _value(metrics, "provider_up", **labels) == 0


async def test_slots_and_waiters_are_counted(clock: ManualClock) -> None:
    metrics, target = Metrics(), live(clock)
    metrics.track_targets([target])
    taken = [target.bulkhead.try_acquire() for _ in range(2)]
    waiting = asyncio.ensure_future(target.bulkhead.acquire(5.0))
    await asyncio.sleep(0)
    labels = {"provider": "alpha", "model": "small"}
    assert _value(metrics, "bulkhead_in_use", **labels) == len(taken)
    assert _value(metrics, "bulkhead_limit", **labels) == 2
    assert _value(metrics, "bulkhead_queued", **labels) == 1
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting


def test_a_provider_shows_the_least_of_its_budgets(clock: ManualClock) -> None:
    metrics, spent, full = Metrics(), live(clock, ALPHA), live(clock, BETA)
    full.provider = spent.provider
    for _ in range(15):
        assert spent.budget.try_withdraw()
    metrics.track_targets([full, spent])
    assert _value(metrics, "retry_budget_remaining_ratio", provider="alpha") == 0.5


def test_two_targets_with_the_same_labels_are_refused(clock: ManualClock) -> None:
    with pytest.raises(ValueError, match="alpha"):
        Metrics().track_targets([live(clock), live(clock)])


class _Watched:
    """A target that notes the threads in which it is read."""

    def __init__(self, clock: ManualClock) -> None:
        self._live = live(clock)
        self.threads: set[int] = set()

    def __getattr__(self, name: str) -> Any:
        self.threads.add(threading.get_ident())
        return getattr(self._live, name)


async def test_targets_are_read_in_the_thread_of_the_loop_only(
    clock: ManualClock,
) -> None:
    metrics, watched = Metrics(), _Watched(clock)
    metrics.track_targets([watched])
    watched.threads.clear()
    metrics.bind_loop(asyncio.get_running_loop())
    metrics.render()  # in the loop's own thread, which must not wait for itself
    body, _ = await asyncio.to_thread(metrics.render)
    assert b'llm_gateway_provider_up{model="small",provider="alpha"} 1.0' in body
    assert watched.threads == {threading.get_ident()}


async def test_a_loop_that_does_not_answer_gives_the_reading_before(
    clock: ManualClock,
) -> None:
    collector, target = TargetCollector(loop_answers_within_s=0.01), live(clock)
    collector.track([target])
    collector.bind(asyncio.get_running_loop())

    def slots_in_use() -> float:
        families = {family.name: family for family in collector.collect()}
        return families["llm_gateway_bulkhead_in_use"].samples[0].value

    assert slots_in_use() == 0
    target.bulkhead.try_acquire()
    answers: list[float] = []
    scrape = threading.Thread(target=lambda: answers.append(slots_in_use()))
    scrape.start()
    scrape.join()  # the loop is busy: with this
    assert answers == [0]
    assert slots_in_use() == 1


async def test_targets_can_be_read_after_their_loop_has_closed(
    clock: ManualClock,
) -> None:
    metrics = Metrics()
    metrics.track_targets([live(clock)])
    ended = asyncio.new_event_loop()
    ended.close()
    metrics.bind_loop(ended)
    assert _value(metrics, "provider_up", provider="alpha", model="small") == 1


def test_a_loop_that_closes_during_a_scrape_gives_the_reading_before(
    clock: ManualClock,
) -> None:
    class Closing:
        def is_running(self) -> bool:
            return True

        def call_soon_threadsafe(self, *_: object) -> None:
            raise RuntimeError("Event loop is closed")

    metrics = Metrics()
    metrics.track_targets([live(clock)])
    up = _value(metrics, "provider_up", provider="alpha", model="small")
    metrics.bind_loop(Closing())  # type: ignore[arg-type]  # a moment no real loop can be held in
    again = _value(metrics, "provider_up", provider="alpha", model="small")
    assert up == again == 1


async def test_a_target_that_cannot_be_read_fails_the_scrape_and_nothing_else(
    clock: ManualClock,
) -> None:
    class Broken:
        provider, model = "alpha", "small"

        def __getattr__(self, name: str) -> Any:
            raise RuntimeError("broken")

    metrics = Metrics()
    metrics.track_targets([Broken()])
    metrics.bind_loop(asyncio.get_running_loop())
    with pytest.raises(RuntimeError, match="broken"):
        await asyncio.to_thread(metrics.render)
