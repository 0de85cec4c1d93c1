"""How a chain ended, as the client is told."""

import asyncio

import pytest

from app.errors import (
    AllTargetsFailed,
    AllTargetsRefused,
    AllTargetsThrottled,
    AppError,
    ContextTooLong,
    DeadlineExceeded,
    InternalError,
    InvalidRequest,
    UpstreamAuthFailed,
    UpstreamOverloaded,
    UpstreamPoolFull,
    UpstreamRefused,
    UpstreamThrottled,
    UpstreamUnavailable,
)
from app.gateway.outcomes import client_error
from resilience.errors import (
    BreakerOpen,
    BudgetExhausted,
    BulkheadFull,
    ChainExhausted,
    CoolingDown,
    FirstTokenTimeout,
)
from resilience.errors import DeadlineExceeded as CallDeadlineExceeded

FAILED = UpstreamUnavailable()
OPEN = BreakerOpen("a", 4.0)
FULL = BulkheadFull("b")
COOLING = CoolingDown("c", 2.0)
SPENT = BudgetExhausted("d")
POOL = UpstreamPoolFull()
THROTTLED = UpstreamThrottled(retry_after_s=3.0)
UNNAMED = UpstreamThrottled()


def told(*causes: BaseException) -> AppError:
    exhausted = ChainExhausted([(f"t{i}/m", exc) for i, exc in enumerate(causes)])
    error = client_error(exhausted)
    assert isinstance(error, AppError)
    return error


@pytest.mark.parametrize(
    ("causes", "kind", "retry_after_s"),
    [
        ([FAILED], AllTargetsFailed, None),
        ([FAILED, FirstTokenTimeout(1)], AllTargetsFailed, None),
        ([FAILED, OPEN], AllTargetsFailed, None),
        ([FAILED, SPENT], AllTargetsFailed, None),
        ([FAILED, THROTTLED], AllTargetsFailed, None),
        ([UpstreamOverloaded(retry_after_s=9)], AllTargetsFailed, None),
        ([UpstreamAuthFailed(), OPEN], AllTargetsFailed, None),
        ([InternalError(), OPEN], AllTargetsFailed, None),
        ([OPEN], AllTargetsRefused, 4.0),
        ([OPEN, COOLING], AllTargetsRefused, 2.0),
        ([FULL], AllTargetsRefused, 1.0),
        ([OPEN, FULL], AllTargetsRefused, 4.0),
        ([POOL], AllTargetsRefused, 1.0),
        ([POOL, OPEN], AllTargetsRefused, 4.0),
        ([OPEN, THROTTLED], AllTargetsRefused, 3.0),
        ([COOLING], AllTargetsThrottled, 2.0),
        ([THROTTLED], AllTargetsThrottled, 3.0),
        ([UNNAMED], AllTargetsThrottled, 1.0),
        ([THROTTLED, COOLING, UNNAMED], AllTargetsThrottled, 2.0),
        ([InternalError(), TypeError()], InternalError, None),
    ],
    ids=lambda value: (
        "+".join(type(exc).__name__ for exc in value)
        if isinstance(value, list)
        else None
    ),
)
def test_everybodys_failure_refusal_and_throttling_are_told_apart(
    causes: list[BaseException], kind: type[AppError], retry_after_s: float | None
) -> None:
    error = told(*causes)
    assert type(error) is kind
    assert error.retry_after_s == retry_after_s


def test_the_causes_are_kept_for_the_log_and_not_shown() -> None:
    error = told(FAILED, OPEN)
    assert isinstance(error, AllTargetsFailed)
    assert error.causes == (("t0/m", FAILED), ("t1/m", OPEN))
    assert "t0/m" in (error.detail or "")
    assert "t0/m" not in error.public_message


def test_the_log_learns_what_a_provider_said() -> None:
    error = told(UpstreamUnavailable(detail="status 500, code None: disk full"))
    assert "disk full" in (error.detail or "")


def test_the_calls_deadline_is_the_clients() -> None:
    assert type(client_error(CallDeadlineExceeded(3))) is DeadlineExceeded


@pytest.mark.parametrize(
    "exc",
    [
        InvalidRequest(),
        UpstreamRefused(),
        ContextTooLong(),
        InternalError(),
        KeyError("a bug"),
        asyncio.CancelledError(),
    ],
    ids=repr,
)
def test_anything_else_goes_back_as_itself(exc: BaseException) -> None:
    assert client_error(exc) is exc
