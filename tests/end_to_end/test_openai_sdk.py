"""The official Python client, unchanged, against the gateway."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import openai
import pytest
import pytest_asyncio

from loadtest.provider import StandIn
from tests.support.configs import QUICK, gateway_yaml, target
from tests.support.gateway import RunningGateway
from tests.support.keys import KEY, OTHER_KEY, digest

pytestmark = pytest.mark.asyncio(loop_scope="module")

HI: Any = [{"role": "user", "content": "Hi"}]
TOKENS = 8
TEXT = " ".join(f"alpha-{index}" for index in range(TOKENS))
LIMITED_KEY = "bw-test-of-limits"


@dataclass
class Scene:
    """The gateway, the provider, and the client with its own retries at work."""

    gateway: RunningGateway
    provider: StandIn
    client: openai.AsyncOpenAI

    def with_key(self, key: str, **options: Any) -> openai.AsyncOpenAI:
        return self.client.with_options(api_key=key, **options)

    def sends(self, model: str) -> int:
        return sum(record.model == model for record in self.provider.log)


def routes() -> dict[str, Any]:
    faults = {
        "failing": "fault.status?code=500",
        "overloaded": "fault.status?code=503",
        "silent": "fault.silence",
        "refusing": "fault.status?code=400",
        "throttled": "fault.status?code=429&retry_after_s=0.7",
        "breaking": "fault.cut?after_tokens=3",
    }
    chain = {name: [f"alpha/{fault}"] for name, fault in faults.items()}
    return {"chat": ["alpha/m"], **chain, "org/model": {"targets": [target("alpha/m")]}}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def scene() -> AsyncIterator[Scene]:
    async with StandIn("alpha", tokens=TOKENS) as provider:
        quick = {**QUICK, "breaker": {"enabled": False}}
        keys = [
            {"id": "all", "project": "team", "sha256": digest(KEY)},
            {
                "id": "one",
                "project": "t",
                "sha256": digest(OTHER_KEY),
                "routes": ["chat"],
            },
            {
                "id": "limited",
                "project": "team",
                "sha256": digest(LIMITED_KEY),
                "limits": {"requests_per_minute": 1},
            },
        ]
        config = gateway_yaml(
            {"alpha": provider.base_url},
            routes(),
            policy=quick,
            keys=keys,
        )
        async with (
            RunningGateway(config) as gateway,
            openai.AsyncOpenAI(base_url=gateway.base_url, api_key=KEY) as client,
        ):
            yield Scene(gateway, provider, client)


async def test_a_plain_completion(scene: Scene) -> None:
    answer = await scene.client.chat.completions.create(model="chat", messages=HI)

    assert answer.object == "chat.completion"
    assert answer.choices[0].message.content == TEXT
    assert answer.choices[0].message.role == "assistant"
    assert answer.choices[0].finish_reason == "stop"
    assert answer.model == "m"
    assert answer.usage is not None
    assert answer.usage.completion_tokens == TOKENS


async def test_a_streamed_completion_without_usage_it_did_not_ask_for(
    scene: Scene,
) -> None:
    stream = await scene.client.chat.completions.create(
        model="chat", messages=HI, stream=True
    )
    chunks = [chunk async for chunk in stream]

    assert all(chunk.choices for chunk in chunks)
    assert all(chunk.usage is None for chunk in chunks)
    words = [chunk.choices[0].delta.content or "" for chunk in chunks]
    assert "".join(words) == TEXT
    assert chunks[-1].choices[0].finish_reason == "stop"
    sent = scene.provider.log[-1].body
    assert sent["stream_options"] == {"include_usage": True}


async def test_a_streamed_completion_with_usage(scene: Scene) -> None:
    stream = await scene.client.chat.completions.create(
        model="chat", messages=HI, stream=True, stream_options={"include_usage": True}
    )
    chunks = [chunk async for chunk in stream]

    assert chunks[-1].choices == []
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens == TOKENS


async def test_the_stream_helper_puts_the_answer_together(scene: Scene) -> None:
    async with scene.client.chat.completions.stream(
        model="chat", messages=HI
    ) as stream:
        answer = await stream.get_final_completion()

    assert answer.choices[0].message.content == TEXT


async def test_fields_nobody_here_knows_reach_the_provider(scene: Scene) -> None:
    await scene.client.chat.completions.create(
        model="chat",
        messages=HI,
        temperature=0.5,
        metadata={"feature": "tests", "anything": "else"},
        extra_body={"a_vendors_field": {"deep": [1, 2.5, None, "ü"]}},
    )

    sent = scene.provider.log[-1].body
    assert sent["model"] == "m"
    assert sent["temperature"] == 0.5
    assert sent["metadata"] == {"feature": "tests", "anything": "else"}
    assert sent["a_vendors_field"] == {"deep": [1, 2.5, None, "ü"]}
    assert "authorization" not in scene.provider.log[-1].headers


async def test_the_routes_are_its_models(scene: Scene) -> None:
    everything = [model.id async for model in scene.client.models.list()]
    allowed = [model.id async for model in scene.with_key(OTHER_KEY).models.list()]
    one = await scene.client.models.retrieve("chat")
    slashed = await scene.client.models.retrieve("org/model")

    assert everything == list(routes())
    assert allowed == ["chat"]
    assert (one.id, one.object) == ("chat", "model")
    assert slashed.id == "org/model"


async def test_a_wrong_key_is_an_authentication_error(scene: Scene) -> None:
    with pytest.raises(openai.AuthenticationError) as caught:
        await scene.with_key("bw-wrong").chat.completions.create(
            model="chat", messages=HI
        )

    assert caught.value.code == "invalid_api_key"
    assert caught.value.type == "authentication_error"


async def test_a_bad_request_is_told_with_the_field(scene: Scene) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        await scene.client.chat.completions.create(model="chat", messages=[])

    assert caught.value.code == "invalid_request"
    assert caught.value.param == "messages"
    assert caught.value.request_id == caught.value.response.headers["x-request-id"]


async def test_a_providers_refusal_is_a_bad_request_and_is_not_repeated(
    scene: Scene,
) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        await scene.client.chat.completions.create(model="refusing", messages=HI)

    assert caught.value.code == "invalid_value"
    assert scene.sends("fault.status?code=400") == 1


async def test_an_unknown_model_is_not_found_and_a_foreign_one_is_denied(
    scene: Scene,
) -> None:
    with pytest.raises(openai.NotFoundError) as missing:
        await scene.client.chat.completions.create(model="nope", messages=HI)
    with pytest.raises(openai.PermissionDeniedError) as denied:
        await scene.with_key(OTHER_KEY).chat.completions.create(
            model="failing", messages=HI
        )

    assert (missing.value.code, missing.value.param) == ("model_not_found", "model")
    assert denied.value.code == "model_not_allowed"


async def test_a_key_over_its_limit_is_told_how_long_to_wait(scene: Scene) -> None:
    client = scene.with_key(LIMITED_KEY, max_retries=0)
    await client.chat.completions.create(model="chat", messages=HI)

    with pytest.raises(openai.RateLimitError) as caught:
        await client.chat.completions.create(model="chat", messages=HI)

    assert caught.value.code == "rate_limit_exceeded"
    headers = caught.value.response.headers
    assert 30 <= int(headers["retry-after"]) <= 60
    assert "x-should-retry" not in headers


async def test_it_waits_as_long_as_it_is_told_and_then_gets_its_answer(
    scene: Scene,
) -> None:
    model = "fault.status?code=429&retry_after_s=0.7"
    with pytest.raises(openai.RateLimitError) as caught:
        await scene.with_key(KEY, max_retries=1).chat.completions.create(
            model="throttled",
            messages=HI,
            extra_headers={"x-gateway-timeout-ms": "500"},
        )

    assert int(caught.value.response.headers["retry-after-ms"]) <= 700
    # Once by each of the client's two requests: it came back when the pause was over.
    assert scene.sends(model) == 2


@pytest.mark.parametrize(
    ("route", "model", "sends"),
    [
        ("failing", "fault.status?code=500", 3),
        ("overloaded", "fault.status?code=503", 3),
        ("silent", "fault.silence", 1),
    ],
)
async def test_its_own_retries_are_not_multiplied_with_the_gateways(
    scene: Scene, route: str, model: str, sends: int
) -> None:
    assert scene.client.max_retries > 0

    with pytest.raises(openai.InternalServerError) as caught:
        await scene.client.chat.completions.create(model=route, messages=HI)

    assert caught.value.status_code == 502
    assert caught.value.code == "all_targets_failed"
    assert scene.sends(model) == sends


async def test_a_stream_that_breaks_raises_and_does_not_just_end(scene: Scene) -> None:
    stream = await scene.client.chat.completions.create(
        model="breaking", messages=HI, stream=True
    )
    words = []
    with pytest.raises(openai.APIError) as caught:
        async for chunk in stream:
            words.append(chunk.choices[0].delta.content)

    assert "".join(word or "" for word in words) == "alpha-0 alpha-1 alpha-2"
    assert caught.value.code == "stream_broken"


async def test_twenty_streams_in_a_row_use_one_connection_to_the_provider(
    scene: Scene,
) -> None:
    async with StandIn("alpha", tokens=TOKENS) as provider:
        config = gateway_yaml({"alpha": provider.base_url}, {"chat": ["alpha/m"]})
        async with (
            RunningGateway(config) as gateway,
            openai.AsyncOpenAI(base_url=gateway.base_url, api_key=KEY) as client,
        ):
            for at in range(20):
                stream = await client.chat.completions.create(
                    model="chat", messages=HI, stream=True
                )
                assert [chunk async for chunk in stream]
                await client.chat.completions.create(model="chat", messages=HI)
                await provider.settled(2 * at + 2)

            assert provider.connections_total == 1
