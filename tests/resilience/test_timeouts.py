"""Limits from send to opened reply."""

import asyncio

import pytest

from resilience.call import Call
from resilience.errors import DeadlineExceeded, FirstTokenTimeout, TotalTimeout
from resilience.events import PhaseTimedOut
from resilience.testing import ScriptedOperation
from resilience.timeout import Limits, Timeouts
from tests.resilience.scenery import Recorder, make_call

SILENT = 1e9


async def elapsed_s(started_s: float = 1000.0) -> float:
    return asyncio.get_running_loop().time() - started_s


@pytest.mark.parametrize(
    ("limits", "deadline_s", "error", "after_s"),
    [
        (Limits(first_token_s=10), 120, FirstTokenTimeout, 10),
        (Limits(first_token_s=10), 10, DeadlineExceeded, 10),
        (Limits(first_token_s=10), 4, DeadlineExceeded, 4),
        (Limits(first_token_s=60, total_s=20), 120, TotalTimeout, 20),
        (Limits(first_token_s=60, total_s=20), 15, DeadlineExceeded, 15),
    ],
)
async def test_a_silent_target_fails_by_the_first_limit_it_meets(
    limits: Limits, deadline_s: float, error: type[Exception], after_s: float
) -> None:
    heard = Recorder()
    call = make_call(heard, deadline_s=deadline_s, target="a")

    with pytest.raises(error) as caught:
        await Timeouts(limits).execute(ScriptedOperation(SILENT), call)

    assert type(caught.value) is error
    assert caught.value.limit_s == pytest.approx(after_s, abs=1e-3)
    assert await elapsed_s() == pytest.approx(after_s, abs=1e-3)
    assert heard.events == [PhaseTimedOut("a", caught.value.phase)]


@pytest.mark.parametrize("deadline_s", [0.0, -1.0])
async def test_without_time_left_nothing_is_sent(deadline_s: float) -> None:
    operation = ScriptedOperation("answer")

    with pytest.raises(DeadlineExceeded):
        await Timeouts(Limits()).execute(operation, make_call(deadline_s=deadline_s))

    assert operation.sends == []


async def test_the_operation_s_own_timeout_error_goes_on_as_itself() -> None:
    own = TimeoutError("the socket's")

    with pytest.raises(TimeoutError) as caught:
        await Timeouts(Limits()).execute(ScriptedOperation(own), make_call())

    assert caught.value is own


async def test_after_the_first_token_only_total_and_deadline_hold() -> None:
    async def assembles(call: Call) -> str:
        await asyncio.sleep(9)
        call.mark_first_token()
        await asyncio.sleep(50)
        return "whole"

    call = make_call()
    call.begin_attempt()

    assert await Timeouts(Limits()).execute(assembles, call) == "whole"
    assert call.on_first_token is None


@pytest.mark.parametrize(
    ("deadline_s", "error", "after_s"),
    [(300, TotalTimeout, 120), (60, DeadlineExceeded, 60)],
)
async def test_an_answer_that_never_completes_meets_the_hard_limit(
    deadline_s: float, error: type[Exception], after_s: float
) -> None:
    async def assembles(call: Call) -> None:
        await asyncio.sleep(9)
        call.mark_first_token()
        await asyncio.sleep(SILENT)

    call = make_call(deadline_s=deadline_s)
    call.begin_attempt()

    with pytest.raises(error):
        await Timeouts(Limits()).execute(assembles, call)
    assert await elapsed_s() == pytest.approx(after_s, abs=1e-3)


async def test_a_first_token_marked_too_late_does_not_stretch_the_limit() -> None:
    async def notices_on_the_way_out(call: Call) -> None:
        try:
            await asyncio.sleep(SILENT)
        finally:
            call.mark_first_token()

    call = make_call()
    call.begin_attempt()

    with pytest.raises(FirstTokenTimeout):
        await Timeouts(Limits()).execute(notices_on_the_way_out, call)


async def test_a_cancellation_from_outside_wins_over_the_limit() -> None:
    call = make_call()
    running = asyncio.create_task(
        Timeouts(Limits(first_token_s=5)).execute(ScriptedOperation(SILENT), call)
    )
    loop = asyncio.get_running_loop()
    loop.call_at(loop.time() + 5.0 - 1e-9, running.cancel)

    with pytest.raises(asyncio.CancelledError):
        await running


async def test_an_outer_timeout_is_the_outer_one_s_to_report() -> None:
    with pytest.raises(TimeoutError) as caught:
        async with asyncio.timeout(1.0):
            await Timeouts(Limits()).execute(ScriptedOperation(SILENT), make_call())

    assert type(caught.value) is TimeoutError
