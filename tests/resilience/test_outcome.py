"""How the library classifies its own errors, and those it does not know."""

import asyncio

import pytest

from resilience import errors
from resilience.outcome import Counts, Disposition, classify

FAILURE, NEUTRAL = Counts.FAILURE, Counts.NEUTRAL
RETRY, NEXT, GIVE_UP = Disposition.RETRY, Disposition.NEXT_TARGET, Disposition.GIVE_UP


@pytest.mark.parametrize(
    ("exc", "counts", "disposition", "reason"),
    [
        (asyncio.CancelledError(), NEUTRAL, GIVE_UP, "cancelled"),
        (GeneratorExit(), NEUTRAL, GIVE_UP, "cancelled"),
        (KeyboardInterrupt(), NEUTRAL, GIVE_UP, "cancelled"),
        (errors.DeadlineExceeded(1), NEUTRAL, GIVE_UP, "deadline"),
        (errors.TotalTimeout(1), NEUTRAL, NEXT, "total_timeout"),
        (errors.ConnectTimeout(1), FAILURE, RETRY, "connect_timeout"),
        (errors.FirstTokenTimeout(1), FAILURE, NEXT, "first_token_timeout"),
        (errors.IdleTimeout(1), FAILURE, NEXT, "idle_timeout"),
        (errors.TooSlow(1), FAILURE, NEXT, "progress_timeout"),
        (errors.BreakerOpen("a", 2.0), NEUTRAL, NEXT, "breaker_open"),
        (errors.BulkheadFull("a"), NEUTRAL, NEXT, "bulkhead_full"),
        (errors.CoolingDown("a"), NEUTRAL, NEXT, "cooling_down"),
        (errors.BudgetExhausted("a"), NEUTRAL, NEXT, "budget_exhausted"),
        (TimeoutError(), FAILURE, RETRY, "error"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else "",
)
def test_verdicts(
    exc: BaseException, counts: Counts, disposition: Disposition, reason: str
) -> None:
    verdict = classify(exc)

    assert verdict.counts is counts
    assert verdict.disposition is disposition
    assert verdict.reason == reason


def test_a_refusal_tells_when_to_ask_again() -> None:
    assert classify(errors.BreakerOpen("a", 2.5)).retry_after_s == 2.5


def test_errors_say_what_happened() -> None:
    causes = [("a", errors.BreakerOpen("a")), ("b", OSError())]

    assert str(errors.IdleTimeout(15.0)) == "idle limit of 15 s exceeded"
    assert str(errors.BulkheadFull("a")) == "a: bulkhead_full"
    told = "all targets failed (a: BreakerOpen; b: OSError)"
    assert str(errors.ChainExhausted(causes)) == told
