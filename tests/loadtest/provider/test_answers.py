"""What the stand-in answers when nothing is wrong."""

import base64
import json
import struct
from typing import Any

import pytest

from loadtest.provider import StandIn
from tests.loadtest.provider.wire_client import MESSAGES, ask, chat

TEXT = "alpha-0 alpha-1 alpha-2 alpha-3 alpha-4 alpha-5 alpha-6 alpha-7"


async def test_a_plain_chat_answer_names_who_answered_in_each_token(
    provider: StandIn,
) -> None:
    seen = await ask(provider, chat())

    assert seen.status == 200
    assert seen.json["object"] == "chat.completion"
    [choice] = seen.json["choices"]
    assert choice["message"]["role"] == "assistant"
    assert choice["message"]["content"] == TEXT
    assert choice["finish_reason"] == "stop"


async def test_usage_counts_the_tokens_that_were_sent(provider: StandIn) -> None:
    usage = (await ask(provider, chat())).json["usage"]

    assert usage["completion_tokens"] == 8
    assert usage["prompt_tokens"] > 0
    assert usage["total_tokens"] == usage["prompt_tokens"] + 8


async def test_text_parts_cost_what_the_same_plain_text_costs(
    provider: StandIn,
) -> None:
    picture = {"type": "image_url", "image_url": {"url": "data:,"}}
    parts = [{"type": "text", "text": "one two three"}, picture]

    async def price(content: Any) -> int:
        messages = [{"role": "user", "content": content}]
        seen = await ask(provider, chat() | {"messages": messages})
        tokens: int = seen.json["usage"]["prompt_tokens"]
        return tokens

    assert await price(parts) == await price("one two three")


async def test_a_stream_is_role_then_tokens_then_finish_then_done(
    provider: StandIn,
) -> None:
    seen = await ask(provider, chat(stream=True))

    assert seen.headers["content-type"].startswith("text/event-stream")
    assert seen.complete
    *events, done = seen.events
    assert done == "[DONE]"
    choices = [json.loads(event)["choices"][0] for event in events]
    assert choices[0]["delta"] == {
        "role": "assistant",
        "content": "",
        "refusal": None,
    }
    contents = [choice["delta"]["content"] for choice in choices[1:-1]]
    assert len(contents) == 8
    assert "".join(contents) == TEXT
    assert {choice["finish_reason"] for choice in choices[:-1]} == {None}
    assert choices[-1]["delta"] == {}
    assert choices[-1]["finish_reason"] == "stop"


async def test_all_events_of_a_stream_carry_one_id_and_the_asked_model(
    provider: StandIn,
) -> None:
    seen = await ask(provider, chat(model="some/model", stream=True))

    events = [json.loads(event) for event in seen.events[:-1]]
    assert len({event["id"] for event in events}) == 1
    assert {event["model"] for event in events} == {"some/model"}
    assert {event["object"] for event in events} == {"chat.completion.chunk"}


async def test_the_usage_event_comes_last_and_only_when_asked_for(
    provider: StandIn,
) -> None:
    options = {"include_usage": True}
    asked = await ask(provider, chat(stream=True, stream_options=options))
    not_asked = await ask(provider, chat(stream=True))
    plain = await ask(provider, chat())

    events = [json.loads(event) for event in asked.events[:-1]]
    assert events[-1]["choices"] == []
    assert events[-1]["usage"] == plain.json["usage"]
    assert all(event["usage"] is None for event in events[:-1])
    assert all("usage" not in event for event in not_asked.events)


@pytest.mark.parametrize("field", ["max_tokens", "max_completion_tokens"])
async def test_a_token_limit_shortens_the_answer_and_says_length(
    provider: StandIn, field: str
) -> None:
    plain = await ask(provider, chat() | {field: 3})
    streamed = await ask(provider, chat(stream=True) | {field: 3})

    [choice] = plain.json["choices"]
    assert choice["message"]["content"] == "alpha-0 alpha-1 alpha-2"
    assert choice["finish_reason"] == "length"
    assert plain.json["usage"]["completion_tokens"] == 3
    assert streamed.tokens == ["alpha-0", " alpha-1", " alpha-2"]
    assert '"finish_reason":"length"' in streamed.events[-2]


async def test_a_limit_the_answer_just_reaches_is_no_cut(provider: StandIn) -> None:
    seen = await ask(provider, chat(max_tokens=8))

    assert seen.json["choices"][0]["finish_reason"] == "stop"


async def test_the_same_request_gets_the_same_text_and_another_id(
    provider: StandIn,
) -> None:
    first, second = [(await ask(provider, chat())).json for _ in range(2)]

    assert first["choices"] == second["choices"]
    assert first["usage"] == second["usage"]
    assert first["id"] != second["id"]


async def test_text_completions_are_served_plain_and_streamed(
    provider: StandIn,
) -> None:
    body = {"model": "any", "prompt": "Once upon"}
    plain = await ask(provider, body, path="/v1/completions")
    streamed = await ask(provider, {**body, "stream": True}, path="/v1/completions")

    assert plain.json["object"] == "text_completion"
    assert plain.json["choices"][0]["text"] == TEXT
    assert streamed.events[-1] == "[DONE]"
    choices = [json.loads(event)["choices"][0] for event in streamed.events[:-1]]
    assert "".join(choice["text"] for choice in choices) == TEXT
    assert choices[-1]["finish_reason"] == "stop"


async def test_embeddings_are_unit_vectors_that_depend_on_the_text_alone(
    provider: StandIn,
) -> None:
    body = {"model": "any", "input": ["one", "two", "one"], "dimensions": 12}
    seen = await ask(provider, body, path="/v1/embeddings")

    rows = seen.json["data"]
    assert [row["index"] for row in rows] == [0, 1, 2]
    first, second, third = [row["embedding"] for row in rows]
    assert first == third != second
    assert len(first) == 12
    assert sum(number * number for number in first) == pytest.approx(1, abs=1e-6)
    assert seen.json["usage"] == {"prompt_tokens": 3, "total_tokens": 3}


async def test_base64_embeddings_are_the_same_numbers_as_float32(
    provider: StandIn,
) -> None:
    body = {"model": "any", "input": "one"}
    floats = await ask(provider, body, path="/v1/embeddings")
    coded = await ask(
        provider, {**body, "encoding_format": "base64"}, path="/v1/embeddings"
    )

    numbers = floats.json["data"][0]["embedding"]
    raw = base64.b64decode(coded.json["data"][0]["embedding"])
    assert list(struct.unpack(f"<{len(numbers)}f", raw)) == numbers


async def test_token_numbers_are_an_input_for_embeddings(provider: StandIn) -> None:
    one = await ask(provider, {"model": "any", "input": [1, 2]}, path="/v1/embeddings")
    two = await ask(
        provider, {"model": "any", "input": [[1, 2], [3]]}, path="/v1/embeddings"
    )

    assert len(one.json["data"]) == 1
    assert len(two.json["data"]) == 2


async def test_models_and_liveness_are_served(provider: StandIn) -> None:
    models = await ask(provider, method="GET", path="/v1/models")
    alive = await ask(provider, method="GET", path="/livez")

    assert [row["id"] for row in models.json["data"]] == ["alpha-model"]
    assert alive.status == 200


CHAT = "/v1/chat/completions"
EMBEDDINGS = "/v1/embeddings"
BAD: list[tuple[str, Any, str | None]] = [
    (CHAT, b"{not json", None),
    (CHAT, b"\xff\xfe", None),
    (CHAT, [], None),
    (CHAT, {"messages": MESSAGES}, "model"),
    (CHAT, {"model": 7, "messages": MESSAGES}, "model"),
    (CHAT, {"model": "any"}, "messages"),
    (CHAT, {"model": "any", "messages": []}, "messages"),
    (CHAT, {"model": "any", "messages": ["Hi"]}, "messages"),
    (CHAT, chat(max_tokens=0), "max_tokens"),
    (CHAT, chat(max_tokens="many"), "max_tokens"),
    (CHAT, chat(max_completion_tokens=True), "max_completion_tokens"),
    (CHAT, chat(n=2), "n"),
    (CHAT, {**chat(), "stream": "yes"}, "stream"),
    (CHAT, chat(stream=True, stream_options=1), "stream_options"),
    (CHAT, chat(stream_options={"include_usage": True}), "stream_options"),
    ("/v1/completions", {"model": "any"}, "prompt"),
    (EMBEDDINGS, {"model": "any"}, "input"),
    (EMBEDDINGS, {"model": "any", "input": []}, "input"),
    (EMBEDDINGS, {"model": "any", "input": ""}, "input"),
    (EMBEDDINGS, {"model": "any", "input": ["a", 5]}, "input"),
    (EMBEDDINGS, {"model": "any", "input": [[]]}, "input"),
    (EMBEDDINGS, {"model": "any", "input": "a", "dimensions": 0.5}, "dimensions"),
    (
        EMBEDDINGS,
        {"model": "any", "input": "a", "encoding_format": "hex"},
        "encoding_format",
    ),
]


@pytest.mark.parametrize(("path", "body", "param"), BAD)
async def test_a_bad_request_gets_400_in_the_providers_form(
    provider: StandIn, path: str, body: Any, param: str | None
) -> None:
    seen = await ask(provider, body, path=path)

    assert seen.status == 400
    error = seen.json["error"]
    assert error["type"] == "invalid_request_error"
    assert error["param"] == param
    assert error["message"]


async def test_unknown_paths_and_methods_are_refused(provider: StandIn) -> None:
    unknown = await ask(provider, chat(), path="/v1/nothing")
    method = await ask(provider, method="GET", path="/v1/chat/completions")

    assert unknown.status == 404
    assert method.status == 405


async def test_with_an_api_key_every_other_key_gets_401() -> None:
    key = "the-right-one"
    async with StandIn(api_key=key) as provider:
        none = await ask(provider, chat())
        wrong = await ask(provider, chat(), headers={"authorization": "Bearer other"})
        right = await ask(provider, chat(), headers={"authorization": f"Bearer {key}"})

    assert [none.status, wrong.status, right.status] == [401, 401, 200]
    assert wrong.json["error"]["code"] == "invalid_api_key"
