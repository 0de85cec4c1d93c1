"""What one event of an OpenAI stream means."""

from typing import Any

import orjson
import pytest
from hypothesis import given

from app.domain import Chunk, Usage
from app.errors import (
    ContentFiltered,
    ContextTooLong,
    StreamBroken,
    UpstreamAuthFailed,
    UpstreamError,
    UpstreamGarbled,
    UpstreamOverloaded,
    UpstreamRefused,
    UpstreamThrottled,
)
from app.providers.openai import OpenAIProvider
from tests.app.json_strategies import bodies

DIALECT = OpenAIProvider()


def parsed(event: object) -> Chunk:
    data = orjson.dumps(event)
    return DIALECT.parse_event(b"data: " + data + b"\n\n", data)


def delta(fields: object, **choice: Any) -> Chunk:
    return parsed({"choices": [{"index": 0, "delta": fields, **choice}]})


def test_an_event_keeps_its_bytes() -> None:
    assert DIALECT.parse_event(b"data:[DONE]\r\n\r\n", b"[DONE]").raw == (
        b"data:[DONE]\r\n\r\n"
    )


def test_a_comment_is_passed_on_and_means_nothing() -> None:
    chunk = DIALECT.parse_event(b": hold on\n\n", None)
    assert chunk == Chunk(b": hold on\n\n")


def test_the_sentinel_is_the_last_word() -> None:
    chunk = DIALECT.parse_event(b"data: [DONE]\n\n", b"[DONE]")
    assert chunk.done
    assert chunk.data is None


@pytest.mark.parametrize(
    "fields",
    [
        {"content": "Hello"},
        {"tool_calls": [{"index": 0, "function": {"arguments": "{"}}]},
        {"function_call": {"arguments": "{"}},
        {"refusal": "I cannot"},
        {"reasoning_content": "Let me think"},
        {"reasoning": "Let me think"},
        {"audio": {"data": "UklG"}},
    ],
    ids=lambda fields: next(iter(fields)),
)
def test_content_of_every_kind_is_meaningful(fields: dict[str, Any]) -> None:
    assert delta(fields).tokens == 1


@pytest.mark.parametrize(
    "fields",
    [
        {"role": "assistant"},
        {"role": "assistant", "content": ""},
        {"content": None, "tool_calls": []},
        {"unheard_of": "x"},
        {},
        None,
    ],
    ids=repr,
)
def test_a_delta_without_content_is_no_token(fields: object) -> None:
    chunk = delta(fields)
    assert chunk.tokens == 0
    assert not chunk.finished


def test_every_choice_with_content_counts() -> None:
    chunk = parsed(
        {
            "choices": [
                {"index": 0, "delta": {"content": "a"}},
                {"index": 1, "delta": {"content": "b"}},
                {"index": 2, "delta": {}, "finish_reason": "length"},
            ]
        }
    )
    assert chunk.tokens == 2
    assert chunk.finished == (2,)
    assert chunk.finish_reason == "length"


def test_a_finish_reason_ends_its_choice() -> None:
    chunk = delta({}, finish_reason="stop")
    assert chunk.finished == (0,)
    assert chunk.finish_reason == "stop"


def test_a_choice_without_an_index_is_the_first() -> None:
    chunk = parsed({"choices": [{"delta": {}, "finish_reason": "stop"}]})
    assert chunk.finished == (0,)


USAGE = {
    "prompt_tokens": 7,
    "completion_tokens": 3,
    "prompt_tokens_details": {"cached_tokens": 4},
    "completion_tokens_details": {"reasoning_tokens": 2},
}


def test_an_event_with_usage_and_no_choices_is_for_accounting_only() -> None:
    chunk = parsed({"choices": [], "usage": USAGE})
    assert chunk.usage == Usage(7, 3, 4, 2)
    assert chunk.usage_only
    assert chunk.tokens == 0


def test_usage_beside_choices_is_read_and_passed_on() -> None:
    chunk = parsed(
        {"choices": [{"index": 0, "delta": {"content": "a"}}], "usage": USAGE}
    )
    assert chunk.usage == Usage(7, 3, 4, 2)
    assert not chunk.usage_only
    assert chunk.tokens == 1


@pytest.mark.parametrize("usage", [None, {}, [1], "many", 5], ids=repr)
def test_usage_that_is_none_is_none(usage: object) -> None:
    assert delta({"content": "a"}).usage is None
    assert parsed({"choices": [], "usage": usage}).usage is None


def test_counts_that_are_none_are_zero() -> None:
    chunk = parsed(
        {
            "choices": [],
            "usage": {
                "prompt_tokens": "7",
                "completion_tokens": -1,
                "prompt_tokens_details": "none",
                "completion_tokens_details": {"reasoning_tokens": True},
            },
        }
    )
    assert chunk.usage == Usage()


@pytest.mark.parametrize(
    "event",
    [
        [],
        "text",
        None,
        7,
        {},
        {"choices": None},
        {"choices": {}},
        {"choices": "x"},
        {"choices": [None]},
        {"choices": [[]]},
        {"choices": [{"delta": "text"}]},
        {"choices": [{"delta": [1]}]},
        {"choices": [{"delta": {}, "finish_reason": {"a": 1}}]},
        {"choices": [{"delta": {}, "finish_reason": 7}]},
        {"choices": [{"delta": {}, "finish_reason": "stop", "index": "0"}]},
        {"choices": [{"delta": {}, "finish_reason": "stop", "index": True}]},
    ],
    ids=repr,
)
def test_what_is_not_the_dialect_is_garbled(event: object) -> None:
    with pytest.raises(UpstreamGarbled):
        parsed(event)


@pytest.mark.parametrize("data", [b"", b"{", b"\xff", b"{'choices': []}", b"NaN"])
def test_what_is_not_json_is_garbled(data: bytes) -> None:
    with pytest.raises(UpstreamGarbled, match="failed to answer"):
        DIALECT.parse_event(b"", data)


def test_what_is_nested_too_deeply_to_be_put_together_again_is_garbled() -> None:
    deep = b'{"choices": [{"delta": ' + b'{"a":' * 400 + b"1" + b"}" * 400 + b"}]}"
    with pytest.raises(UpstreamGarbled) as caught:
        DIALECT.parse_event(b"", deep)
    assert "nested" in (caught.value.detail or "")


def test_many_brackets_side_by_side_are_no_depth() -> None:
    chunk = delta({"content": "[" * 500, "list": [[] for _ in range(500)]})
    assert chunk.tokens == 1


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        ({"message": "The server had an error", "code": None}, StreamBroken),
        ({"message": "boom", "code": "server_error"}, StreamBroken),
        ({"message": "boom", "code": 500}, StreamBroken),
        ({"message": "boom", "code": "502"}, StreamBroken),
        ({}, None),
        ("boom", StreamBroken),
        (["boom"], StreamBroken),
        (True, StreamBroken),
        ({"code": "context_length_exceeded", "message": "long"}, ContextTooLong),
        ({"code": "content_filter"}, ContentFiltered),
        ({"code": "content_policy_violation"}, ContentFiltered),
        ({"code": "insufficient_quota"}, UpstreamAuthFailed),
        ({"code": 401}, UpstreamAuthFailed),
        ({"code": "rate_limit_exceeded"}, UpstreamThrottled),
        ({"code": 429}, UpstreamThrottled),
        ({"code": 503}, UpstreamOverloaded),
        ({"code": 400, "message": "temperature is too high"}, UpstreamRefused),
        ({"code": 7}, StreamBroken),
    ],
    ids=repr,
)
def test_an_error_frame_is_told_by_its_code(
    error: object, kind: type[UpstreamError] | None
) -> None:
    if kind is None:  # an empty error is none, and then there are no choices
        kind = UpstreamGarbled
    with pytest.raises(UpstreamError) as caught:
        parsed({"error": error})
    assert type(caught.value) is kind


def test_a_null_error_beside_choices_is_none() -> None:
    assert parsed({"error": None, "choices": []}).tokens == 0


def test_an_error_frames_text_is_for_the_log_unless_it_is_the_callers() -> None:
    with pytest.raises(StreamBroken) as broken:
        parsed({"error": {"message": "node gpu-7 died"}})
    assert "gpu-7" not in broken.value.public_message
    assert "gpu-7" in (broken.value.detail or "")
    with pytest.raises(ContextTooLong) as too_long:
        parsed({"error": {"code": "context_length_exceeded", "message": "8193 > 8192"}})
    assert too_long.value.public_message == "8193 > 8192"
    assert too_long.value.public_code == "context_length_exceeded"


def test_an_error_frame_that_is_a_text_is_kept_for_the_log() -> None:
    with pytest.raises(StreamBroken) as broken:
        parsed({"error": "node gpu-7 died"})
    assert "gpu-7" in (broken.value.detail or "")


@given(data=bodies)
def test_whatever_comes_is_a_chunk_or_a_domain_error(data: bytes) -> None:
    try:
        chunk = DIALECT.parse_event(data, data)
    except UpstreamError:
        return
    assert chunk.raw == data
    assert chunk.finish_reason is None or isinstance(chunk.finish_reason, str)
    orjson.dumps(chunk.data)  # what was taken in can be sent on
