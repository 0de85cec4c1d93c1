"""Providers that are compatible in their own way, and such that send nonsense.

What can be read is passed on; what cannot costs the client nothing and never a 500.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from loadtest.provider import StandIn
from tests.support.answers import Answer
from tests.support.configs import gateway_yaml
from tests.support.gateway import RunningGateway
from tests.support.scripted import ScriptedProvider, chunk, events, piece

USAGE = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
FORMS = pytest.mark.parametrize("stream", [True, False], ids=["stream", "plain"])


@asynccontextmanager
async def before_a_good_one(
    odd: ScriptedProvider,
) -> AsyncIterator[tuple[RunningGateway, ScriptedProvider]]:
    async with odd, StandIn("good", tokens=2) as good:
        providers = {"odd": odd.base_url, "good": good.base_url}
        config = gateway_yaml(providers, {"chat": ["odd/m", "good/m"]})
        async with RunningGateway(config) as gateway:
            yield gateway, odd


async def both_forms(odd: ScriptedProvider, **fields: Any) -> list[Answer]:
    async with before_a_good_one(odd) as (gateway, _):
        answers = [
            await gateway.chat("chat", stream=stream, **fields)
            for stream in (True, False)
        ]
        gateway.assert_nothing_held()
        return answers


async def test_several_choices_are_kept_apart() -> None:
    body = events(
        chunk(piece("a0", 0)),
        chunk(piece("b0", 1)),
        chunk(piece(" a1", 0, "stop")),
        chunk(piece(" b1", 1)),
        chunk(piece(" b2", 1, "length")),
        chunk(usage=USAGE),
    )
    streamed, whole = await both_forms(ScriptedProvider(body), n=2)

    assert streamed.complete
    assert streamed.tokens == ["a0", "b0", " a1", " b1", " b2"]
    choices = whole.json["choices"]
    assert [choice["message"]["content"] for choice in choices] == ["a0 a1", "b0 b1 b2"]
    assert [choice["finish_reason"] for choice in choices] == ["stop", "length"]
    assert whole.json["usage"] == USAGE


async def test_one_choice_that_never_finishes_makes_a_broken_answer() -> None:
    body = events(chunk(piece("a", 0, "stop")), chunk(piece("b", 1)), done=False)
    async with ScriptedProvider(body) as odd:
        config = gateway_yaml({"odd": odd.base_url}, {"chat": ["odd/m"]})
        async with RunningGateway(config) as gateway:
            streamed = await gateway.chat("chat", stream=True, n=2)
            whole = await gateway.chat("chat", n=2)

    assert streamed.broken is not None
    assert (whole.status, whole.error["code"]) == (502, "all_targets_failed")


async def test_tool_calls_in_pieces_become_whole_calls() -> None:
    def call(**delta: Any) -> dict[str, object]:
        return chunk({"index": 0, "delta": {"tool_calls": [delta]}})

    body = events(
        call(
            index=0,
            id="call_1",
            type="function",
            function={"name": "f", "arguments": ""},
        ),
        call(index=0, function={"arguments": '{"a":'}),
        call(index=0, function={"arguments": "1}"}),
        chunk({"index": 0, "delta": {}, "finish_reason": "tool_calls"}),
    )
    streamed, whole = await both_forms(ScriptedProvider(body))

    assert streamed.complete
    [choice] = whole.json["choices"]
    assert choice["message"]["content"] is None
    assert choice["message"]["tool_calls"] == [
        {
            "id": "call_1",
            "type": "function",
            "function": {"name": "f", "arguments": '{"a":1}'},
        }
    ]


async def test_usage_alone_is_passed_on_only_when_it_was_asked_for() -> None:
    body = events(
        chunk(piece("hi"), usage=USAGE),
        chunk(piece("!", finish="stop"), usage=USAGE),
        chunk(usage=USAGE),
    )
    async with before_a_good_one(ScriptedProvider(body)) as (gateway, _):
        unasked = await gateway.chat("chat", stream=True)
        asked = await gateway.chat(
            "chat", stream=True, stream_options={"include_usage": True}
        )

    assert [len(one["choices"]) for one in unasked.documents] == [1, 1]
    assert [len(one["choices"]) for one in asked.documents] == [1, 1, 0]


@pytest.mark.parametrize(
    "body",
    [
        events(chunk(piece("hi", finish="stop")), done=False) + b"data: [DONE]",
        events(chunk(piece("hi", finish="stop"))).replace(b"\n", b"\r\n"),
        b": welcome\n\n" + events(chunk(piece("hi", finish="stop"))),
        events(chunk(piece("hi"))),
        events(chunk(piece("hi", finish="stop")), b"event: bye\n\n"),
        events(chunk(piece("hi", finish="stop")), {"error": {"message": "late"}}),
        events(chunk(piece("hi", finish="stop")), b"data: {nonsense\n\n"),
        events(chunk(piece("hi", finish="stop")), chunk(piece("", finish="stop"))),
    ],
    ids=[
        "sentinel-cut-off",
        "crlf",
        "comment-first",
        "no-finish-reason-but-sentinel",
        "event-without-data",
        "error-after-the-end",
        "nonsense-after-the-end",
        "finishes-twice",
    ],
)
@FORMS
async def test_a_dialect_of_the_dialect_is_understood(
    body: bytes, stream: bool
) -> None:
    async with before_a_good_one(ScriptedProvider(body)) as (gateway, _):
        answer = await gateway.chat("chat", stream=stream)

    assert answer.status == 200
    assert answer.text == "hi"
    assert answer.headers["x-gateway-target"] == "odd/m"
    if stream:
        assert answer.complete
        assert answer.events.count("[DONE]") == 1


NONSENSE = {
    "choices-number": {"choices": 3},
    "choices-of-text": {"choices": ["a", "b"]},
    "delta-text": chunk({"index": 0, "delta": "hi"}),
    "delta-list": chunk({"index": 0, "delta": [1]}),
    "index-list": chunk({"index": [], "delta": {"content": "hi"}}),
    "index-text": chunk({"index": "0", "delta": {"content": "hi"}}),
    "content-number": chunk({"index": 0, "delta": {"content": 7}}),
    "tool-calls-text": chunk({"index": 0, "delta": {"tool_calls": "call"}}),
    "tool-calls-of-text": chunk({"index": 0, "delta": {"tool_calls": ["call"]}}),
    "finish-number": chunk({"index": 0, "delta": {"content": "x"}, "finish_reason": 4}),
    "logprobs-text": chunk({"index": 0, "delta": {"content": "x"}, "logprobs": "y"}),
    "usage-text": chunk(usage="many"),
    "error-text": {"error": "no"},
    "error-list": {"error": [1]},
    "list": [1, 2],
    "number": 3,
    "null": None,
}


@pytest.mark.parametrize("name", NONSENSE)
async def test_nonsense_is_no_bug_of_ours_and_another_target_answers(name: str) -> None:
    odd = ScriptedProvider(events(NONSENSE[name], done=False))
    async with before_a_good_one(odd) as (gateway, _):
        streamed = await gateway.chat("chat", stream=True)
        whole = await gateway.chat("chat")
        told = await gateway.metrics()
        gateway.assert_nothing_held()

    assert whole.complete
    assert whole.headers["x-gateway-target"] == "good/m"
    # Content that can be read may have been delivered before it turned out broken.
    assert streamed.complete or streamed.broken is not None
    assert ("internal_error",) not in told.nonzero("attempts_total", "error_type")


@pytest.mark.parametrize(
    "odd",
    [
        ScriptedProvider(b"", status="204 No Content"),
        ScriptedProvider(b"moved", status="302 Found", headers="location: /\r\n"),
        ScriptedProvider(b"{}", content_type="application/json"),
        ScriptedProvider(b"", content_type="text/event-stream"),
        ScriptedProvider(b"oops", status="500 Oops", content_type="text/plain"),
        ScriptedProvider(b'{"error": 7}', status="500 Oops"),
        ScriptedProvider(b"[]", status="429 Slow Down"),
        ScriptedProvider(b"\xff\xfe" * 100_000, status="503 Busy"),
    ],
    ids=["204", "302", "json", "empty", "text", "error-number", "list", "large"],
)
@FORMS
async def test_any_other_answer_is_a_failure_that_another_target_covers(
    odd: ScriptedProvider, stream: bool
) -> None:
    async with before_a_good_one(odd) as (gateway, _):
        answer = await gateway.chat("chat", stream=stream)
        told = await gateway.metrics()

    assert answer.complete
    assert answer.headers["x-gateway-target"] == "good/m"
    assert ("internal_error",) not in told.nonzero("attempts_total", "error_type")


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        ("400 Bad", b'{"error":{"message":"m","code":"c","param":"p"}}', ("c", "p")),
        ("400 Bad", b'{"error":"just a text"}', ("invalid_request", None)),
        ("400 Bad", b"<html>", ("invalid_request", None)),
        ("422 No", b'{"detail":[{"loc":["body"]}]}', ("invalid_request", None)),
        (
            "400 Bad",
            b'{"error":{"code":5,"param":[1],"message":{}}}',
            ("invalid_request", None),
        ),
    ],
)
async def test_a_refusal_in_any_form_is_passed_on_in_ours(
    status: str, body: bytes, expected: tuple[str, str | None]
) -> None:
    odd = ScriptedProvider(body, status=status, content_type="application/json")
    async with before_a_good_one(odd) as (gateway, _):
        answer = await gateway.chat("chat")

    assert answer.status == int(status[:3])
    assert (answer.error["code"], answer.error["param"]) == expected
    assert answer.error["message"]
    assert odd.requests == 1
