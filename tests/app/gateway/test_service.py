"""The request path: what is sent, what comes back, and who is turned away."""

from typing import Any

import httpx
import pytest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from app.domain import Client
from app.errors import (
    AppError,
    Draining,
    ModelNotAllowed,
    ModelNotFound,
    RateLimited,
)
from app.gateway.reply import DONE
from app.telemetry import Tracing
from tests.app.gateway.scene import (
    ANSWER,
    GOOD,
    Scene,
    a_request,
    failing,
    read,
    streaming,
    whole,
)
from tests.app.gateway.streams import HEL, LO, ROLE, STOP, WHOLE, event

DOWN = failing(httpx.ConnectError, "connection refused")
ERROR_500 = whole({"error": {"message": "boom"}}, status=500)
THROTTLED = whole({"error": {}}, status=429, retry_after="30")
CUT = streaming(ROLE, HEL, httpx.ReadError("reset"))


# --- Answers -----------------------------------------------------------------------


async def test_a_stream_is_passed_on_as_it_came() -> None:
    scene = Scene()
    assert await scene.stream() == [ROLE + HEL, LO, STOP, DONE]
    assert scene.sends == {"alpha": 1, "beta": 0}
    scene.assert_at_rest()


async def test_a_reply_tells_who_answered_and_what_it_took() -> None:
    scene = Scene(alpha=[DOWN])
    reply = await scene.open()
    assert (reply.target, reply.fallback, reply.attempts) == ("beta/m", True, 3)
    assert scene.gateway.in_flight == 1
    await read(reply)
    scene.assert_at_rest()


async def test_a_client_that_does_not_stream_gets_the_stream_put_together() -> None:
    scene = Scene()
    answer = await scene.complete()
    assert answer["choices"][0]["message"]["content"] == "Hello"
    assert answer["usage"]["prompt_tokens"] == 7
    scene.assert_at_rest()


async def test_comments_play_no_part_in_what_is_put_together() -> None:
    wait = b": wait\n\n"
    scene = Scene(alpha=[streaming(wait, HEL, wait, LO, STOP, DONE)])
    message = (await scene.complete())["choices"][0]["message"]
    assert message == {"role": "assistant", "content": "Hello"}


async def test_or_a_whole_answer_where_the_route_wants_none_streamed() -> None:
    scene = Scene(alpha=[whole()], stream_upstream=False)
    assert await scene.complete() == ANSWER
    scene.assert_at_rest()


async def test_a_whole_answer_may_take_longer_than_a_first_token() -> None:
    slow = streaming(b"{", 30.0, b'"choices": [{"index": 0}]}')
    scene = Scene(alpha=[slow], stream_upstream=False)
    assert await scene.complete() == {"choices": [{"index": 0}]}


async def test_tokens_and_cost_are_counted_once_for_the_target_that_answered() -> None:
    scene = Scene()
    await scene.stream()
    await scene.complete()
    labels = {"provider": "alpha", "model": "m", "project": "team-a"}
    assert scene.value("input_tokens_total", **labels) == 14
    assert scene.value("cost_usd_total", **labels) == pytest.approx(14)


# --- What is sent ------------------------------------------------------------------


async def test_the_provider_gets_the_request_with_its_own_model_and_key() -> None:
    scene = Scene()
    await scene.stream(temperature=0.5)
    request = scene.sent()
    assert str(request.url) == "http://alpha.test/v1/chat/completions"
    assert request.method == "POST"
    assert request.headers["authorization"] == "Bearer sk-1"
    assert request.headers["x-request-id"] == "req_1"
    assert b'"model":"m"' in request.content
    assert b'"temperature":0.5' in request.content
    assert "traceparent" not in request.headers


async def test_the_trace_goes_on_at_the_provider() -> None:
    tracing = Tracing(InMemorySpanExporter())
    scene = Scene(alpha=[DOWN], tracing=tracing)
    await scene.stream()
    sent = [scene.sent(name).headers["traceparent"] for name in ("alpha", "beta")]
    (trace,) = {header.split("-")[1] for header in sent}
    assert len({header.split("-")[2] for header in sent}) == 2
    tracing.shutdown(5.0)
    assert trace != "0" * 32


async def test_the_provider_is_told_how_much_time_is_left() -> None:
    scene = Scene([streaming(9.0, *WHOLE)], deadline_s=20.0)
    await scene.stream()
    assert int(scene.sent().headers["x-gateway-timeout-ms"]) == 20_000


async def test_answers_with_sound_are_not_put_together_from_pieces() -> None:
    for modalities, streamed in (
        (["text", "audio"], False),
        (["text"], True),
        ("audio", True),
        (None, True),
    ):
        answers = [GOOD] if streamed else [whole()]
        scene = Scene(answers)
        await scene.complete(modalities=modalities)
        assert (b'"stream":true' in scene.sent().content) is streamed


async def test_every_choice_that_was_asked_for_is_waited_for() -> None:
    two = [
        event({"choices": [{"index": i, "delta": {}, "finish_reason": "stop"}]})
        for i in (0, 1)
    ]
    scene = Scene(alpha=[streaming(two[0], 3.0, two[1])])
    assert await scene.stream(n=2) == [*two, DONE]


# --- Turned away -------------------------------------------------------------------


async def test_a_gateway_that_drains_takes_nothing_new() -> None:
    scene = Scene()
    reply = await scene.open()
    scene.gateway.draining = True
    with pytest.raises(Draining):
        await scene.open()
    assert (await read(reply))[-1] == DONE
    scene.assert_at_rest()


@pytest.mark.parametrize(
    ("request_", "kind"),
    [
        ({"route": "other"}, ModelNotFound),
        (
            {"client": Client("k", "team-a", routes=frozenset({"other"}))},
            ModelNotAllowed,
        ),
        ({"client": Client("k", "team-a", requests_per_minute=1)}, RateLimited),
    ],
)
async def test_a_refusal_is_counted_and_holds_nothing(
    request_: dict[str, Any], kind: type[AppError]
) -> None:
    scene = Scene()
    if kind is RateLimited:
        await scene.stream(**request_)
    with pytest.raises(kind):
        await scene.open(**request_)
    assert scene.value("errors_total", code=kind.code) == 1
    if kind is RateLimited:
        labels = {"project": "team-a", "scope": "requests"}
        assert scene.value("rate_limited_total", **labels) == 1
    scene.assert_at_rest()


async def test_what_a_key_has_left_comes_with_the_reply() -> None:
    scene = Scene()
    client = Client("k", "team-a", requests_per_minute=5)
    reply, hold = await scene.gateway.chat(a_request(client=client))
    assert (hold.limit, hold.remaining) == (5, 4)
    await read(reply)
