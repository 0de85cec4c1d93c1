"""Scripts that are asked for together share a round trip, and nothing else."""

import asyncio

import pytest

from app.errors import StoreUnavailable
from app.store.connection import Store
from resilience.testing import ManualClock
from tests.app.valkey import Server

ECHO = "return ARGV[1]"
OTHER = "return {KEYS[1], ARGV[1]}"


async def test_a_script_is_taught_once_and_then_called_by_its_digest(
    store: Store, server: Server
) -> None:
    echo = store.script(ECHO)
    server.admin.config_resetstat()
    assert [await echo([], [n]) for n in range(3)] == [b"0", b"1", b"2"]
    assert server.calls("script|load") == 1
    assert server.calls("evalsha") == 4  # the first was in vain
    assert server.calls("eval") == 0


async def test_a_server_that_forgot_its_scripts_is_taught_again(
    store: Store, server: Server
) -> None:
    echo, other = store.script(ECHO), store.script(OTHER)
    await asyncio.gather(echo([], [1]), other(["k"], [1]))
    server.admin.script_flush()
    assert await other(["k"], [2]) == [b"k", b"2"]
    assert await asyncio.gather(echo([], [3]), other(["k"], [3]), echo([], [4])) == [
        b"3",
        [b"k", b"3"],
        b"4",
    ]
    assert store.errors == 0


async def test_a_burst_needs_one_connection_and_everyone_gets_his_own_answer(
    store: Store, server: Server
) -> None:
    echo = store.script(ECHO)
    answers = await asyncio.gather(*(echo([], [n]) for n in range(300)))
    assert answers == [str(n).encode() for n in range(300)]
    assert server.connections() == 1


async def test_a_script_that_fails_fails_for_its_asker_alone(store: Store) -> None:
    echo, broken = store.script(ECHO), store.script("return redis.call('NOPE')")
    for _ in range(5):
        good, bad = await asyncio.gather(
            echo([], [1]), broken([], []), return_exceptions=True
        )
        assert good == b"1"
        assert isinstance(bad, StoreUnavailable)
    assert store.up


async def test_who_leaves_does_not_take_the_others_along(
    store: Store, server: Server
) -> None:
    echo = store.script(ECHO)
    await echo([], [0])
    server.pause()
    tasks = [asyncio.create_task(echo([], [n])) for n in range(4)]
    await asyncio.sleep(0.01)
    late = [asyncio.create_task(echo([], [n])) for n in (4, 5)]
    await asyncio.sleep(0.01)
    tasks[1].cancel()
    late[0].cancel()
    server.resume()
    answers = await asyncio.gather(*tasks, *late, return_exceptions=True)
    assert isinstance(answers.pop(4), asyncio.CancelledError)
    assert isinstance(answers.pop(1), asyncio.CancelledError)
    assert answers == [b"0", b"2", b"3", b"5"]


async def test_when_everybody_left_nothing_is_sent(
    store: Store, server: Server
) -> None:
    echo = store.script(ECHO)
    await echo([], [0])
    server.admin.config_resetstat()
    task = asyncio.create_task(echo([], [1]))
    await asyncio.sleep(0)  # it has asked; the sender has not started
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await echo([], [2]) == b"2"
    assert server.calls("evalsha") == 1


async def test_a_paused_store_costs_each_asker_its_budget_and_no_more(
    hasty: Store, server: Server
) -> None:
    echo = hasty.script(ECHO)
    server.pause()
    async with asyncio.timeout(10):
        answers = await asyncio.gather(
            *(echo([], [n]) for n in range(300)), return_exceptions=True
        )
    assert {type(answer) for answer in answers} == {StoreUnavailable}
    assert hasty.errors <= 1, "300 who waited together are one failure of the store"


async def test_closing_refuses_whoever_still_waits(
    server: Server, clock: ManualClock
) -> None:
    store = Store(server.url, clock, timeout_s=30.0)
    echo = store.script(ECHO)
    await echo([], [0])
    server.pause()
    sent = asyncio.create_task(echo([], [1]))
    await asyncio.sleep(0.01)
    waiting = asyncio.create_task(echo([], [2]))
    await asyncio.sleep(0.01)
    await store.close()
    for task in (sent, waiting):
        with pytest.raises(StoreUnavailable):
            await task
    server.resume()


async def test_closing_right_after_asking_refuses_too(
    server: Server, clock: ManualClock
) -> None:
    store = Store(server.url, clock, timeout_s=30.0)
    task = asyncio.create_task(store.script(ECHO)([], [1]))
    await asyncio.sleep(0)
    await store.close()
    with pytest.raises(StoreUnavailable):
        await task
