"""The bulkhead: slots, a bounded queue, and no slot lost whatever happens."""

import asyncio

import pytest

from resilience.bulkhead import Bulkhead, Slot
from resilience.call import Call
from resilience.errors import BulkheadFull
from resilience.events import BulkheadRejected, BulkheadWaited
from tests.resilience.scenery import Recorder, make_call, spin


def leave(slot: Slot | None) -> None:
    assert slot is not None
    with slot:
        pass


async def waiting(bulkhead: Bulkhead, wait_s: float = 10.0) -> asyncio.Task[Slot]:
    task = asyncio.create_task(bulkhead.acquire(wait_s))
    await spin(1)
    return task


async def test_slots_are_taken_up_to_the_limit_and_given_back_once() -> None:
    bulkhead = Bulkhead("a", limit=2)
    first, second = bulkhead.try_acquire(), bulkhead.try_acquire()
    assert bulkhead.try_acquire() is None
    assert bulkhead.in_use == bulkhead.limit == 2

    leave(first)
    leave(first)

    assert bulkhead.in_use == 1
    leave(second)
    assert bulkhead.in_use == 0


async def test_waiters_are_served_first_come_first_served() -> None:
    bulkhead = Bulkhead("a", limit=1, queue=3)
    held, order = bulkhead.try_acquire(), []

    async def use(name: str) -> None:
        with await bulkhead.acquire(10.0):
            order.append(name)

    async with asyncio.TaskGroup() as tasks:
        for name in ("first", "second", "third"):
            tasks.create_task(use(name))
            await spin(1)
        assert bulkhead.queued == 3
        leave(held)

    assert order == ["first", "second", "third"]
    assert (bulkhead.in_use, bulkhead.queued) == (0, 0)


async def test_a_free_slot_is_taken_without_waiting() -> None:
    bulkhead = Bulkhead("a", limit=1)

    with await bulkhead.acquire(0.0):
        assert bulkhead.in_use == 1

    assert bulkhead.in_use == 0


async def test_who_comes_later_does_not_overtake_a_waiter_that_was_just_served() -> (
    None
):
    bulkhead = Bulkhead("a", limit=1, queue=1)
    held = bulkhead.try_acquire()
    waiter = await waiting(bulkhead)

    leave(held)

    assert bulkhead.try_acquire() is None, "the slot is the waiter's already"
    leave(await waiter)


async def test_a_full_queue_and_no_time_to_wait_refuse_at_once() -> None:
    bulkhead = Bulkhead("a", limit=1, queue=1)
    bulkhead.try_acquire()
    assert bulkhead.has_room
    with pytest.raises(BulkheadFull):
        await bulkhead.acquire(0.0)
    waiter = await waiting(bulkhead)
    assert not bulkhead.has_room

    with pytest.raises(BulkheadFull):
        await bulkhead.acquire(10.0)

    waiter.cancel()


async def test_a_wait_is_bounded_in_time_and_leaves_the_queue() -> None:
    bulkhead = Bulkhead("a", limit=1, queue=1)
    held = bulkhead.try_acquire()

    with pytest.raises(BulkheadFull) as caught:
        await bulkhead.acquire(1.0)

    assert caught.value.target == "a"
    assert bulkhead.queued == 0
    leave(held)
    assert bulkhead.in_use == 0


async def test_a_cancelled_waiter_leaves_the_queue() -> None:
    bulkhead = Bulkhead("a", limit=1)
    held = bulkhead.try_acquire()
    waiter = await waiting(bulkhead)

    waiter.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiter

    assert bulkhead.queued == 0
    leave(held)
    assert bulkhead.in_use == 0


async def test_a_waiter_cancelled_in_the_moment_it_is_served_passes_the_slot_on() -> (
    None
):
    bulkhead = Bulkhead("a", limit=1)
    held = bulkhead.try_acquire()
    unlucky, next_one = await waiting(bulkhead), await waiting(bulkhead)

    leave(held)
    unlucky.cancel()
    with pytest.raises(asyncio.CancelledError):
        await unlucky

    leave(await next_one)
    assert (bulkhead.in_use, bulkhead.queued) == (0, 0)


async def test_a_waiter_cancelled_just_before_a_release_is_passed_over() -> None:
    bulkhead = Bulkhead("a", limit=1)
    held = bulkhead.try_acquire()
    unlucky, next_one = await waiting(bulkhead), await waiting(bulkhead)

    unlucky.cancel()
    leave(held)  # before the cancelled task has run
    with pytest.raises(asyncio.CancelledError):
        await unlucky

    leave(await next_one)
    assert (bulkhead.in_use, bulkhead.queued) == (0, 0)


async def test_a_waiter_served_in_the_moment_its_wait_ends_passes_the_slot_on() -> None:
    bulkhead = Bulkhead("a", limit=1)
    held = bulkhead.try_acquire()
    loop = asyncio.get_running_loop()
    late = await waiting(bulkhead, wait_s=1.0)
    patient = await waiting(bulkhead)

    # Due a hair before the end of the wait, so that both timers fire in one turn.
    loop.call_at(loop.time() + 1.0 - 1e-9, leave, held)
    results = await asyncio.gather(late, return_exceptions=True)

    assert isinstance(results[0], BulkheadFull | Slot)
    if isinstance(results[0], Slot):
        leave(results[0])
    leave(await patient)
    assert (bulkhead.in_use, bulkhead.queued) == (0, 0)


async def test_a_lowered_limit_takes_no_slot_away_and_reuses_none_above_it() -> None:
    bulkhead = Bulkhead("a", limit=3, queue=1)
    held = [bulkhead.try_acquire() for _ in range(3)]
    bulkhead.limit = 1
    waiter = await waiting(bulkhead)
    seen = []

    for slot in held:
        leave(slot)
        await spin()
        seen.append((bulkhead.in_use, waiter.done()))

    assert seen == [(2, False), (1, False), (1, True)]
    leave(await waiter)
    assert bulkhead.in_use == 0


async def test_a_raised_limit_serves_those_who_wait() -> None:
    bulkhead = Bulkhead("a", limit=1, queue=3)
    bulkhead.try_acquire()
    waiters = [await waiting(bulkhead) for _ in range(3)]

    bulkhead.limit = 3
    await spin()

    assert [waiter.done() for waiter in waiters] == [True, True, False]
    assert (bulkhead.in_use, bulkhead.queued) == (3, 1)
    waiters[2].cancel()


async def test_a_slot_is_held_until_the_reply_closes() -> None:
    bulkhead, call = Bulkhead("a", limit=1), make_call()

    async def opens(call: Call) -> str:
        return "opened"

    await bulkhead.execute(opens, call)
    assert bulkhead.in_use == 1

    await call.close()
    assert bulkhead.in_use == 0


async def test_a_wait_and_a_refusal_are_told_of_with_how_long_they_took() -> None:
    heard = Recorder()
    bulkhead = Bulkhead("a", limit=1, queue=1, wait_s=1.0)
    held = bulkhead.try_acquire()

    async def opens(call: Call) -> str:
        return "opened"

    with pytest.raises(BulkheadFull):
        await bulkhead.execute(opens, make_call(heard))
    [refused] = heard.of(BulkheadRejected)
    assert (refused.target, refused.queued) == ("a", True)
    assert refused.waited_s == pytest.approx(1.0, abs=1e-3)

    call = make_call(heard)
    waiter = asyncio.create_task(bulkhead.execute(opens, call))
    await asyncio.sleep(0.5)
    leave(held)
    assert await waiter == "opened"
    [waited] = heard.of(BulkheadWaited)
    assert waited.waited_s == pytest.approx(0.5, abs=1e-3)


async def test_a_wait_never_outlasts_the_deadline() -> None:
    bulkhead = Bulkhead("a", limit=1, queue=1, wait_s=10.0)
    bulkhead.try_acquire()
    started_s = asyncio.get_running_loop().time()

    async def opens(call: Call) -> str:
        return "opened"

    with pytest.raises(BulkheadFull):
        await bulkhead.execute(opens, make_call(deadline_s=0.25))

    took_s = asyncio.get_running_loop().time() - started_s
    assert took_s == pytest.approx(0.25, abs=1e-3)
