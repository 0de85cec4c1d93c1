"""A store that is away, paused, killed or back costs its users little and no error."""

import asyncio
from typing import Any

import pytest

from app.errors import StoreUnavailable
from app.store.connection import Store
from resilience.breaker import BreakerState
from resilience.testing import ManualClock
from tests.app.valkey import Server

ECHO = "return ARGV[1]"
LONG_S = 10.0
"""Far beyond any budget here: who waits for so long waits for the store."""


async def fails(store: Store) -> None:
    async with asyncio.timeout(LONG_S):
        with pytest.raises(StoreUnavailable):
            await store.command(store.client.ping)


async def test_a_store_that_answers_is_up(store: Store) -> None:
    assert await store.ping()
    assert store.up
    assert store.errors == 0


async def test_a_paused_store_is_waited_for_no_longer_than_the_budget(
    hasty: Store, server: Server
) -> None:
    assert await hasty.ping()
    server.pause()
    await fails(hasty)
    assert not await hasty.ping()
    assert hasty.errors == 2


async def test_who_observes_is_told_of_each_command_and_how_it_ended(
    clock: ManualClock, server: Server
) -> None:
    told: list[tuple[str, bool]] = []
    store = Store(
        server.url,
        clock,
        timeout_s=LONG_S,
        observe=lambda operation, took_s, failed: told.append((operation, failed)),
    )
    assert await store.ping()
    assert await store.script(ECHO)([], [1]) == b"1"
    server.kill()
    assert not await store.ping()
    assert told == [("ping", False), ("script", False), ("ping", True)]
    await store.close()


async def test_a_store_that_was_never_there_is_refused_at_once(
    clock: ManualClock,
) -> None:
    store = Store("unix:///nowhere/at/all", clock, timeout_s=LONG_S)
    with pytest.raises(StoreUnavailable) as caught:
        await store.command(store.client.ping)
    assert "/nowhere/at/all" in (caught.value.detail or "")
    await store.close()


async def test_after_three_failures_nobody_asks_any_more(
    hasty: Store, server: Server
) -> None:
    server.pause()
    for _ in range(3):
        await fails(hasty)
    assert not hasty.up
    assert hasty.breaker.state is BreakerState.OPEN
    asked: list[None] = []

    async def ask() -> None:
        asked.append(None)

    with pytest.raises(StoreUnavailable, match="not available"):
        await hasty.command(ask)
    with pytest.raises(StoreUnavailable):
        await hasty.script(ECHO)([], [1])
    assert asked == []
    assert hasty.errors == 3


async def test_a_store_that_is_back_is_used_again(
    store: Store, hasty: Store, server: Server, clock: ManualClock
) -> None:
    server.pause()
    for _ in range(3):
        await fails(hasty)
    server.resume()
    assert await store.ping()  # the server has had the time to wake up
    assert not await hasty.ping()
    clock.advance(60)
    assert await hasty.ping()
    assert hasty.up


async def test_a_store_that_was_killed_and_started_again_is_found(
    store: Store, server: Server, clock: ManualClock
) -> None:
    echo = store.script(ECHO)
    assert await echo([], [1]) == b"1"
    server.kill()
    with pytest.raises(StoreUnavailable):
        await echo([], [2])
    server.start()
    clock.advance(60)
    assert await echo([], [3]) == b"3"  # the new server had to learn it first


async def test_a_failed_command_is_not_sent_again(
    store: Store, hasty: Store, server: Server
) -> None:
    count = hasty.script("return redis.call('INCR', KEYS[1])")
    await count(["warm"], [])
    server.pause()
    with pytest.raises(StoreUnavailable):
        await count(["count"], [])
    server.resume()
    assert await store.ping()
    # It was on its way: it may have been run, but never twice.
    assert server.admin.get("count") in (None, "1")


async def test_a_cancelled_command_leaves_no_answer_for_the_next(
    store: Store, server: Server
) -> None:
    async def echo(text: str) -> Any:
        return await store.client.echo(text)

    assert await store.command(lambda: echo("a")) == b"a"
    server.pause()
    task = asyncio.create_task(store.command(lambda: echo("b")))
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    server.resume()
    assert await store.command(lambda: echo("c")) == b"c"
    assert store.errors == 0


async def test_a_cancelled_probe_gives_its_place_back(
    hasty: Store, server: Server, clock: ManualClock
) -> None:
    server.pause()
    for _ in range(3):
        await fails(hasty)
    clock.advance(60)
    started = asyncio.Event()

    async def probe() -> None:
        started.set()
        await asyncio.Event().wait()

    task = asyncio.create_task(hasty.command(probe))
    await started.wait()
    assert not hasty.up, "one probe at a time"
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert hasty.up


async def test_a_mistake_of_ours_is_no_outage(store: Store) -> None:
    async def mistaken() -> None:
        raise KeyError("ours")

    for _ in range(5):
        with pytest.raises(KeyError):
            await store.command(mistaken)
    assert store.up
    assert store.errors == 0


async def test_closing_closes_every_connection(store: Store, server: Server) -> None:
    await asyncio.gather(*(store.ping() for _ in range(5)))
    assert server.connections() > 1
    await store.close()
    async with asyncio.timeout(LONG_S):
        while server.connections():
            await asyncio.sleep(0.001)
