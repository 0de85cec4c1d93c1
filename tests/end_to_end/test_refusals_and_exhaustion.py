"""What comes back as itself, and what the client is told when nobody answers.

A provider's refusal of the request is asked for once and passed on; a failure of all
is told apart from a refusal by all and from throttling by all, because a client
should do something else about each.
"""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest
import pytest_asyncio

from loadtest.provider import Fault, StandIn
from tests.support.answers import Answer
from tests.support.configs import NO_BREAKER, QUICK, gateway_yaml, target
from tests.support.gateway import RunningGateway
from tests.support.providers import refusing, sends_of

LONG = "fault.context_length"
FILTER = "fault.content_filter"


@pytest.fixture
async def provider() -> AsyncIterator[StandIn]:
    async with StandIn("alpha") as stand_in:
        yield stand_in


def gateway_over(
    provider: StandIn, routes: dict[str, Any], policy: Any = NO_BREAKER
) -> RunningGateway:
    providers = {"alpha": provider.base_url, "beta": provider.base_url}
    return RunningGateway(gateway_yaml(providers, routes, policy=policy))


def models_asked(answer: Answer, provider: StandIn) -> list[str | None]:
    return [record.model for record in sends_of(answer.request_id, (provider,))]


REFUSALS = {
    400: "invalid_value",
    404: "model_not_found",
    413: "request_too_large",
    422: "invalid_request",
}
LONE = {
    "reset": ("fault.reset", 3),
    "500": ("fault.status?code=500", 3),
    "503": ("fault.status?code=503", 3),
    "garbled": ("fault.garbled", 3),
    "silence": ("fault.silence", 1),
    "401": ("fault.status?code=401", 1),
}
FORMS = pytest.mark.parametrize("stream", [True, False], ids=["stream", "plain"])


@dataclass
class Scene:
    """A gateway with one route for each refusal and each lone target."""

    gateway: RunningGateway
    provider: StandIn


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def scene() -> AsyncIterator[Scene]:
    refusals = {
        f"refused-{status}": [f"alpha/fault.status?code={status}", "beta/well"]
        for status in REFUSALS
    }
    lone = {f"lone-{name}": [f"beta/{model}"] for name, (model, _) in LONE.items()}
    async with StandIn("alpha") as provider:
        async with gateway_over(provider, {**refusals, **lone}) as gateway:
            yield Scene(gateway, provider)


@pytest.mark.asyncio(loop_scope="module")
@FORMS
@pytest.mark.parametrize(("status", "code"), REFUSALS.items())
async def test_a_request_that_a_provider_refuses_is_sent_once_and_comes_back_as_itself(
    scene: Scene, status: int, code: str, stream: bool
) -> None:
    answer = await scene.gateway.chat(f"refused-{status}", stream=stream)

    assert answer.status == status
    assert answer.error["code"] == code
    assert answer.error["type"] == "invalid_request_error"
    assert answer.error["requestId"] == answer.request_id
    assert answer.headers["x-should-retry"] == "false"
    assert "retry-after" not in answer.headers
    assert models_asked(answer, scene.provider) == [f"fault.status?code={status}"]


@pytest.mark.asyncio(loop_scope="module")
@FORMS
@pytest.mark.parametrize("name", LONE)
async def test_a_lone_target_that_fails_is_asked_thrice_at_most_and_the_answer_is_502(
    scene: Scene, name: str, stream: bool
) -> None:
    answer = await scene.gateway.chat(f"lone-{name}", stream=stream)

    assert answer.status == 502
    assert answer.error["code"] == "all_targets_failed"
    assert answer.error["requestId"] == answer.request_id
    assert answer.headers["x-should-retry"] == "false"
    assert "retry-after" not in answer.headers
    model, sends = LONE[name]
    assert models_asked(answer, scene.provider) == [model] * sends


async def test_a_prompt_too_long_goes_to_a_larger_window_only(
    provider: StandIn,
) -> None:
    chain = [
        target(f"alpha/{LONG}", context_window=8_000),
        target("beta/as-small", context_window=8_000),
        target("beta/undeclared"),
        target("beta/larger", context_window=32_000),
    ]
    async with gateway_over(
        provider, {"chat": {"targets": chain}, "small": {"targets": chain[:3]}}
    ) as gateway:
        larger = await gateway.chat("chat")
        nowhere = await gateway.chat("small")

    assert larger.complete
    assert models_asked(larger, provider) == [LONG, "larger"]
    assert nowhere.status == 400
    assert nowhere.error["code"] == "context_length_exceeded"
    assert nowhere.error["param"] == "messages"
    assert models_asked(nowhere, provider) == [LONG]


async def test_a_filtered_prompt_goes_on_only_where_the_route_says_so(
    provider: StandIn,
) -> None:
    chain = [target(f"alpha/{FILTER}"), target("beta/well")]
    routes = {
        "strict": {"targets": chain},
        "lenient": {"targets": chain, "on_content_filter": "fallback"},
    }
    async with gateway_over(provider, routes) as gateway:
        strict = await gateway.chat("strict")
        lenient = await gateway.chat("lenient")

    assert strict.status == 400
    assert strict.error["code"] == "content_filter"
    assert models_asked(strict, provider) == [FILTER]
    assert lenient.complete
    assert models_asked(lenient, provider) == [FILTER, "well"]


async def test_a_request_is_never_sent_more_often_than_the_policy_allows(
    provider: StandIn,
) -> None:
    chain = [f"{name}/fault.reset" for name in ("alpha", "beta")]
    routes = {"chat": [*chain, "alpha/fault.close", "beta/fault.close"]}
    async with gateway_over(provider, routes) as gateway:
        answer = await gateway.chat("chat")

    assert answer.status == 502
    assert len(models_asked(answer, provider)) == 4


async def test_when_all_are_throttled_the_client_is_told_when_the_first_is_free(
    provider: StandIn,
) -> None:
    chain = [
        "alpha/fault.status?code=429&retry_after_s=40",
        "beta/fault.status?code=429&retry_after_s=20",
    ]
    async with gateway_over(provider, {"chat": chain}) as gateway:
        throttled = await gateway.chat("chat")
        meanwhile = await gateway.chat("chat")

    for answer in (throttled, meanwhile):
        assert answer.status == 429
        assert answer.error["code"] == "rate_limit_exceeded"
        assert answer.error["type"] == "rate_limit_error"
        assert 10 < int(answer.headers["retry-after"]) <= 20
        assert 10_000 < int(answer.headers["retry-after-ms"]) <= 20_000
    assert len(models_asked(throttled, provider)) == 2
    assert models_asked(meanwhile, provider) == []


async def test_an_open_breaker_refuses_at_once_and_says_when_to_come_back(
    provider: StandIn,
) -> None:
    policy = {**QUICK, "breaker": {"consecutive": 3, "open_s": 30}}
    async with gateway_over(
        provider, {"chat": ["alpha/fault.reset"]}, policy
    ) as gateway:
        failed = await gateway.chat("chat")
        refused = await gateway.chat("chat")

    assert failed.status == 502
    assert refused.status == 503
    assert refused.error["code"] == "all_targets_failed"
    assert 20 < int(refused.headers["retry-after"]) <= 36
    assert "x-should-retry" not in refused.headers
    assert models_asked(refused, provider) == []


async def test_a_full_target_is_passed_over_and_a_full_route_answers_503(
    provider: StandIn,
) -> None:
    policy = {**QUICK, "bulkhead": {"limit": 1, "queue": 0, "wait_s": 0.05}}
    routes = {
        "chat": ["alpha/fault.slow_headers?delay_s=0.3", "beta/well"],
        "lone": ["alpha/fault.slow_headers?delay_s=0.3"],
    }
    async with gateway_over(provider, routes, policy) as gateway:
        first = asyncio.create_task(gateway.chat("chat"))
        await provider.until(lambda seen: seen.requests_in_flight == 1)
        beside = await gateway.chat("chat")
        refused = await gateway.chat("lone")
        slow = await first

    assert slow.headers["x-gateway-target"] == "alpha/fault.slow_headers?delay_s=0.3"
    assert beside.headers["x-gateway-target"] == "beta/well"
    assert beside.attempts == 1
    assert refused.status == 503
    assert int(refused.headers["retry-after"]) >= 1
    assert models_asked(refused, provider) == []


async def test_the_breaker_spares_a_dead_target_its_traffic(
    provider: StandIn,
) -> None:
    policy = {**QUICK, "breaker": {"consecutive": 4, "open_s": 30}}
    async with refusing() as down:
        providers = {"down": down.base_url, "alpha": provider.base_url}
        config = gateway_yaml(providers, {"chat": ["down/m", "alpha/m"]}, policy=policy)
        async with RunningGateway(config) as gateway:
            answers = [await gateway.chat("chat") for _ in range(6)]

    assert all(answer.complete for answer in answers)
    assert [answer.attempts for answer in answers] == [3, 3, 1, 1, 1, 1]


async def test_a_fault_that_passes_is_mended_by_one_retry(provider: StandIn) -> None:
    provider.fault = Fault("reset", times=1)
    async with gateway_over(provider, {"chat": ["alpha/m", "beta/m"]}) as gateway:
        answer = await gateway.chat("chat")

    assert answer.complete
    assert answer.attempts == 2
    assert answer.headers["x-gateway-fallback"] == "false"


async def test_an_answer_without_a_word_is_an_answer(provider: StandIn) -> None:
    async with gateway_over(
        provider, {"chat": ["alpha/fault.empty", "beta/well"]}
    ) as gateway:
        whole = await gateway.chat("chat")
        streamed = await gateway.chat("chat", stream=True)

    for answer in (whole, streamed):
        assert answer.complete
        assert answer.text == ""
        assert answer.headers["x-gateway-fallback"] == "false"
