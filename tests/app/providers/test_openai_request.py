"""What the OpenAI dialect sends."""

import copy
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.errors import InvalidRequest
from app.providers.openai import OpenAIProvider
from tests.app.json_strategies import anything

DIALECT = OpenAIProvider()
BODY: dict[str, Any] = {
    "model": "the-route",
    "messages": [{"role": "user", "content": "hi"}],
    "temperature": 0.5,
}


def sent(body: dict[str, Any], *, stream: bool = True) -> dict[str, Any]:
    prepared = DIALECT.build_chat(body, model="gpt-x", api_key=None, stream=stream)
    parsed: dict[str, Any] = orjson.loads(prepared.body)
    return parsed


def header(name: str, *, stream: bool = True, api_key: str | None = None) -> str | None:
    prepared = DIALECT.build_chat(BODY, model="m", api_key=api_key, stream=stream)
    return dict(prepared.headers).get(name)


def test_the_route_is_replaced_by_the_targets_model() -> None:
    assert sent(BODY)["model"] == "gpt-x"


def test_a_chat_goes_to_chat_completions_as_json() -> None:
    prepared = DIALECT.build_chat(BODY, model="m", api_key=None, stream=False)
    assert prepared.path == "/chat/completions"
    assert header("content-type") == "application/json"


def test_usage_is_always_asked_of_a_stream() -> None:
    assert sent(BODY)["stream"] is True
    assert sent(BODY)["stream_options"] == {"include_usage": True}


@pytest.mark.parametrize("include_usage", [True, False, None])
def test_other_stream_options_are_kept(include_usage: bool | None) -> None:
    options = {"include_usage": include_usage, "include_obfuscation": False}
    assert sent({**BODY, "stream_options": options})["stream_options"] == {
        "include_usage": True,
        "include_obfuscation": False,
    }


@pytest.mark.parametrize("options", [None, {}, [], "x", 1])
def test_stream_options_that_are_no_object_are_replaced(options: object) -> None:
    assert sent({**BODY, "stream_options": options})["stream_options"] == {
        "include_usage": True
    }


def test_a_whole_answer_is_asked_for_without_stream_options() -> None:
    body = sent({**BODY, "stream": True, "stream_options": {}}, stream=False)
    assert body["stream"] is False
    assert "stream_options" not in body


def test_what_is_accepted_follows_what_is_asked_for() -> None:
    assert header("accept", stream=True) == "text/event-stream"
    assert header("accept", stream=False) == "application/json"


def test_the_api_key_is_sent_as_a_bearer_token() -> None:
    assert header("authorization", api_key="sk-1") == "Bearer sk-1"


def test_without_an_api_key_no_authorization_is_sent() -> None:
    assert header("authorization") is None


@given(
    fields=st.dictionaries(
        st.text(max_size=8).filter(lambda n: n not in ("model", "stream")),
        anything,
        max_size=4,
    ),
    stream=st.booleans(),
)
def test_every_other_field_passes_through_and_the_clients_body_is_left_alone(
    fields: dict[str, Any], stream: bool
) -> None:
    fields.pop("stream_options", None)
    body = {**BODY, **fields}
    before = copy.deepcopy(body)
    told = sent(body, stream=stream)
    for name in ("model", "stream", "stream_options"):
        told.pop(name, None)
    assert body == before
    assert told == {name: body[name] for name in body if name != "model"}


def test_a_body_nested_too_deeply_to_be_sent_is_the_callers_mistake() -> None:
    deep: Any = orjson.loads(b"[" * 1000 + b"]" * 1000)
    with pytest.raises(InvalidRequest, match="nested"):
        DIALECT.build_chat({**BODY, "deep": deep}, model="m", api_key=None, stream=True)
