"""Retries on one target: how often, when, and what the caller gets in the end."""

import asyncio
from collections.abc import Callable

import pytest

from resilience.backoff import Backoff
from resilience.budget import RetryBudget
from resilience.call import AttemptKind, Call
from resilience.errors import BreakerOpen, DeadlineExceeded
from resilience.events import RetryBudgetExhausted, RetryScheduled
from resilience.outcome import Classify, Counts, Disposition, Verdict
from resilience.pipeline import Pipeline
from resilience.retry import Retry
from resilience.testing import LoopClock, ScriptedOperation
from tests.resilience.scenery import (
    AUTH_FAILED,
    OVERLOADED,
    UNAVAILABLE,
    Cue,
    ProviderError,
    Recorder,
    classify,
    make_call,
    middle,
    spin,
    throttled,
)


class Retrying:
    """One retry layer around a scripted operation."""

    def __init__(
        self,
        *steps: object,
        alternative: Callable[[], bool] = lambda: False,
        floor_per_s: float = 3.0,
        classify: Classify = classify,
        **call: float,
    ) -> None:
        clock = LoopClock()
        self.heard = Recorder()
        self.operation = ScriptedOperation(*steps)
        self.budget = RetryBudget(clock, ratio=0.0, floor_per_s=floor_per_s)
        backoff = Backoff(uniform=middle)
        self.retry = Retry(clock, backoff, self.budget, classify)
        self.pipeline = Pipeline([self.retry], classify=classify)
        self.call = make_call(self.heard, target="a", **call)
        self.call.alternative_ready = alternative

    async def run(self) -> object:
        return await self.pipeline.execute(self.operation, self.call)

    @property
    def sends(self) -> int:
        return len(self.operation.sends)

    @property
    def delays_s(self) -> list[float]:
        return [event.delay_s for event in self.heard.of(RetryScheduled)]


async def test_an_answer_at_once_enters_no_retry() -> None:
    retrying = Retrying("answer")

    assert await retrying.run() == "answer"
    assert retrying.sends == 1
    assert retrying.heard.of(RetryScheduled) == []
    assert retrying.budget.remaining_ratio() == 1.0


async def test_a_blip_is_retried_and_told_of() -> None:
    retrying = Retrying(ProviderError(), "answer")

    assert await retrying.run() == "answer"
    assert retrying.sends == 2
    assert [attempt.kind for attempt in retrying.call.attempts] == [
        AttemptKind.PRIMARY,
        AttemptKind.RETRY,
    ]
    assert retrying.heard.of(RetryScheduled) == [
        RetryScheduled("a", 1, 0.025, "unavailable")
    ]


async def test_the_last_error_goes_on_as_itself_and_unadorned() -> None:
    errors = [ProviderError(), OSError("second"), ProviderError(OVERLOADED)]
    retrying = Retrying(*errors)

    with pytest.raises(ProviderError) as caught:
        await retrying.run()

    assert caught.value is errors[-1]
    assert (caught.value.__cause__, caught.value.__context__) == (None, None)
    assert retrying.sends == 3


async def test_an_error_that_must_not_be_sent_again_ends_the_retries() -> None:
    errors = [ProviderError(), ProviderError(AUTH_FAILED), "never"]
    retrying = Retrying(*errors)

    with pytest.raises(ProviderError) as caught:
        await retrying.run()

    assert caught.value is errors[1]
    assert retrying.sends == 2


@pytest.mark.parametrize(
    ("verdict", "delays_s"),
    [
        (UNAVAILABLE, [0.025, 0.05]),
        (OVERLOADED, [0.5, 1.0]),
        (throttled(), [0.5, 1.0]),
        (throttled(7.0), [7.005, 7.005]),
        (throttled(0.0), [0.5, 1.0]),
    ],
)
async def test_the_pace_follows_the_verdict(
    verdict: Verdict, delays_s: list[float]
) -> None:
    retrying = Retrying(ProviderError(verdict))

    with pytest.raises(ProviderError):
        await retrying.run()

    assert retrying.delays_s == pytest.approx(delays_s)


async def test_a_wait_that_would_outlast_the_deadline_is_not_begun() -> None:
    retrying = Retrying(ProviderError(throttled(4.0)), deadline_s=8.0)

    with pytest.raises(ProviderError):
        await retrying.run()

    assert retrying.sends == 2, "at 0 s and at 4 s; the deadline is at 8 s"
    assert asyncio.get_running_loop().time() == pytest.approx(1004.005, abs=1e-3)


async def test_the_call_s_attempts_are_a_hard_limit() -> None:
    retrying = Retrying(ProviderError(), max_attempts=2)

    with pytest.raises(ProviderError):
        await retrying.run()

    assert retrying.sends == 2


async def test_an_alternative_that_disappears_allows_the_second_retry() -> None:
    ready = iter([True, False, False])
    retrying = Retrying(ProviderError(), alternative=lambda: next(ready))

    with pytest.raises(ProviderError):
        await retrying.run()

    assert retrying.sends == 3


async def test_an_empty_budget_ends_the_retries_with_the_last_real_error() -> None:
    retrying = Retrying(ProviderError(), floor_per_s=0.1)

    with pytest.raises(ProviderError):
        await retrying.run()

    assert retrying.sends == 2
    assert retrying.heard.of(RetryBudgetExhausted) == [
        RetryBudgetExhausted("a", "unavailable")
    ]


async def test_the_budget_is_asked_last() -> None:
    retrying = Retrying(ProviderError(OVERLOADED), alternative=lambda: True)

    with pytest.raises(ProviderError):
        await retrying.run()

    assert retrying.budget.remaining_ratio() == 1.0


# --- attempts that are not sent


@pytest.mark.parametrize("at", ["first", "retry"])
async def test_a_refusal_is_never_retried(at: str) -> None:
    always_retry = Verdict(Counts.NEUTRAL, Disposition.RETRY, "anything")
    retrying = Retrying(ProviderError(), "never", classify=lambda exc: always_retry)
    refusals = [BreakerOpen("a")] if at == "first" else [None, BreakerOpen("a")]

    async def refusing(call: Call) -> object:
        refusal = refusals.pop(0)
        if refusal is not None:
            raise refusal
        call.begin_attempt()
        return await retrying.operation(call)

    expected = BreakerOpen if at == "first" else ProviderError
    with pytest.raises(expected):
        await retrying.retry.execute(refusing, retrying.call)

    assert retrying.sends == len(retrying.call.attempts) == (at == "retry")
    assert refusals == []


@pytest.mark.parametrize("why", [BreakerOpen("a"), DeadlineExceeded(0)], ids=repr)
async def test_a_retry_that_is_not_sent_costs_nothing_and_keeps_the_real_error(
    why: Exception,
) -> None:
    retrying = Retrying(error := ProviderError(), floor_per_s=0.1)
    once: list[Exception] = [why]

    async def lets_only_the_first_through(call: Call) -> object:
        if call.attempts:
            raise once.pop()
        call.begin_attempt()
        return await retrying.operation(call)

    with pytest.raises(ProviderError) as caught:
        await retrying.retry.execute(lets_only_the_first_through, retrying.call)

    assert caught.value is error
    assert retrying.budget.remaining_ratio() == 1.0


# --- cancellation


async def test_a_wait_is_cancellable_and_what_was_booked_for_it_comes_back() -> None:
    retrying = Retrying(ProviderError(throttled(60.0)))
    running = asyncio.create_task(retrying.run())
    await asyncio.sleep(1.0)
    assert retrying.budget.remaining_ratio() < 1.0

    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running

    assert retrying.sends == 1
    assert retrying.budget.remaining_ratio() == 1.0


async def test_a_retry_that_is_cancelled_in_flight_is_not_sent_again() -> None:
    retrying = Retrying(ProviderError(), 1e9)
    running = asyncio.create_task(retrying.run())
    await asyncio.sleep(1.0)
    assert retrying.sends == 2

    running.cancel("client left")
    with pytest.raises(asyncio.CancelledError) as caught:
        await running

    assert caught.value.args == ("client left",)
    assert retrying.sends == 2
    assert retrying.budget.remaining_ratio() < 1.0


async def test_a_classifier_that_would_retry_a_cancellation_is_not_asked() -> None:
    retrying = Retrying(ProviderError(), 1e9, classify=lambda exc: UNAVAILABLE)
    running = asyncio.create_task(retrying.run())
    await asyncio.sleep(1.0)

    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running

    assert retrying.sends == 2


async def test_an_interrupt_in_a_retry_goes_on_as_itself() -> None:
    class Interrupt(BaseException):
        """Stands in for KeyboardInterrupt, which would end the test run too."""

    interrupt = Interrupt()
    retrying = Retrying(ProviderError(), interrupt)

    with pytest.raises(Interrupt) as caught:
        await retrying.run()

    assert caught.value is interrupt


# --- many at once


async def test_calls_that_share_a_layer_do_not_disturb_each_other() -> None:
    clock = LoopClock()
    budget = RetryBudget(clock, floor_per_s=1000.0)
    retry = Retry(clock, Backoff(), budget, classify)
    pipeline = Pipeline([retry], classify=classify)

    async def one(number: int) -> tuple[object, int]:
        steps = [ProviderError()] * (number % 3) + [0.01 * (number % 7), f"{number}"]
        operation = ScriptedOperation(*steps)
        return await pipeline.execute(operation, make_call()), len(operation.sends)

    answers = await asyncio.gather(*(one(number) for number in range(300)))

    assert answers == [(f"{number}", number % 3 + 1) for number in range(300)]


async def test_between_retries_nothing_is_held() -> None:
    retrying, cues = Retrying(ProviderError(), "answer"), [Cue(), Cue()]
    held = iter(cues)

    async def holding(call: Call) -> object:
        call.leases.push(next(held))
        return await retrying.operation(call)

    running = asyncio.create_task(retrying.pipeline.execute(holding, retrying.call))
    await spin()
    assert [len(cue.told) for cue in cues] == [1, 0], "released before the wait"
    await running

    assert [len(cue.told) for cue in cues] == [1, 0]
    await retrying.call.close()
    assert [len(cue.told) for cue in cues] == [1, 1]
