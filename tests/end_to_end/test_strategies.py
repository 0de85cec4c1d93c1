"""Whom a route asks first, and whom it asks as well when that one is late.

Weights and latencies decide by lot, so the bounds are wide: each is missed by chance
less than once in a million runs.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import pytest

from loadtest.provider import Fault, Outcome, StandIn
from resilience.breaker import BreakerState
from tests.support.configs import QUICK, gateway_yaml, target
from tests.support.gateway import RunningGateway

PATIENT: Mapping[str, Any] = {
    **QUICK,
    "deadline_s": 30,
    "timeouts": {"first_token_s": 20, "idle_s": 20, "total_s": 30},
}
"""Limits far away: what is late here is late for a hedge only."""

HEDGED: Mapping[str, Any] = {
    **PATIENT,
    "hedge": {"enabled": True, "budget_ratio": 1.0},
}

KNOWN = 20
"""How many answers it takes until it is known when a target is late."""


@pytest.fixture
async def alpha() -> AsyncIterator[StandIn]:
    async with StandIn("alpha", tokens=2) as provider:
        yield provider


@pytest.fixture
async def beta() -> AsyncIterator[StandIn]:
    async with StandIn("beta", tokens=2) as provider:
        yield provider


@asynccontextmanager
async def running(
    alpha: StandIn, beta: StandIn, route: Mapping[str, Any], **sections: Any
) -> AsyncIterator[RunningGateway]:
    config = gateway_yaml(
        {"alpha": alpha.base_url, "beta": beta.base_url}, {"chat": route}, **sections
    )
    async with RunningGateway(config) as gateway:
        yield gateway


def equals(strategy: str, *weights: float) -> dict[str, Any]:
    names = ("alpha/m", "beta/m")
    if not weights:
        return {"strategy": strategy, "targets": [target(name) for name in names]}
    chain = [target(n, weight=w) for n, w in zip(names, weights, strict=True)]
    return {"strategy": strategy, "targets": chain}


FAILOVER = equals("failover")


async def test_a_weighted_route_divides_its_requests_by_weight(
    alpha: StandIn, beta: StandIn
) -> None:
    async with running(alpha, beta, equals("weighted", 3, 1)) as gateway:
        answers = [await gateway.chat("chat") for _ in range(120)]

    assert {answer.status for answer in answers} == {200}
    assert {answer.attempts for answer in answers} == {1}
    assert 60 < len(alpha.log) < 115  # 90 are expected
    assert len(alpha.log) + len(beta.log) == 120


async def test_a_target_without_weight_is_asked_when_no_other_answers(
    alpha: StandIn, beta: StandIn
) -> None:
    async with running(alpha, beta, equals("weighted", 0, 1)) as gateway:
        well = [await gateway.chat("chat") for _ in range(10)]
        beta.fault = Fault("status", code=503)
        helped = await gateway.chat("chat")

    assert {one.headers["x-gateway-target"] for one in well} == {"beta/m"}
    assert helped.headers["x-gateway-target"] == "alpha/m"


async def test_whom_a_call_draws_first_is_no_fallback_and_whom_it_goes_on_to_is_one(
    alpha: StandIn, beta: StandIn
) -> None:
    async with running(alpha, beta, equals("weighted", 0, 1)) as gateway:
        drawn = await gateway.chat("chat")
        beta.fault = Fault("status", code=503)
        helped = await gateway.chat("chat", stream=True)
        await gateway.quiet()
        metrics = await gateway.metrics()

    assert drawn.headers["x-gateway-fallback"] == "false"
    assert helped.headers["x-gateway-fallback"] == "true"
    for told in ("true", "false"):
        labels = {"route": "chat", "outcome": "success", "fallback": told}
        assert metrics.total("requests_total", **labels) == 1


async def test_a_weighted_route_asks_no_target_in_vain_whose_breaker_is_open(
    alpha: StandIn, beta: StandIn
) -> None:
    async with running(alpha, beta, equals("weighted", 1000, 1)) as gateway:
        breaker = gateway.guards("alpha/m").breaker
        assert breaker is not None
        breaker.force(BreakerState.FORCED_OPEN)
        answer = await gateway.chat("chat")

    assert answer.headers["x-gateway-target"] == "beta/m"
    assert answer.headers["x-gateway-fallback"] == "false"
    assert not alpha.log


async def test_a_least_latency_route_prefers_who_is_faster(
    alpha: StandIn, beta: StandIn
) -> None:
    alpha.fault = Fault("slow_first_token", delay_s=0.15)
    route = equals("least_latency")
    async with running(alpha, beta, route, policy=PATIENT) as gateway:
        answers = [await gateway.chat("chat", stream=True) for _ in range(40)]

    assert all(answer.complete for answer in answers)
    assert {answer.headers["x-gateway-fallback"] for answer in answers} == {"false"}
    assert len(beta.log) > 2 * len(alpha.log)


async def known(gateway: RunningGateway, first: StandIn, other: StandIn) -> None:
    """Let the gateway learn how fast `first` is, then make it hang."""
    for _ in range(KNOWN):
        await gateway.chat("chat", stream=True)
    await gateway.quiet()
    first.clear()
    other.clear()
    first.fault = Fault("slow_first_token", delay_s=5)


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "plain"])
async def test_a_hedge_answers_for_a_late_target_which_is_cancelled(
    alpha: StandIn, beta: StandIn, stream: bool
) -> None:
    async with running(alpha, beta, FAILOVER, policy=HEDGED) as gateway:
        await known(gateway, alpha, beta)
        answer = await gateway.chat("chat", stream=stream)
        [late] = await alpha.settled(1, timeout_s=3)
        await gateway.quiet()
        gateway.assert_nothing_held()
        metrics = await gateway.metrics()

    assert answer.complete
    assert answer.headers["x-gateway-target"] == "beta/m"
    assert answer.headers["x-gateway-fallback"] == "true"
    assert answer.attempts == 2
    assert late.outcome is Outcome.CLIENT_GONE
    assert [record.outcome for record in beta.log] == [Outcome.ANSWERED]
    won = {"provider": "beta", "result": "won"}
    assert metrics.total("hedges_total", **won) == 1
    beaten = {"provider": "alpha", "model": "m", "kind": "primary"}
    beaten |= {"outcome": "neutral", "error_type": "cancelled"}
    assert metrics.total("attempts_total", **beaten) == 1


async def test_a_hedge_that_fails_leaves_the_late_target_to_answer(
    alpha: StandIn, beta: StandIn
) -> None:
    async with running(alpha, beta, FAILOVER, policy=HEDGED) as gateway:
        await known(gateway, alpha, beta)
        alpha.fault = Fault("slow_first_token", delay_s=0.5)
        beta.fault = Fault("status", code=400)
        answer = await gateway.chat("chat", stream=True)
        await gateway.quiet()
        metrics = await gateway.metrics()

    assert answer.complete
    assert answer.headers["x-gateway-target"] == "alpha/m"
    assert answer.headers["x-gateway-fallback"] == "false"
    assert answer.attempts == 2
    lost = {"provider": "beta", "result": "lost"}
    assert metrics.total("hedges_total", **lost) == 1


async def test_a_client_that_leaves_ends_both(alpha: StandIn, beta: StandIn) -> None:
    async with running(alpha, beta, FAILOVER, policy=HEDGED) as gateway:
        await known(gateway, alpha, beta)
        beta.fault = Fault("silence")
        asking = asyncio.create_task(gateway.chat("chat", stream=True))
        await beta.until(lambda seen: seen.requests_in_flight == 1)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        records = [*await alpha.settled(1, timeout_s=3), *await beta.settled(1)]
        await gateway.quiet()
        gateway.assert_nothing_held()
        metrics = await gateway.metrics()

    assert [record.outcome for record in records] == [Outcome.CLIENT_GONE] * 2
    left = {"provider": "beta", "result": "cancelled"}
    assert metrics.total("hedges_total", **left) == 1


async def test_nobody_is_hedged_unless_the_policy_says_so(
    alpha: StandIn, beta: StandIn
) -> None:
    async with running(alpha, beta, FAILOVER, policy=PATIENT) as gateway:
        await known(gateway, alpha, beta)
        alpha.fault = Fault("slow_first_token", delay_s=0.5)
        answer = await gateway.chat("chat", stream=True)

    assert answer.headers["x-gateway-target"] == "alpha/m"
    assert answer.attempts == 1
    assert not beta.log


async def test_an_adaptive_bulkhead_shrinks_when_its_target_has_too_much_to_do(
    alpha: StandIn, beta: StandIn
) -> None:
    policy = {**QUICK, "bulkhead": {"limit": 40, "adaptive": True}}
    alpha.fault = Fault("status", code=529)
    async with running(alpha, beta, FAILOVER, policy=policy) as gateway:
        answer = await gateway.chat("chat")
        metrics = await gateway.metrics()

    assert answer.headers["x-gateway-target"] == "beta/m"
    limits = {
        name: metrics.total("bulkhead_limit", provider=name, model="m")
        for name in ("alpha", "beta")
    }
    assert limits == {"alpha": 36, "beta": 40}
