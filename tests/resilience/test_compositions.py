"""Pairs of layers: each asserts how many attempts were made *and* what was sent."""

import asyncio

import pytest

from resilience.admission import BreakerAdmit, BreakerPeek
from resilience.backoff import Backoff
from resilience.breaker import Breaker, BreakerConfig
from resilience.budget import RetryBudget
from resilience.bulkhead import Bulkhead
from resilience.call import Call
from resilience.cooldown import CooldownGate
from resilience.errors import (
    BreakerOpen,
    BulkheadFull,
    CoolingDown,
    DeadlineExceeded,
    FirstTokenTimeout,
)
from resilience.pipeline import Pipeline
from resilience.policy import Policy
from resilience.retry import Retry
from resilience.testing import LoopClock, ScriptedOperation
from resilience.timeout import Limits, Timeouts
from tests.resilience.scenery import (
    ProviderError,
    classify,
    make_call,
    middle,
    spin,
    throttled,
)


class Layers:
    """The layers of one target, to be composed as a test needs them."""

    def __init__(self, *, floor_per_s: float = 3.0, **config: object) -> None:
        clock = LoopClock()
        self.breaker = Breaker("a", BreakerConfig(**config), clock, uniform=middle)
        self.peek = BreakerPeek(self.breaker)
        self.admit = BreakerAdmit(self.breaker, classify, lambda attempt: False)
        self.bulkhead = Bulkhead("a", limit=1, queue=1, wait_s=1.0)
        self.cooldown = CooldownGate("a", clock, classify)
        self.budget = RetryBudget(clock, ratio=0.2, floor_per_s=floor_per_s)
        backoff = Backoff(uniform=middle)
        self.retry = Retry(clock, backoff, self.budget, classify)
        self.timeouts = Timeouts(Limits(first_token_s=2.0))
        self.call = make_call(target="a")

    async def run(
        self, operation: ScriptedOperation, *layers: Policy, call: Call | None = None
    ) -> object:
        pipeline = Pipeline(layers, classify=classify)
        return await pipeline.execute(operation, call or self.call)

    def counts(self, operation: ScriptedOperation) -> tuple[int, int]:
        """Attempts made, and sends seen."""
        return len(self.call.attempts), len(operation.sends)


async def test_retry_and_breaker_a_breaker_that_trips_ends_the_retries() -> None:
    layers = Layers(consecutive=2)
    error = ProviderError()
    operation = ScriptedOperation(error)

    with pytest.raises(ProviderError) as caught:
        await layers.run(operation, layers.retry, layers.peek, layers.admit)

    assert caught.value is error, "not the refusal of the retry"
    assert layers.counts(operation) == (2, 2)
    assert layers.breaker.state == "open"


async def test_retry_and_breaker_an_open_breaker_is_not_retried() -> None:
    layers = Layers(consecutive=1)
    layers.breaker.admit().fail()
    operation = ScriptedOperation("never")

    with pytest.raises(BreakerOpen):
        await layers.run(operation, layers.retry, layers.peek, layers.admit)

    assert layers.counts(operation) == (0, 0)


async def test_retry_and_bulkhead_a_full_bulkhead_is_not_retried() -> None:
    layers = Layers()
    layers.bulkhead.try_acquire()
    operation = ScriptedOperation("never")

    with pytest.raises(BulkheadFull):
        await layers.run(operation, layers.retry, layers.bulkhead)

    assert layers.counts(operation) == (0, 0)
    assert asyncio.get_running_loop().time() == pytest.approx(1001.0, abs=1e-3)


async def test_retry_and_bulkhead_a_slot_is_given_back_during_the_backoff() -> None:
    layers = Layers()
    operation = ScriptedOperation(ProviderError(throttled(5.0)), "answer")
    running = asyncio.create_task(layers.run(operation, layers.retry, layers.bulkhead))
    await spin()
    assert (layers.bulkhead.in_use, layers.counts(operation)) == (0, (1, 1))

    assert await running == "answer"
    assert (layers.bulkhead.in_use, layers.counts(operation)) == (1, (2, 2))


async def test_retry_and_timeouts_a_silent_target_is_not_asked_twice() -> None:
    layers = Layers()
    operation = ScriptedOperation(1e9)

    with pytest.raises(FirstTokenTimeout):
        await layers.run(operation, layers.retry, layers.timeouts)

    assert layers.counts(operation) == (1, 1)


async def test_retry_and_timeouts_each_attempt_has_its_own_first_token_limit() -> None:
    layers = Layers()
    operation = ScriptedOperation(1.5, ProviderError(), 1.5, "answer")

    assert await layers.run(operation, layers.retry, layers.timeouts) == "answer"
    assert layers.counts(operation) == (2, 2)


async def test_retry_and_deadline_retries_share_one_deadline() -> None:
    layers = Layers()
    layers.call = make_call(deadline_s=4.0)
    operation = ScriptedOperation(
        1.9, ProviderError(), 1.9, ProviderError(), 1.9, "late"
    )

    with pytest.raises(DeadlineExceeded):
        await layers.run(operation, layers.retry, layers.timeouts)

    assert layers.counts(operation) == (3, 3)
    assert asyncio.get_running_loop().time() == pytest.approx(1004.0, abs=1e-3)


async def test_retry_and_cooldown_the_retry_comes_when_the_pause_is_over() -> None:
    layers = Layers()
    operation = ScriptedOperation(ProviderError(throttled(1.5)), "answer")

    assert await layers.run(operation, layers.retry, layers.cooldown) == "answer"
    assert layers.counts(operation) == (2, 2)


async def test_retry_and_cooldown_a_pause_that_another_call_lengthened_is_kept() -> (
    None
):
    layers = Layers()
    error = ProviderError(throttled(1.0))
    mine = ScriptedOperation(error, "never")
    another = ScriptedOperation(ProviderError(throttled(60.0)))
    other_call = make_call(deadline_s=5.0)
    released = asyncio.Event()

    async def late(call: Call) -> object:
        await released.wait()
        return await another(call)

    other = asyncio.create_task(
        layers.run(late, layers.retry, layers.cooldown, call=other_call)
    )
    await spin()
    running = asyncio.create_task(layers.run(mine, layers.retry, layers.cooldown))
    await spin()
    released.set()

    with pytest.raises(ProviderError) as caught:
        await running
    assert caught.value is error
    assert layers.counts(mine) == (1, 1)
    with pytest.raises(ProviderError):
        await other


async def test_retry_and_budget_first_attempts_earn_what_retries_spend() -> None:
    layers = Layers(floor_per_s=0.0)
    sent = 0
    for _ in range(100):
        operation, layers.call = ScriptedOperation(ProviderError()), make_call()
        with pytest.raises(ProviderError):
            await layers.run(operation, layers.retry, layers.budget)
        attempts, sends = layers.counts(operation)
        assert attempts == sends
        sent += sends

    assert sent == 120


async def test_budget_and_breaker_what_is_refused_is_not_booked() -> None:
    layers = Layers(consecutive=1, floor_per_s=0.0)
    layers.breaker.admit().fail()
    for _ in range(50):
        with pytest.raises(BreakerOpen):
            await layers.run(ScriptedOperation("never"), layers.admit, layers.budget)

    assert not layers.budget.try_withdraw()


async def test_breaker_and_bulkhead_nobody_queues_for_a_dead_target() -> None:
    layers = Layers(consecutive=1)
    layers.bulkhead.try_acquire()
    layers.breaker.admit().fail()
    operation = ScriptedOperation("never")

    with pytest.raises(BreakerOpen):
        await layers.run(operation, layers.peek, layers.bulkhead, layers.admit)

    assert layers.counts(operation) == (0, 0)
    assert asyncio.get_running_loop().time() == 1000.0


async def test_breaker_and_bulkhead_a_full_bulkhead_holds_no_probe() -> None:
    layers = Layers(consecutive=1, permitted=1)
    layers.breaker.admit().fail()
    await asyncio.sleep(layers.breaker.open_for_s)
    layers.bulkhead.try_acquire()
    operation = ScriptedOperation("never")

    with pytest.raises(BulkheadFull):
        await layers.run(operation, layers.peek, layers.bulkhead, layers.admit)

    assert layers.counts(operation) == (0, 0)
    assert layers.breaker.ready


async def test_breaker_and_bulkhead_what_opened_while_a_call_queued_refuses_it() -> (
    None
):
    layers = Layers(consecutive=1)
    slot = layers.bulkhead.try_acquire()
    operation = ScriptedOperation("never")
    running = asyncio.create_task(
        layers.run(operation, layers.peek, layers.bulkhead, layers.admit)
    )
    await spin()
    layers.breaker.admit().fail()
    assert slot is not None
    with slot:
        pass

    with pytest.raises(BreakerOpen):
        await running

    assert layers.counts(operation) == (0, 0)
    assert layers.bulkhead.in_use == 0


async def test_breaker_and_timeouts_the_breaker_sees_the_timeout() -> None:
    layers = Layers(consecutive=1)

    with pytest.raises(FirstTokenTimeout):
        await layers.run(ScriptedOperation(1e9), layers.admit, layers.timeouts)

    assert layers.breaker.state == "open"


async def test_breaker_and_cooldown_a_429_pauses_the_target_and_trips_nothing() -> None:
    layers = Layers(consecutive=1, min_calls=1)
    operation = ScriptedOperation(ProviderError(throttled(5.0)))

    with pytest.raises(ProviderError):
        await layers.run(operation, layers.cooldown, layers.peek, layers.admit)
    with pytest.raises(CoolingDown):
        await layers.run(operation, layers.cooldown, layers.peek, layers.admit)

    assert layers.counts(operation) == (1, 1)
    assert (layers.breaker.state, layers.breaker.totals.recorded) == ("closed", 0)


async def test_bulkhead_and_timeouts_waiting_for_a_slot_is_not_the_target_s_time() -> (
    None
):
    layers = Layers()
    slot = layers.bulkhead.try_acquire()
    assert slot is not None
    loop = asyncio.get_running_loop()
    loop.call_later(0.9, slot.__exit__, None, None, None)
    operation = ScriptedOperation(1.9, "answer")

    await layers.run(operation, layers.bulkhead, layers.timeouts)

    attempt = layers.call.attempt
    assert attempt is not None
    assert attempt.first_token_s == pytest.approx(1.9, abs=1e-3)
