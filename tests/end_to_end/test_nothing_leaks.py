"""After hundreds of requests that fail in every way, nothing is left behind."""

import asyncio
import gc
import os
import random
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest

from loadtest.provider import StandIn
from tests.support.answers import chat
from tests.support.configs import QUICK, gateway_yaml
from tests.support.gateway import RunningGateway
from tests.support.keys import KEY

REQUESTS, AT_ONCE, SEED = 300, 24, 20_261
FAULTS = (
    "well",
    "fault.reset",
    "fault.close",
    "fault.silence",
    "fault.status?code=500",
    "fault.status?code=503",
    "fault.status?code=400",
    "fault.status?code=429&retry_after_s=0.01",
    "fault.garbled",
    "fault.cut?after_tokens=2",
    "fault.stall?after_tokens=2",
    "fault.malformed?after_tokens=1",
    "fault.error_frame?after_tokens=2",
    "fault.dribble?interval_s=0.02",
    "fault.no_done",
    "fault.keepalives?interval_s=0.02",
    "fault.huge?size_bytes=300000",
)
POLICY = {
    **QUICK,
    "timeouts": {"connect_s": 0.2, "first_token_s": 0.2, "idle_s": 0.2, "total_s": 2},
    "bulkhead": {"limit": 8, "queue": 4, "wait_s": 0.1},
    "breaker": {"consecutive": 4, "open_s": 0.2, "open_cap_s": 0.4, "ramp_s": 0.2},
}


def routes() -> dict[str, Any]:
    return {
        f"route-{at}": [f"alpha/{fault}", "beta/well"]
        for at, fault in enumerate(FAULTS)
    }


async def visit(client: httpx.AsyncClient, choice: random.Random) -> str:
    """Ask for something, and perhaps leave early; how it ended for the client."""
    body = chat(f"route-{choice.randrange(len(FAULTS))}", stream=choice.random() < 0.6)
    patience_s = choice.choice((5.0, 5.0, 5.0, 0.001, 0.01, 0.05, 0.15))
    pieces_wanted = choice.choice((None, None, 1, 3))
    try:
        async with (
            asyncio.timeout(patience_s),
            client.stream("POST", "/v1/chat/completions", json=body) as response,
        ):
            got = 0
            async for _ in response.aiter_raw():
                got += 1
                if got == pieces_wanted:
                    return "left after some"
            return str(response.status_code)
    except TimeoutError:
        return "left"


def open_sockets() -> int:
    """How many sockets this process has open."""
    gc.collect()
    found = 0
    for entry in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):  # the one that lists the others
            found += os.readlink(entry).startswith("socket:")
    return found


@pytest.mark.slow
@pytest.mark.skipif(
    not Path("/proc/self/fd").exists(), reason="counts open sockets as Linux shows them"
)
async def test_no_task_slot_or_socket_is_left_after_hundreds_of_bad_requests() -> None:
    choice = random.Random(SEED)
    own = asyncio.current_task()
    sockets_before = open_sockets()
    async with StandIn("alpha", tokens=6) as alpha, StandIn("beta", tokens=6) as beta:
        config = gateway_yaml(
            {"alpha": alpha.base_url, "beta": beta.base_url}, routes(), policy=POLICY
        )
        async with RunningGateway(config) as gateway:
            tasks_before = asyncio.all_tasks()
            ended: Counter[str] = Counter()
            limit = asyncio.Semaphore(AT_ONCE)

            async def one(client: httpx.AsyncClient) -> None:
                async with limit:
                    ended[await visit(client, choice)] += 1

            async with httpx.AsyncClient(
                base_url=gateway.origin,
                headers={"authorization": f"Bearer {KEY}"},
                timeout=None,  # noqa: S113 - each visit has its own patience
                trust_env=False,
            ) as client:
                await asyncio.gather(*(one(client) for _ in range(REQUESTS)))
            await gateway.quiet()

            gateway.assert_nothing_held()
            told = await gateway.metrics()
            await asyncio.sleep(0)
            assert asyncio.all_tasks() - tasks_before == set()
            for provider in (alpha, beta):
                await provider.until(lambda seen: not seen.requests_in_flight)
        assert asyncio.all_tasks() == {own}
    assert open_sockets() == sockets_before

    # The visits were as varied as they were meant to be, and every one was counted.
    assert ended["200"] > 50
    assert ended["left"] > 20
    assert ended["left after some"] > 20
    assert ended["400"] > 0
    assert set(ended) <= {"200", "400", "429", "502", "503", "left", "left after some"}
    # A few visitors leave before their request has arrived.
    counted = told.total("requests_total")
    assert REQUESTS - ended["left"] <= counted <= REQUESTS
    assert told.total("requests_in_flight") == 0
    assert told.total("bulkhead_in_use") == 0
