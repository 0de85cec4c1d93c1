"""One deadline for all of a request: a client may shorten it, nothing restarts it."""

import asyncio
from collections.abc import AsyncIterator
from time import monotonic

import pytest

from loadtest.provider import Outcome, StandIn
from tests.support.configs import QUICK, gateway_yaml
from tests.support.gateway import RunningGateway
from tests.support.providers import sends_of

PAUSING = "fault.status?code=429&retry_after_s=0.1"
FAR = {"connect_s": 5, "first_token_s": 9, "idle_s": 9, "total_s": 20}
PATIENT = {
    **QUICK,
    "deadline_s": 20,
    "timeouts": FAR,
    "bulkhead": {"limit": 1, "queue": 4, "wait_s": 15},
}


@pytest.fixture
async def provider() -> AsyncIterator[StandIn]:
    async with StandIn("alpha") as stand_in:
        yield stand_in


@pytest.fixture
async def gateway(provider: StandIn) -> AsyncIterator[RunningGateway]:
    providers = {"alpha": provider.base_url, "beta": provider.base_url}
    routes = {
        "chat": ["alpha/m"],
        "silent": ["alpha/fault.silence", "beta/m"],
        "resting": [f"beta/{PAUSING}", "beta/fault.silence"],
        "busy": ["alpha/fault.slow_headers?delay_s=8"],
    }
    config = gateway_yaml(providers, routes, policy=PATIENT)
    async with RunningGateway(config) as running:
        yield running


def within_ms(limit_ms: int) -> dict[str, str]:
    return {"x-gateway-timeout-ms": str(limit_ms)}


async def test_the_provider_is_told_how_much_time_is_left(
    gateway: RunningGateway, provider: StandIn
) -> None:
    shortened = await gateway.chat("chat", headers=within_ms(5000))
    own = await gateway.chat("chat")
    clamped = await gateway.chat("chat", headers=within_ms(10**9))

    def told_ms(request_id: str) -> int:
        [record] = sends_of(request_id, (provider,))
        return int(record.headers["x-gateway-timeout-ms"])

    assert 0 < told_ms(shortened.request_id) < 5000
    assert 5000 < told_ms(own.request_id) < 20_000
    assert 5000 < told_ms(clamped.request_id) < 20_000


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "plain"])
async def test_a_request_out_of_time_is_answered_504_and_not_tried_elsewhere(
    gateway: RunningGateway, provider: StandIn, stream: bool
) -> None:
    before = monotonic()
    answer = await gateway.chat("silent", stream=stream, headers=within_ms(400))
    took_s = monotonic() - before

    assert answer.status == 504
    assert answer.error["code"] == "deadline_exceeded"
    assert answer.error["type"] == "timeout_error"
    assert answer.headers["x-should-retry"] == "false"
    assert 0.4 <= took_s < FAR["first_token_s"]
    [record] = await provider.settled(1)
    assert record.outcome is Outcome.CLIENT_GONE
    gateway.assert_nothing_held()


async def test_retries_and_fallbacks_share_what_is_left(
    gateway: RunningGateway, provider: StandIn
) -> None:
    answer = await gateway.chat("resting", headers=within_ms(800))

    assert answer.status == 504
    sends = await provider.settled(3)
    left_ms = [int(record.headers["x-gateway-timeout-ms"]) for record in sends]
    assert 800 > left_ms[0] >= left_ms[1] + 100
    assert left_ms[1] >= left_ms[2] > 0


async def test_the_wait_for_a_slot_ends_with_the_deadline(
    gateway: RunningGateway, provider: StandIn
) -> None:
    first = asyncio.create_task(gateway.chat("busy", headers=within_ms(3000)))
    await provider.until(lambda seen: seen.requests_in_flight == 1)

    before = monotonic()
    queued = await gateway.chat("busy", headers=within_ms(200))
    took_s = monotonic() - before

    assert queued.status in (503, 504)
    assert 0.2 <= took_s < 2.5
    assert len(provider.log) == 1
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    await gateway.quiet()
    gateway.assert_nothing_held()


async def test_a_deadline_of_no_time_at_all_is_a_deadline(
    gateway: RunningGateway, provider: StandIn
) -> None:
    answer = await gateway.chat("chat", headers={"x-gateway-timeout-ms": "0.000001"})

    assert answer.status == 504
    assert provider.log == []


async def test_breaker_and_neighbours_hear_nothing_of_a_clients_short_deadline(
    gateway: RunningGateway,
) -> None:
    for _ in range(6):
        await gateway.chat("silent", headers=within_ms(100))

    told = await gateway.metrics()

    assert told.nonzero("attempts_total", "outcome", "error_type") == {
        ("neutral", "deadline"): 6
    }
    assert told.nonzero("errors_total", "code") == {("deadline_exceeded",): 6}
    breaker = gateway.guards("alpha/fault.silence").breaker
    assert breaker is not None
    assert breaker.ready
