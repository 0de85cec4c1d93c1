"""The spans of a call: who is whose child, what they say, and what they do not."""

import asyncio
import json
import re

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import SpanKind, StatusCode

from app.domain import Usage
from app.errors import AllTargetsFailed, UpstreamThrottled, UpstreamUnavailable
from app.telemetry import Outcome
from app.telemetry.correlation import bind_span, current_span
from app.telemetry.tracing import parse_traceparent, traces_url
from resilience.breaker import Breaker, BreakerConfig, BreakerState
from resilience.errors import FirstTokenTimeout
from resilience.events import (
    BreakerRejected,
    BulkheadRejected,
    DeadlineForeseen,
    HedgeCancelled,
    HedgeLost,
    HedgeStarted,
    HedgeWon,
    RetryBudgetExhausted,
    TargetSkipped,
)
from tests.app.telemetry.scene import ALPHA, BETA, Scene, a_request, answering

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
SAMPLED = f"00-{TRACE}-{PARENT}-01"
PATH = "/v1/chat/completions"


@pytest.fixture
def scene() -> Scene:
    return Scene()


@pytest.fixture(autouse=True)
def no_span_of_another_test() -> None:
    bind_span(None)


def _attributes(span: ReadableSpan) -> dict[str, object]:
    return dict(span.attributes or {})


async def _fallen_back(scene: Scene, traceparent: str | None = SAMPLED) -> str | None:
    """A request that alpha fails and beta answers; the header beta was sent."""
    server = scene.tracing.start_server("POST", PATH, traceparent)
    request = a_request(
        {"temperature": 0, "max_tokens": 64, "seed": "seven", "top_p": True},
        metadata={"userId": "u-1", "feature": "ask"},
    )
    observation = scene.telemetry.observe(
        request, policy="interactive", deadline_s=120.0
    )
    call = scene.call(observation)
    operation = answering(scene.clock, FirstTokenTimeout(10), "an answer")
    await scene.chain(ALPHA, BETA).execute(operation, call)
    assert call.attempt is not None
    sent = observation.traceparent(call.attempt)
    scene.clock.advance(2.0)
    observation.answered(
        call.attempt, response_id="r-1", model="qwen3", finish_reason="stop"
    )
    usage = Usage(12, 40, cached_tokens=2, reasoning_tokens=10)
    observation.usage(call.attempt, usage, 0.5)
    await call.close()
    observation.finish(Outcome.SUCCESS)
    server.end(200)
    return sent


async def test_attempts_hang_below_the_chain_and_the_chain_below_the_request(
    scene: Scene,
) -> None:
    await _fallen_back(scene)
    spans = scene.spans()
    names = [f"POST {PATH}", "gateway.chain", "chat small", "chat Qwen/Qwen3-8B"]
    assert sorted(spans) == sorted(names)
    server, chain, *attempts = (spans[name] for name in names)
    kinds = [span.kind for span in (server, chain, *attempts)]
    assert kinds == [
        SpanKind.SERVER,
        SpanKind.INTERNAL,
        SpanKind.CLIENT,
        SpanKind.CLIENT,
    ]
    assert chain.parent == server.context
    assert [span.parent for span in attempts] == [chain.context] * 2


async def test_a_clients_trace_is_continued_and_passed_on(scene: Scene) -> None:
    sent = await _fallen_back(scene)
    spans = scene.spans()
    server, answered = spans[f"POST {PATH}"], spans["chat Qwen/Qwen3-8B"]
    assert server.parent is not None
    assert server.context is not None and answered.context is not None
    assert f"{server.context.trace_id:032x}" == TRACE
    assert f"{server.parent.span_id:016x}" == PARENT
    assert server.parent.is_remote
    assert sent == f"00-{TRACE}-{answered.context.span_id:016x}-01"


async def test_a_clients_decision_not_to_sample_is_kept_and_passed_on(
    scene: Scene,
) -> None:
    sent = await _fallen_back(scene, f"00-{TRACE}-{PARENT}-00")
    assert scene.spans() == {}
    assert sent is not None
    assert re.fullmatch(f"00-{TRACE}-[0-9a-f]{{16}}-00", sent)


async def test_without_an_endpoint_there_is_no_span_and_no_header() -> None:
    scene = Scene(traced=False)
    assert await _fallen_back(scene) is None
    assert scene.spans() == {}
    assert current_span() is None


async def test_a_call_without_a_request_span_continues_the_requests_trace(
    scene: Scene,
) -> None:
    request = a_request(traceparent=SAMPLED)
    scene.telemetry.observe(request).finish(Outcome.SUCCESS)
    chain = scene.spans()["gateway.chain"]
    assert chain.parent is not None
    assert f"{chain.parent.span_id:016x}" == PARENT


async def test_an_attempt_says_what_was_asked_of_whom(scene: Scene) -> None:
    await _fallen_back(scene)
    attributes = _attributes(scene.spans()["chat Qwen/Qwen3-8B"])
    start = json.loads(
        str(attributes.pop("langfuse.observation.completion_start_time"))
    )
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+\+00:00", start)
    details = json.loads(str(attributes.pop("langfuse.observation.usage_details")))
    assert details == {
        "input": 10,
        "input_cached_tokens": 2,
        "output": 30,
        "output_reasoning_tokens": 10,
        "total": 52,
    }
    costs = json.loads(str(attributes.pop("langfuse.observation.cost_details")))
    assert costs == {"total": 0.5}
    assert attributes == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "beta",
        "gen_ai.request.model": "Qwen/Qwen3-8B",
        "gen_ai.request.stream": True,
        "gen_ai.request.max_tokens": 64,
        "gen_ai.request.temperature": 0.0,
        "gen_ai.response.id": "r-1",
        "gen_ai.response.model": "qwen3",
        "gen_ai.response.finish_reasons": ("stop",),
        "gen_ai.usage.input_tokens": 12,
        "gen_ai.usage.output_tokens": 40,
        "server.address": "beta.test",
        "server.port": 443,
        "llm_gateway.attempt.number": 2,
        "llm_gateway.attempt.kind": "fallback",
        "langfuse.observation.type": "generation",
        "langfuse.user.id": "u-1",
        "langfuse.trace.tags": ("route:chat",),
        "langfuse.trace.metadata.project": "team-a",
        "langfuse.trace.metadata.feature": "ask",
        "langfuse.trace.metadata.requestId": "req_1",
    }


async def test_the_chain_tells_the_course_of_the_call_and_neither_usage_nor_model(
    scene: Scene,
) -> None:
    await _fallen_back(scene)
    chain = scene.spans()["gateway.chain"]
    assert _attributes(chain) == {
        "langfuse.observation.type": "chain",
        "langfuse.user.id": "u-1",
        "langfuse.trace.tags": ("route:chat",),
        "langfuse.trace.metadata.project": "team-a",
        "langfuse.trace.metadata.feature": "ask",
        "langfuse.trace.metadata.requestId": "req_1",
        "llm_gateway.route": "chat",
        "llm_gateway.policy": "interactive",
        "llm_gateway.deadline_ms": 120_000,
        "llm_gateway.attempts": 2,
        "llm_gateway.fallback": True,
    }
    assert [(event.name, dict(event.attributes or {})) for event in chain.events] == [
        (
            "fallback.selected",
            {
                "from": ALPHA.name,
                "to": BETA.name,
                "reason": "first_token_timeout",
            },
        )
    ]


async def test_a_failed_attempt_is_an_error_by_its_reason(scene: Scene) -> None:
    await _fallen_back(scene)
    failed = scene.spans()["chat small"]
    assert failed.status.status_code is StatusCode.ERROR
    assert _attributes(failed)["error.type"] == "first_token_timeout"
    assert "gen_ai.usage.input_tokens" not in _attributes(failed)
    assert failed.start_time is not None and failed.end_time is not None
    assert failed.end_time - failed.start_time == 500_000_000


async def test_a_cancelled_attempt_is_no_error(scene: Scene) -> None:
    observation = scene.telemetry.observe(a_request())
    call = scene.call(observation)

    async def never(call: object) -> None:
        await asyncio.Event().wait()

    running = asyncio.ensure_future(scene.chain(ALPHA).execute(never, call))
    await asyncio.sleep(0)
    running.cancel()
    with pytest.raises(asyncio.CancelledError) as cancelled:
        await running
    observation.finish(Outcome.CANCELLED, cancelled.value)
    spans = scene.spans()
    for name in ("chat small", "gateway.chain"):
        assert spans[name].status.status_code is StatusCode.UNSET
        assert _attributes(spans[name])["error.type"] == "cancelled"


async def test_retries_and_refusals_are_events_not_spans(scene: Scene) -> None:
    observation = scene.telemetry.observe(a_request())
    call = scene.call(observation, max_attempts=2)
    operation = answering(scene.clock, UpstreamUnavailable(target=ALPHA.name))
    with pytest.raises(Exception, match="all targets failed"):
        await scene.chain(ALPHA).execute(operation, call)
    call.emit(RetryBudgetExhausted(ALPHA.name, "unavailable"))
    call.emit(BreakerRejected(ALPHA.name, "open"))
    call.emit(BulkheadRejected(ALPHA.name, True, 0.1))
    call.emit(TargetSkipped(BETA.name, "breaker_open"))
    call.emit(TargetSkipped(BETA.name, "cooling_down"))
    observation.finish(Outcome.ERROR, AllTargetsFailed())
    finished = scene.spans()
    chain = finished["gateway.chain"]
    assert set(finished) == {"gateway.chain", "chat small"}
    names = [event.name for event in chain.events]
    assert names == [
        "retry.scheduled",
        "retry.budget_exhausted",
        "breaker.rejected",
        "bulkhead.rejected",
        "breaker.rejected",
    ]
    retry = dict(chain.events[0].attributes or {})
    assert set(retry) == {"target", "delay_ms", "reason"}
    assert chain.status.status_code is StatusCode.ERROR
    assert _attributes(chain)["error.type"] == "all_targets_failed"


def test_a_hedge_and_a_foreseen_deadline_are_events_of_the_chain(scene: Scene) -> None:
    observation = scene.telemetry.observe(a_request())
    for event in (
        HedgeStarted("alpha/small", "beta/m", 0.8),
        HedgeCancelled("alpha/small", "beta/m"),
        HedgeLost("alpha/small", "beta/m", "beaten"),
    ):
        observation.listener.on_event(event)
    assert observation.fallback is False
    observation.listener.on_event(HedgeWon("alpha/small", "beta/m"))
    assert observation.fallback is True
    observation.listener.on_event(DeadlineForeseen(0.5, 2.0))
    observation.finish(Outcome.SUCCESS)

    whom = {"target": "alpha/small", "hedge_target": "beta/m"}
    chain = scene.spans()["gateway.chain"]
    assert [(event.name, dict(event.attributes or {})) for event in chain.events] == [
        ("hedge.started", {**whom, "after_ms": 800}),
        ("hedge.cancelled", whom),
        ("hedge.lost", {**whom, "reason": "beaten"}),
        ("hedge.won", whom),
        ("deadline.foreseen", {"remaining_ms": 500, "typical_ms": 2000}),
    ]


async def test_a_throttled_attempt_is_an_error_of_the_attempt(scene: Scene) -> None:
    observation = scene.telemetry.observe(a_request())
    call = scene.call(observation, max_attempts=1)
    operation = answering(scene.clock, UpstreamThrottled(target=ALPHA.name, status=429))
    with pytest.raises(Exception, match="all targets failed"):
        await scene.chain(ALPHA).execute(operation, call)
    observation.finish(Outcome.ERROR, AllTargetsFailed())
    assert _attributes(scene.spans()["chat small"])["error.type"] == "throttled"


async def test_a_breakers_change_shows_in_the_call_that_caused_it(
    scene: Scene,
) -> None:
    breaker = Breaker(
        ALPHA.name, BreakerConfig(), scene.clock, listener=scene.telemetry.listener
    )
    breaker.force(BreakerState.DISABLED)  # in no call: shows in no span
    observation = scene.telemetry.observe(a_request())
    breaker.force(BreakerState.FORCED_OPEN)
    observation.finish(Outcome.SUCCESS)
    events = scene.spans()["gateway.chain"].events
    assert [event.name for event in events] == ["breaker.state_changed"]
    assert dict(events[0].attributes or {})["to"] == "forced_open"


async def test_log_lines_name_the_trace_and_the_attempts_span(scene: Scene) -> None:
    await _fallen_back(scene)
    answered = scene.spans()["chat Qwen/Qwen3-8B"]
    assert answered.context is not None
    lines = scene.lines("llm_call")
    assert {line["trace_id"] for line in lines} == {TRACE}
    assert lines[1]["span_id"] == f"{answered.context.span_id:016x}"
    assert scene.lines("fallback")[0]["trace_id"] == TRACE


async def test_the_end_of_a_call_gives_the_span_back_to_its_request(
    scene: Scene,
) -> None:
    server = scene.tracing.start_server("POST", PATH, None)
    observation = scene.telemetry.observe(a_request())
    assert current_span() is not server.span
    observation.finish(Outcome.SUCCESS)
    assert current_span() is server.span
    server.end(200)
    server.end(500)  # the first time counts
    assert current_span() is None
    assert scene.spans()[f"POST {PATH}"].status.status_code is StatusCode.UNSET


@pytest.mark.parametrize(
    ("status", "code"), [(200, "UNSET"), (429, "UNSET"), (502, "ERROR")]
)
def test_only_the_gateways_own_failures_are_errors_of_the_request(
    scene: Scene, status: int, code: str
) -> None:
    scene.tracing.start_server("POST", PATH, None).end(status, "some_code")
    span = scene.spans()[f"POST {PATH}"]
    assert span.status.status_code.name == code
    assert _attributes(span) == {
        "http.request.method": "POST",
        "http.route": PATH,
        "url.path": PATH,
        "http.response.status_code": status,
        "error.type": "some_code",
    }


def test_paths_that_are_no_endpoint_of_ours_are_not_traced(scene: Scene) -> None:
    scene.tracing.start_server("GET", "/metrics", SAMPLED).end(200)
    scene.tracing.start_server("GET", "/v1/chat/completions/../x", None).end(404)
    assert current_span() is None
    assert scene.spans() == {}


def test_the_spans_name_the_service_and_its_environment(scene: Scene) -> None:
    scene.tracing.start_server("POST", PATH, None).end(200)
    resource = scene.spans()[f"POST {PATH}"].resource.attributes
    assert resource["service.name"] == "breakwater"
    assert resource["deployment.environment.name"] == "test"


async def test_a_secret_in_metadata_does_not_reach_a_span(scene: Scene) -> None:
    request = a_request(metadata={"userId": "sk-abcdef123456", "feature": "x" * 5000})
    scene.telemetry.observe(request).finish(Outcome.SUCCESS)
    attributes = _attributes(scene.spans()["gateway.chain"])
    assert attributes["langfuse.user.id"] == "[redacted]"
    assert len(str(attributes["langfuse.trace.metadata.feature"])) == 1024


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "nonsense",
        f"ff-{TRACE}-{PARENT}-01",
        f"00-{'0' * 32}-{PARENT}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE}-{PARENT}-01-more",
        f"00-{TRACE.upper()}-{PARENT}-01",
        f"00-{TRACE}-{PARENT}-01\r\nx: y",
    ],
)
def test_a_traceparent_that_is_not_valid_is_passed_over(header: str | None) -> None:
    assert parse_traceparent(header) is None


@pytest.mark.parametrize("header", [SAMPLED, f"  {SAMPLED} ", f"01-{SAMPLED[3:]}-more"])
def test_a_valid_traceparent_is_understood(header: str) -> None:
    span = parse_traceparent(header)
    assert span is not None
    assert f"{span.get_span_context().trace_id:032x}" == TRACE


def test_an_endpoint_is_a_base_url_or_the_whole_one() -> None:
    langfuse = "https://langfuse.test/api/public/otel"
    assert traces_url(langfuse) == f"{langfuse}/v1/traces"
    assert traces_url(f"{langfuse}/") == f"{langfuse}/v1/traces"
    assert traces_url(f"{langfuse}/v1/traces") == f"{langfuse}/v1/traces"
