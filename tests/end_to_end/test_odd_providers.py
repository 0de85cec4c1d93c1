"""Providers that are compatible in their own way, and such that send nonsense.

What can be read is passed on; what cannot costs the client nothing and never a 500.
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest
import pytest_asyncio

from loadtest.provider import StandIn
from tests.support.configs import NO_BREAKER, gateway_yaml
from tests.support.gateway import RunningGateway
from tests.support.scripted import Said, ScriptedProvider, chunk, events, piece

pytestmark = pytest.mark.asyncio(loop_scope="module")

FORMS = pytest.mark.parametrize("stream", [True, False], ids=["stream", "plain"])
USAGE = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
ALONE = "-alone"
"""Ends the name of a route without the good provider."""


def call(**delta: Any) -> dict[str, object]:
    return chunk({"index": 0, "delta": {"tool_calls": [delta]}})


READABLE = {
    "several-choices": events(
        chunk(piece("a0", 0)),
        chunk(piece("b0", 1)),
        chunk(piece(" a1", 0, "stop")),
        chunk(piece(" b1", 1)),
        chunk(piece(" b2", 1, "length")),
        chunk(usage=USAGE),
    ),
    "unfinished-choice": events(
        chunk(piece("a", 0, "stop")), chunk(piece("b", 1)), done=False
    ),
    "tool-calls": events(
        call(
            index=0,
            id="call_1",
            type="function",
            function={"name": "f", "arguments": ""},
        ),
        call(index=0, function={"arguments": '{"a":'}),
        call(index=0, function={"arguments": "1}"}),
        chunk({"index": 0, "delta": {}, "finish_reason": "tool_calls"}),
    ),
    "usage": events(
        chunk(piece("hi"), usage=USAGE),
        chunk(piece("!", finish="stop"), usage=USAGE),
        chunk(usage=USAGE),
    ),
}
HI = chunk(piece("hi", finish="stop"))
DIALECTS = {
    "sentinel-cut-off": events(HI, done=False) + b"data: [DONE]",
    "crlf": events(HI).replace(b"\n", b"\r\n"),
    "comment-first": b": welcome\n\n" + events(HI),
    "no-finish-reason-but-sentinel": events(chunk(piece("hi"))),
    "event-without-data": events(HI, b"event: bye\n\n"),
    "error-after-the-end": events(HI, {"error": {"message": "late"}}),
    "nonsense-after-the-end": events(HI, b"data: {nonsense\n\n"),
    "finishes-twice": events(HI, chunk(piece("", finish="stop"))),
}
NONSENSE: dict[str, Any] = {
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
FAILURES = {
    "204": Said(b"", "204 No Content"),
    "302": Said(b"moved", "302 Found", headers="location: /\r\n"),
    "json": Said(b"{}", content_type="application/json"),
    "no-event": Said(b""),
    "500-text": Said(b"oops", "500 Oops", "text/plain"),
    "500-number": Said(b'{"error": 7}', "500 Oops"),
    "429-list": Said(b"[]", "429 Slow Down"),
    "503-large": Said(b"\xff\xfe" * 100_000, "503 Busy"),
}
REFUSALS = {
    "full": (b'{"error":{"message":"m","code":"c","param":"p"}}', ("c", "p")),
    "text": (b'{"error":"just a text"}', ("invalid_request", None)),
    "html": (b"<html>", ("invalid_request", None)),
    "foreign": (b'{"detail":[{"loc":["body"]}]}', ("invalid_request", None)),
    "odd": (b'{"error":{"code":[5],"param":[1]}}', ("invalid_request", None)),
}


@dataclass
class Scene:
    """A gateway with a route to each odd provider, which a good one follows."""

    gateway: RunningGateway
    odd: ScriptedProvider


def said() -> dict[str, Said]:
    return {
        **{name: Said(body) for name, body in {**READABLE, **DIALECTS}.items()},
        **{
            f"nonsense-{name}": Said(events(document, done=False))
            for name, document in NONSENSE.items()
        },
        **{f"failure-{name}": answer for name, answer in FAILURES.items()},
        **{
            f"refusal-{name}": Said(body, "422 No", "application/json")
            for name, (body, _) in REFUSALS.items()
        },
    }


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def scene() -> AsyncIterator[Scene]:
    answers = said()
    async with ScriptedProvider(answers) as odd, StandIn("good", tokens=2) as good:
        routes = {name: [f"{name}/m", "good/m"] for name in answers}
        alone = {name + ALONE: [f"{name}/m"] for name in answers}
        config = gateway_yaml(
            {**odd.base_urls, "good": good.base_url},
            {**routes, **alone},
            policy=NO_BREAKER,
        )
        async with RunningGateway(config) as gateway:
            yield Scene(gateway, odd)


async def test_several_choices_are_kept_apart(scene: Scene) -> None:
    streamed = await scene.gateway.chat("several-choices", stream=True, n=2)
    whole = await scene.gateway.chat("several-choices", n=2)

    assert streamed.complete
    assert streamed.tokens == ["a0", "b0", " a1", " b1", " b2"]
    choices = whole.json["choices"]
    assert [choice["message"]["content"] for choice in choices] == ["a0 a1", "b0 b1 b2"]
    assert [choice["finish_reason"] for choice in choices] == ["stop", "length"]
    assert whole.json["usage"] == USAGE


async def test_one_choice_that_never_finishes_makes_a_broken_answer(
    scene: Scene,
) -> None:
    route = "unfinished-choice" + ALONE
    streamed = await scene.gateway.chat(route, stream=True, n=2)
    whole = await scene.gateway.chat(route, n=2)

    assert streamed.broken is not None
    assert (whole.status, whole.error["code"]) == (502, "all_targets_failed")


async def test_tool_calls_in_pieces_become_whole_calls(scene: Scene) -> None:
    streamed = await scene.gateway.chat("tool-calls", stream=True)
    whole = await scene.gateway.chat("tool-calls")

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


async def test_usage_alone_is_passed_on_only_when_it_was_asked_for(
    scene: Scene,
) -> None:
    options = {"include_usage": True}
    unasked = await scene.gateway.chat("usage", stream=True)
    asked = await scene.gateway.chat("usage", stream=True, stream_options=options)

    assert [len(one["choices"]) for one in unasked.documents] == [1, 1]
    assert [len(one["choices"]) for one in asked.documents] == [1, 1, 0]


@pytest.mark.parametrize("name", DIALECTS)
@FORMS
async def test_a_dialect_of_the_dialect_is_understood(
    scene: Scene, name: str, stream: bool
) -> None:
    answer = await scene.gateway.chat(name, stream=stream)

    assert answer.status == 200
    assert answer.text == "hi"
    assert answer.headers["x-gateway-target"] == f"{name}/m"
    if stream:
        assert answer.complete
        assert answer.events.count("[DONE]") == 1


type Output = pytest.CaptureFixture[bytes]


def assert_no_bug_was_met(output: Output) -> None:
    assert b"unexpected error" not in output.readouterr().out


@pytest.mark.parametrize("name", NONSENSE)
async def test_nonsense_is_no_bug_of_ours_and_another_target_answers(
    scene: Scene, name: str, capsysbinary: Output
) -> None:
    streamed = await scene.gateway.chat(f"nonsense-{name}", stream=True)
    whole = await scene.gateway.chat(f"nonsense-{name}")

    assert whole.complete
    assert whole.headers["x-gateway-target"] == "good/m"
    # Content that can be read may have been delivered before it turned out broken.
    assert streamed.complete or streamed.broken is not None
    scene.gateway.assert_nothing_held()
    assert_no_bug_was_met(capsysbinary)


@pytest.mark.parametrize("name", FAILURES)
@FORMS
async def test_any_other_answer_is_a_failure_that_another_target_covers(
    scene: Scene, name: str, stream: bool, capsysbinary: Output
) -> None:
    answer = await scene.gateway.chat(f"failure-{name}", stream=stream)

    assert answer.complete
    assert answer.headers["x-gateway-target"] == "good/m"
    assert_no_bug_was_met(capsysbinary)


@pytest.mark.parametrize("name", REFUSALS)
async def test_a_refusal_in_any_form_is_passed_on_in_ours(
    scene: Scene, name: str
) -> None:
    answer = await scene.gateway.chat(f"refusal-{name}")

    assert answer.status == 422
    assert (answer.error["code"], answer.error["param"]) == REFUSALS[name][1]
    assert answer.error["message"]
    assert scene.odd.requests[f"refusal-{name}"] == 1
