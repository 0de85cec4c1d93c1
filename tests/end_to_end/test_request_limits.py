"""Limits of a key hold under concurrency, over replicas, and without the store.

The store is a real Valkey that is killed or made to hang; it costs no request.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from time import monotonic

import pytest

from loadtest.provider import StandIn
from tests.support.answers import Answer, chat
from tests.support.configs import gateway_yaml
from tests.support.gateway import RunningGateway
from tests.support.keys import KEY, OTHER_KEY, digest
from tests.support.valkey import Valkey

LIMIT = 10
STORE_S = 1.0
"""Generous: a machine that is busy is no lost store."""


@pytest.fixture
async def provider() -> AsyncIterator[StandIn]:
    async with StandIn("alpha", tokens=2) as stand_in:
        yield stand_in


def configured(provider: StandIn, store: str, *, timeout_s: float = STORE_S) -> str:
    keys = [
        {
            "id": "limited",
            "project": "team",
            "sha256": digest(KEY),
            "limits": {"requests_per_minute": LIMIT},
        },
        {"id": "free", "project": "team", "sha256": digest(OTHER_KEY)},
    ]
    return gateway_yaml(
        {"alpha": provider.base_url},
        {"chat": ["alpha/m"]},
        keys=keys,
        store={"url": store, "timeout_s": timeout_s},
    )


async def ask(gateway: RunningGateway, count: int) -> list[Answer]:
    return await asyncio.gather(*(gateway.chat("chat") for _ in range(count)))


def admitted(answers: list[Answer]) -> int:
    assert {answer.status for answer in answers} <= {200, 429}
    return sum(answer.complete for answer in answers)


async def test_exactly_as_many_as_allowed_are_admitted_over_all_replicas(
    provider: StandIn,
) -> None:
    async with AsyncExitStack() as stack:
        store = await stack.enter_async_context(Valkey())
        replicas = [
            await stack.enter_async_context(
                RunningGateway(configured(provider, store.url))
            )
            for _ in range(2)
        ]
        both = await asyncio.gather(*(ask(replica, 15) for replica in replicas))
        answers = [answer for half in both for answer in half]

        assert admitted(answers) == LIMIT
        assert len(provider.log) == LIMIT
        told = [await replica.metrics() for replica in replicas]

    refused = [answer for answer in answers if not answer.complete]
    for answer in refused:
        assert answer.error["code"] == "rate_limit_exceeded"
        assert 1 <= int(answer.headers["retry-after"]) <= 60 / LIMIT
    remaining = sorted(
        int(answer.headers["x-ratelimit-remaining-requests"])
        for answer in answers
        if answer.complete
    )
    assert remaining == list(range(LIMIT))
    assert sum(each.total("rate_limited_total") for each in told) == len(refused)


async def test_a_key_without_limits_is_not_limited_and_not_told_of_any(
    provider: StandIn,
) -> None:
    async with RunningGateway(configured(provider, "none")) as gateway:
        answers = await asyncio.gather(
            *(gateway.post(chat("chat"), key=OTHER_KEY) for _ in range(2 * LIMIT))
        )

    assert admitted(answers) == 2 * LIMIT
    assert not [name for name in answers[0].headers if name.startswith("x-ratelimit")]


async def kill(store: Valkey) -> None:
    await store.kill()


async def pause(store: Valkey) -> None:
    store.pause()


@pytest.mark.parametrize("lose", [kill, pause], ids=["killed", "hanging"])
async def test_a_lost_store_costs_no_request_and_limits_hold_per_process(
    provider: StandIn, lose: Callable[[Valkey], Awaitable[None]]
) -> None:
    async with Valkey() as store:
        config = configured(provider, store.url, timeout_s=0.1)
        async with RunningGateway(config) as gateway:
            assert (await gateway.chat("chat")).complete
            await lose(store)

            before = monotonic()
            answers = [await gateway.chat("chat") for _ in range(LIMIT + 5)]
            took_s = monotonic() - before

            assert admitted(answers) == LIMIT
            # Not one time budget for each: the store is soon known to be away.
            assert took_s < 5
            ready = await gateway.get("/readyz")
            assert ready.status == 200
            told = await gateway.metrics()
            async with asyncio.timeout(10):
                while not told.total("store_degraded"):
                    await asyncio.sleep(0.05)
                    told = await gateway.metrics()
            assert told.total("store_up") == 0


async def test_a_store_that_is_away_from_the_start_stops_nothing(
    provider: StandIn,
) -> None:
    async with StandIn("no-store") as nowhere:
        await nowhere.stop()
        url = f"redis://127.0.0.1:{nowhere.port}"
        async with RunningGateway(configured(provider, url)) as gateway:
            answers = await ask(gateway, LIMIT + 5)
            ready = await gateway.get("/readyz")

    assert admitted(answers) == LIMIT
    assert ready.status == 200
