"""The deadline of the running call, as code inside its operation finds it."""

import asyncio
import contextvars
from collections.abc import Awaitable, Callable

import pytest

from resilience.call import Call
from resilience.deadline import Deadline, current_deadline, enter, leave
from resilience.pipeline import Pipeline
from resilience.testing import LoopClock, ManualClock
from tests.resilience.scenery import ProviderError, make_call


async def inside[T](call: Call, ask: Callable[[], Awaitable[T]]) -> T:
    """Run `ask` as the operation of `call`."""

    async def operation(_: Call) -> T:
        return await ask()

    return await Pipeline([]).execute(operation, call)


async def deadline_seen() -> Deadline | None:
    return current_deadline()


async def test_outside_a_call_there_is_no_deadline() -> None:
    assert current_deadline() is None


async def test_inside_an_operation_it_is_the_calls_and_afterwards_it_is_gone() -> None:
    call = make_call()

    assert await inside(call, deadline_seen) is call.deadline
    assert current_deadline() is None


async def test_it_is_gone_when_the_operation_has_failed_too() -> None:
    async def fail() -> None:
        raise ProviderError

    with pytest.raises(ProviderError):
        await inside(make_call(), fail)

    assert current_deadline() is None


async def test_calls_side_by_side_see_each_their_own() -> None:
    async def look(deadline_s: float) -> float:
        call = make_call(deadline_s=deadline_s)

        async def ask() -> float:
            await asyncio.sleep(0.1)
            seen = current_deadline()
            assert seen is call.deadline
            return seen.at_s

        return await inside(call, ask)

    first, second = await asyncio.gather(look(10.0), look(20.0))

    assert second - first == pytest.approx(10.0)


async def test_a_call_made_inside_another_ends_with_it_at_the_latest() -> None:
    outer = make_call(deadline_s=10.0)

    async def ask() -> tuple[Deadline, Deadline]:
        longer, shorter = make_call(deadline_s=60.0), make_call(deadline_s=5.0)
        assert await inside(shorter, deadline_seen) is shorter.deadline
        assert current_deadline() is outer.deadline, "restored after the inner call"
        return longer.deadline, shorter.deadline

    longer, shorter = await inside(outer, ask)

    assert longer is not outer.deadline, "it reads another clock object"
    assert longer.at_s == pytest.approx(outer.deadline.at_s)
    assert shorter.remaining_s() == pytest.approx(5.0, abs=1e-3)


async def test_with_the_same_clock_the_surrounding_deadline_is_taken_as_it_is() -> None:
    clock = LoopClock()
    outer = Call(Deadline.after(clock, 10.0))

    async def ask() -> tuple[Deadline, Deadline, Deadline]:
        return (
            Call(Deadline.after(clock, 60.0)).deadline,
            Call(Deadline.after(clock, 5.0)).deadline,
            Call(outer.deadline).deadline,
        )

    longer, shorter, same = await inside(outer, ask)

    assert longer is outer.deadline
    assert same is outer.deadline
    assert shorter.remaining_s() == pytest.approx(5.0, abs=1e-3)


async def test_what_is_left_is_carried_over_to_a_clock_of_another_origin() -> None:
    outer = make_call(deadline_s=10.0)
    other = ManualClock(now_s=5.0)

    async def ask() -> float:
        return Call(Deadline.after(other, 60.0)).deadline.at_s

    assert await inside(outer, ask) == pytest.approx(15.0)


async def test_a_task_with_a_context_of_its_own_may_outlive_the_call() -> None:
    async def ask() -> tuple[Deadline | None, Deadline | None]:
        inherits = asyncio.create_task(deadline_seen())
        outlives = asyncio.create_task(deadline_seen(), context=contextvars.Context())
        return await inherits, await outlives

    call = make_call()

    assert await inside(call, ask) == (call.deadline, None)


def test_what_was_abandoned_in_one_context_may_be_closed_in_another() -> None:
    deadline = Deadline.after(ManualClock(), 1.0)
    token = contextvars.copy_context().run(enter, deadline)

    leave(token)

    assert current_deadline() is None
