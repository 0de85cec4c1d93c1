"""Retries to the last hundredth of a second: which pauses are sat out."""

import pytest

from resilience.backoff import Backoff
from resilience.budget import RetryBudget
from resilience.outcome import Verdict
from resilience.pipeline import Pipeline
from resilience.retry import Retry
from resilience.testing import LoopClock, ScriptedOperation
from tests.resilience.scenery import (
    OVERLOADED,
    UNAVAILABLE,
    ProviderError,
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
