"""One call under observation: what is counted and written when it has ended."""

import asyncio
from typing import get_type_hints

import pytest

from app.domain import Usage
from app.errors import (
    AllTargetsFailed,
    ContextTooLong,
    Draining,
    InvalidRequest,
    QuotaExceeded,
    RateLimited,
    UpstreamUnavailable,
)
from app.telemetry import Outcome, outcome_of
from app.telemetry.logging import LlmCallFields
from resilience.call import Call
from resilience.errors import FirstTokenTimeout, IdleTimeout
from tests.app.telemetry.scene import ALPHA, BETA, Scene, a_request, answering

LLM_CALL = (
    "project, feature, userId, provider, model, requestedModel, attempt, kind, "
    "stream, status, errorType, httpStatus, latencyMs, ttftMs, inputTokens, "
    "outputTokens, costUsd, finishReason"
)


@pytest.fixture
def scene() -> Scene:
    return Scene(traced=False)


async def _fallen_back(scene: Scene) -> None:
    """A call that alpha fails and beta answers."""
    metadata = {"project": "search", "feature": "ask", "userId": "u-1"}
    observation = scene.telemetry.observe(a_request(metadata=metadata))
    call = scene.call(observation)
    operation = answering(scene.clock, FirstTokenTimeout(10), "an answer")
    await scene.chain(ALPHA, BETA).execute(operation, call)
    assert call.attempt is not None
    call.attempt.tokens = 40
    scene.clock.advance(2.0)
    await call.close()
    observation.usage(call.attempt, Usage(12, 40), 0.001)
    observation.answered(call.attempt, finish_reason="stop")
    scene.clock.advance(0.02)
    observation.finish(Outcome.SUCCESS)
    observation.finish(Outcome.ERROR, RuntimeError())  # too late to count


async def test_a_call_is_counted_once_with_its_fallback_and_its_overhead(
    scene: Scene,
) -> None:
    await _fallen_back(scene)
    labels = {"route": "chat", "outcome": "success", "fallback": "true"}
    assert scene.value("requests_total", **labels) == 1
    labels = {"route": "chat", "stream": "true", "outcome": "success"}
    duration_s = scene.value("request_duration_seconds_sum", **labels)
    assert duration_s == pytest.approx(3.02)
    overhead_s = scene.value("overhead_seconds_sum", route="chat")
    assert overhead_s == pytest.approx(0.02)
    assert scene.value("requests_in_flight", route="chat") == 0
    labels = {"provider": "beta", "model": "Qwen/Qwen3-8B", "project": "team-a"}
    assert scene.value("output_tokens_total", **labels) == 40


async def test_each_attempt_has_one_line_with_the_fields_of_the_design(
    scene: Scene,
) -> None:
    await _fallen_back(scene)
    assert ", ".join(get_type_hints(LlmCallFields)) == LLM_CALL
    failed, answered = scene.lines("llm_call")
    for line in (failed, answered):
        assert set(LLM_CALL.split(", ")) <= line.keys()
        assert (line["project"], line["feature"], line["userId"]) == (
            "search",
            "ask",
            "u-1",
        )
    assert (failed["provider"], failed["attempt"], failed["kind"]) == (
        "alpha",
        1,
        "primary",
    )
    assert (failed["status"], failed["errorType"]) == ("error", "first_token_timeout")
    assert (failed["latencyMs"], failed["ttftMs"]) == (500.0, None)
    assert (answered["model"], answered["requestedModel"]) == ("Qwen/Qwen3-8B", "chat")
    assert (answered["kind"], answered["status"]) == ("fallback", "success")
    assert (answered["latencyMs"], answered["ttftMs"]) == (2500.0, 500.0)
    assert (answered["inputTokens"], answered["outputTokens"]) == (12, 40)
    assert (answered["costUsd"], answered["finishReason"]) == (0.001, "stop")
    assert answered["httpStatus"] == 200
    assert "trace_id" not in answered


async def test_a_failed_attempt_is_written_down_while_the_call_goes_on(
    scene: Scene,
) -> None:
    observation = scene.telemetry.observe(a_request())
    call = scene.call(observation)
    written: list[int] = []

    async def operation(call: Call) -> str:
        written.append(len(scene.lines("llm_call")))
        if call.target == ALPHA.name:
            raise UpstreamUnavailable(target=ALPHA.name, status=502)
        return "an answer"

    await scene.chain(ALPHA, BETA).execute(operation, call)
    assert written == [0, 1, 2]
    assert scene.lines("llm_call")[0]["httpStatus"] == 502
    await call.close()
    observation.finish(Outcome.SUCCESS)
    assert len(scene.lines("llm_call")) == 3


async def test_an_attempt_that_was_cut_off_is_cancelled(scene: Scene) -> None:
    observation = scene.telemetry.observe(a_request())
    call = scene.call(observation)
    call.target = ALPHA.name
    call.begin_attempt()
    observation.finish(Outcome.CANCELLED, asyncio.CancelledError())
    line = scene.lines("llm_call")[0]
    assert (line["status"], line["errorType"]) == ("cancelled", "cancelled")
    labels = {"route": "chat", "outcome": "cancelled", "fallback": "false"}
    assert scene.value("requests_total", **labels) == 1
    assert scene.value("errors_total", code="internal_error") == 0


def test_a_failed_call_counts_the_code_its_client_was_told(scene: Scene) -> None:
    for error, code in (
        (AllTargetsFailed(), "all_targets_failed"),
        (IdleTimeout(15), "stream_broken"),
        (UpstreamUnavailable(), "stream_broken"),
        (ContextTooLong(), "context_length_exceeded"),
        (ZeroDivisionError(), "internal_error"),
    ):
        before = scene.value("errors_total", code=code)
        observation = scene.telemetry.observe(a_request())
        observation.finish(outcome_of(error), error)
        assert scene.value("errors_total", code=code) == (before or 0) + 1


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (None, "success"),
        (GeneratorExit(), "cancelled"),
        (Draining(), "rejected"),
        (InvalidRequest(), "client_error"),
        (RateLimited(), "client_error"),
        (QuotaExceeded(), "client_error"),
        (ContextTooLong(), "client_error"),
        (AllTargetsFailed(), "error"),
        (IdleTimeout(1), "error"),
        (ZeroDivisionError(), "error"),
    ],
)
def test_an_error_decides_how_a_call_is_counted(
    error: BaseException | None, outcome: str
) -> None:
    assert outcome_of(error) == outcome


def test_a_request_refused_before_it_was_a_call_is_counted_too(scene: Scene) -> None:
    scene.telemetry.record_refusal(RateLimited(), route="chat", project="team-a")
    scene.telemetry.record_refusal(InvalidRequest())
    labels = {"outcome": "client_error", "fallback": "false"}
    assert scene.value("requests_total", route="chat", **labels) == 1
    assert scene.value("requests_total", route="other", **labels) == 1
    assert scene.value("errors_total", code="rate_limit_exceeded") == 1
    labels = {"scope": "requests", "project": "team-a"}
    assert scene.value("rate_limited_total", **labels) == 1
    assert scene.value("requests_in_flight", route="chat") == 0


def test_a_call_for_an_unknown_route_is_counted_as_other(scene: Scene) -> None:
    scene.telemetry.observe(a_request(route="made-up")).finish(Outcome.SUCCESS)
    labels = {"route": "other", "outcome": "success", "fallback": "false"}
    assert scene.value("requests_total", **labels) == 1


def test_overlapping_attempts_are_upstream_time_once(scene: Scene) -> None:
    observation = scene.telemetry.observe(a_request())
    call = scene.call(observation)
    first = call.begin_attempt()
    scene.clock.advance(1.0)
    second = call.begin_attempt()
    scene.clock.advance(1.0)
    first.ended_at_s = scene.clock.now()
    scene.clock.advance(1.0)
    second.ended_at_s = scene.clock.now()
    scene.clock.advance(0.25)
    observation.finish(Outcome.SUCCESS)
    overhead_s = scene.value("overhead_seconds_sum", route="chat")
    assert overhead_s == pytest.approx(0.25)


def test_an_attempt_nobody_heard_of_changes_nothing(scene: Scene) -> None:
    observed = scene.telemetry.observe(a_request())
    stranger = scene.call(scene.telemetry.observe(a_request())).begin_attempt()
    observed.usage(stranger, Usage(1, 1), None)
    observed.answered(stranger, finish_reason="stop")
    assert observed.traceparent(stranger) is None
    observed.finish(Outcome.SUCCESS)
    assert scene.lines("llm_call") == []
