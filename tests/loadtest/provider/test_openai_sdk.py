"""The official client, unchanged, against the stand-in."""

from collections.abc import AsyncIterator

import openai
import pytest

from loadtest.provider import Fault, StandIn

TEXT = "alpha-0 alpha-1 alpha-2 alpha-3 alpha-4 alpha-5 alpha-6 alpha-7"


@pytest.fixture
async def client(provider: StandIn) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(
        base_url=provider.base_url, api_key="any", max_retries=0
    ) as made:
        yield made


async def test_it_gets_a_plain_answer(client: openai.AsyncOpenAI) -> None:
    answer = await client.chat.completions.create(
        model="any", messages=[{"role": "user", "content": "Hi"}]
    )

    assert answer.choices[0].message.content == TEXT
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage is not None
    assert answer.usage.completion_tokens == 8


async def test_it_gets_a_stream_with_usage(client: openai.AsyncOpenAI) -> None:
    stream = await client.chat.completions.create(
        model="any",
        messages=[{"role": "user", "content": "Hi"}],
        stream=True,
        stream_options={"include_usage": True},
    )
    chunks = [chunk async for chunk in stream]

    choices = [choice for chunk in chunks for choice in chunk.choices]
    assert "".join(choice.delta.content or "" for choice in choices) == TEXT
    assert choices[-1].finish_reason == "stop"
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens == 8


async def test_it_gets_completions(client: openai.AsyncOpenAI) -> None:
    answer = await client.completions.create(model="any", prompt="Hi")

    assert answer.choices[0].text == TEXT


async def test_it_gets_embeddings_which_it_asks_for_in_base64(
    client: openai.AsyncOpenAI, provider: StandIn
) -> None:
    coded = await client.embeddings.create(model="any", input=["one", "two"])
    floats = await client.embeddings.create(
        model="any", input=["one", "two"], encoding_format="float"
    )

    assert provider.log[0].body["encoding_format"] == "base64"
    for first, second in zip(coded.data, floats.data, strict=True):
        assert first.embedding == pytest.approx(second.embedding)


async def test_it_gets_the_models(client: openai.AsyncOpenAI) -> None:
    models = [model.id async for model in client.models.list()]

    assert models == ["alpha-model"]


async def test_it_knows_the_errors(
    client: openai.AsyncOpenAI, provider: StandIn
) -> None:
    provider.fault = Fault("status", code=429, retry_after_s=2)

    with pytest.raises(openai.RateLimitError) as caught:
        await client.models.list()

    assert caught.value.code == "rate_limit_exceeded"
    assert caught.value.response.headers["retry-after"] == "2"
