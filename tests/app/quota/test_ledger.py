"""What a key may still send, with the store and without it."""

import asyncio
from collections.abc import AsyncIterator
from uuid import uuid4

import pytest

from app.domain import Client
from app.errors import RateLimited
from app.quota.ledger import Hold, Ledger
from app.store.connection import Store
from resilience.clock import SystemClock
from resilience.testing import ManualClock
from tests.app.valkey import Server, running


def a_client(limit: int | None) -> Client:
    return Client(uuid4().hex, "team-a", requests_per_minute=limit)


@pytest.fixture
async def store(server: Server) -> AsyncIterator[Store]:
    store = Store(server.url, SystemClock(), timeout_s=5.0)
    yield store
    await store.close()


async def admitted(ledger: Ledger, client: Client, requests: int) -> int:
    held = await asyncio.gather(
        *(ledger.hold(client) for _ in range(requests)), return_exceptions=True
    )
    refused = [one for one in held if not isinstance(one, Hold)]
    assert all(isinstance(one, RateLimited) for one in refused)
    return requests - len(refused)


async def test_a_key_without_limits_asks_nobody(store: Store, server: Server) -> None:
    server.admin.config_resetstat()
    assert await Ledger(store, ManualClock()).hold(a_client(None)) == Hold()
    assert server.calls("evalsha") == 0


@pytest.mark.parametrize("with_store", [True, False])
async def test_a_hold_tells_what_is_left(store: Store, with_store: bool) -> None:
    ledger = Ledger(store if with_store else None, ManualClock())
    client = a_client(6)
    assert await ledger.hold(client) == Hold(6, 5, 10.0)
    second = await ledger.hold(client)
    assert (second.limit, second.remaining) == (6, 4)


@pytest.mark.parametrize("with_store", [True, False])
async def test_a_refusal_tells_the_limit_and_when_to_ask_again(
    store: Store, with_store: bool
) -> None:
    ledger = Ledger(store if with_store else None, ManualClock())
    client = a_client(2)
    assert await admitted(ledger, client, 2) == 2
    with pytest.raises(RateLimited, match="2 requests per minute") as caught:
        await ledger.hold(client)
    assert caught.value.retry_after_s is not None
    assert 0 < caught.value.retry_after_s <= 30


@pytest.mark.parametrize("with_store", [True, False])
async def test_two_hundred_at_once_get_exactly_the_limit(
    store: Store, with_store: bool
) -> None:
    ledger = Ledger(store if with_store else None, ManualClock())
    assert await admitted(ledger, a_client(50), 200) == 50


async def test_replicas_share_a_limit_through_the_store(server: Server) -> None:
    client = a_client(20)
    stores = [Store(server.url, SystemClock(), timeout_s=5.0) for _ in range(3)]
    ledgers = [Ledger(store, ManualClock()) for store in stores]
    together = await asyncio.gather(*(admitted(one, client, 20) for one in ledgers))
    assert sum(together) == 20
    for store in stores:
        await store.close()


async def test_a_key_of_the_store_carries_its_clients_id_as_hash_tag(
    store: Store, server: Server
) -> None:
    client = a_client(5)
    await Ledger(store, ManualClock()).hold(client)
    assert server.admin.exists(f"bw:{{{client.key_id}}}:requests") == 1


@pytest.mark.parametrize("with_store", [True, False])
@pytest.mark.parametrize("limit", [1, 7, 60_000_000, 90_000_000, 10**12])
async def test_a_limit_of_any_size_holds(
    store: Store, limit: int, with_store: bool
) -> None:
    ledger = Ledger(store if with_store else None, ManualClock())
    hold = await ledger.hold(a_client(limit))
    assert (hold.limit, hold.remaining) == (limit, limit - 1)


async def test_while_the_store_is_away_this_processs_own_limits_hold() -> None:
    with running() as server:
        clock = ManualClock()
        store = Store(server.url, clock)
        ledger, client = Ledger(store, clock), a_client(3)
        server.kill()
        assert await admitted(ledger, client, 10) == 3
        server.start()
        clock.advance(60)
        assert await store.ping()
        assert await admitted(ledger, client, 10) == 3
        assert server.admin.exists(f"bw:{{{client.key_id}}}:requests") == 1
        await store.close()
