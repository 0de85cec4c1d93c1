"""Retries to the last hundredth of a second: which pauses are sat out."""

import pytest

from resilience.backoff import Backoff
from resilience.budget import RetryBudget
from resilience.call import Call
from resilience.deadline import Deadline
from resilience.events import RetryScheduled
from resilience.outcome import Verdict
from resilience.pipeline import Pipeline
from resilience.retry import Retry
from resilience.testing import LoopClock, ManualClock, ScriptedOperation
from tests.resilience.scenery import (
    OVERLOADED,
    UNAVAILABLE,
    ProviderError,
    Recorder,
    classify,
    make_call,
    middle,
    throttled,
)


@pytest.mark.parametrize(
    ("verdict", "sends"),
    [
        (throttled(2.0), 2),
        (throttled(2.01), 1),
        (throttled(1.01), 2),
        (throttled(), 1),
        (OVERLOADED, 1),
        (UNAVAILABLE, 2),
    ],
)
async def test_beside_an_alternative_only_blips_and_short_named_pauses_are_sat_out(
    verdict: Verdict, sends: int
) -> None:
    clock = LoopClock()
    budget = RetryBudget(clock, ratio=0.0)
    retry = Retry(clock, Backoff(uniform=middle), budget, classify)
    operation = ScriptedOperation(ProviderError(verdict))
    call = make_call(target="a")
    call.alternative_ready = lambda: True

    with pytest.raises(ProviderError):
        await Pipeline([retry], classify=classify).execute(operation, call)

    assert len(operation.sends) == sends


async def test_after_the_last_attempt_no_retry_is_announced_waited_for_or_booked() -> (
    None
):
    clock, heard = LoopClock(), Recorder()
    budget = RetryBudget(clock, ratio=0.0)
    retry = Retry(clock, Backoff(uniform=middle), budget, classify)
    operation = ScriptedOperation(ProviderError(OVERLOADED))
    started_s = clock.now()

    with pytest.raises(ProviderError):
        await Pipeline([retry], classify=classify).execute(
            operation, make_call(heard, max_attempts=1)
        )

    assert len(operation.sends) == 1
    assert heard.of(RetryScheduled) == []
    assert clock.now() == pytest.approx(started_s, abs=1e-6)


async def test_a_pause_that_ends_with_the_deadline_is_not_begun() -> None:
    clock, heard, backoff = ManualClock(0.0), Recorder(), Backoff(uniform=middle)
    verdict = throttled(7.0)
    pause_s = backoff.delay_s(1, verdict)
    call = Call(Deadline.after(clock, pause_s), max_attempts=4, listener=heard)
    retry = Retry(clock, backoff, RetryBudget(clock), classify)
    operation = ScriptedOperation(ProviderError(verdict))

    with pytest.raises(ProviderError):
        await Pipeline([retry], classify=classify).execute(operation, call)

    assert heard.of(RetryScheduled) == []
    assert clock.now() == 0.0
