"""What the gateway tells about what it did: metrics, log lines, and its own state."""

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from prometheus_client.openmetrics.parser import (
    text_string_to_metric_families as parse_openmetrics,
)

from loadtest.provider import Fault, StandIn
from tests.support.configs import QUICK, gateway_yaml
from tests.support.gateway import RunningGateway
from tests.support.keys import KEY
from tests.support.metrics import Samples

PROMPT = "a-prompt-that-is-nobodys-business"
METADATA = {"feature": "search", "userId": "josé", "project": "p"}
BREAKER = {"consecutive": 3, "open_s": 30}
PRICES = {"alpha/m": {"input": 1, "output": 2}, "beta/m": {"input": 3, "output": 4}}


@pytest.fixture
async def alpha() -> AsyncIterator[StandIn]:
    async with StandIn("alpha", tokens=5) as provider:
        yield provider


@pytest.fixture
async def beta() -> AsyncIterator[StandIn]:
    async with StandIn("beta", tokens=5) as provider:
        yield provider


@pytest.fixture
async def gateway(alpha: StandIn, beta: StandIn) -> AsyncIterator[RunningGateway]:
    config = gateway_yaml(
        {"alpha": alpha.base_url, "beta": beta.base_url},
        {
            "chat": ["alpha/m", "beta/m"],
            "silent": ["alpha/fault.silence", "beta/m"],
            "lone": ["beta/fault.reset"],
            "cut": ["beta/fault.cut?after_tokens=2"],
            "refused": ["beta/fault.status?code=400"],
        },
        policy={**QUICK, "breaker": BREAKER},
        prices=PRICES,
        telemetry={"logs": {"level": "debug"}},
    )
    async with RunningGateway(config) as running:
        yield running


async def test_the_counts_are_those_of_what_happened(
    gateway: RunningGateway, alpha: StandIn
) -> None:
    await gateway.chat("chat")
    await gateway.chat("chat", stream=True)
    alpha.fault = Fault("status", code=500, times=1)
    await gateway.chat("chat")  # mended by a retry
    alpha.fault = Fault("status", code=503, times=1)
    await gateway.chat("chat", stream=True)  # answered by beta
    await gateway.chat("silent")  # answered by beta
    await gateway.chat("lone")  # three sends, all reset: the breaker opens
    await gateway.chat("lone")  # never sent
    await gateway.chat("cut", stream=True)  # broken after the commit point
    await gateway.chat("refused")  # the provider refuses the request
    await gateway.chat("nope")
    await gateway.post(b"{")
    await gateway.post(b"{}", key=None)
    await gateway.get("/v1/models/nope")
    await gateway.get("/nowhere")

    told = await gateway.metrics()

    assert told.nonzero("requests_total", "route", "outcome", "fallback") == {
        ("chat", "success", "false"): 3,
        ("chat", "success", "true"): 1,
        ("silent", "success", "true"): 1,
        ("lone", "error", "false"): 2,
        ("cut", "error", "false"): 1,
        ("refused", "client_error", "false"): 1,
        ("other", "client_error", "false"): 4,
    }
    assert told.nonzero("errors_total", "code") == {
        ("all_targets_failed",): 2,
        ("stream_broken",): 1,
        ("model_not_found",): 2,
        ("invalid_request",): 2,
        ("invalid_api_key",): 1,
        ("not_found",): 1,
    }
    assert _attempts(told) == {
        ("alpha", "m", "primary", "success", "none"): 2,
        ("alpha", "m", "primary", "failure", "unavailable"): 1,
        ("alpha", "m", "retry", "success", "none"): 1,
        ("alpha", "m", "primary", "failure", "overloaded"): 1,
        ("beta", "m", "fallback", "success", "none"): 2,
        ("alpha", "fault.silence", "primary", "failure", "first_token_timeout"): 1,
        ("beta", "fault.reset", "primary", "failure", "unavailable"): 1,
        ("beta", "fault.reset", "retry", "failure", "unavailable"): 2,
        ("beta", "fault.cut?after_tokens=2", "primary", "failure", "stream_broken"): 1,
        ("beta", "fault.status?code=400", "primary", "neutral", "refused"): 1,
    }
    assert told.nonzero(
        "fallbacks_total", "route", "from_provider", "to_provider", "reason"
    ) == {
        ("chat", "alpha", "beta", "overloaded"): 1,
        ("silent", "alpha", "beta", "first_token_timeout"): 1,
    }
    assert told.nonzero("retries_total", "provider", "reason") == {
        ("alpha", "unavailable"): 1,
        ("beta", "unavailable"): 2,
    }
    assert told.nonzero("timeouts_total", "provider", "phase") == {
        ("alpha", "first_token"): 1
    }
    assert told.total("streams_broken_total", provider="beta") == 1
    assert told.total("circuit_breaker_not_permitted_total", provider="beta") == 1
    assert told.total("circuit_breaker_transitions_total", to="open") == 1
    assert _open_breakers(told) == {("beta", "fault.reset")}
    assert told.total("output_tokens_total", provider="alpha") == 3 * 5
    assert told.total("output_tokens_total", provider="beta") == 2 * 5
    assert told.total("cost_usd_total", provider="beta") > 0
    assert told.total("requests_in_flight") == 0
    assert told.total("bulkhead_in_use") == 0
    assert told.total("request_duration_seconds_count", route="chat") == 4


def _attempts(told: Samples) -> dict[tuple[str, ...], float]:
    labels = ("provider", "model", "kind", "outcome", "error_type")
    return told.nonzero("attempts_total", *labels)


def _open_breakers(told: Samples) -> set[tuple[str, ...]]:
    states = told.nonzero("circuit_breaker_state", "state", "provider", "model")
    return {(provider, model) for state, provider, model in states if state == "open"}


async def test_the_exposition_is_valid_in_both_formats_and_needs_no_key(
    gateway: RunningGateway,
) -> None:
    await gateway.chat("chat", stream=True)

    plain = await gateway.http.get("/metrics")
    accept = "application/openmetrics-text; version=1.0.0"
    open_metrics = await gateway.http.get("/metrics", headers={"accept": accept})

    assert plain.headers["content-type"].startswith("text/plain")
    assert "llm_gateway_requests_total" in Samples(plain.content).names
    kind = open_metrics.headers["content-type"]
    assert kind.startswith("application/openmetrics-text")
    families = {family.name for family in parse_openmetrics(open_metrics.text)}  # type: ignore[no-untyped-call] # ships no types
    assert "llm_gateway_requests" in families


async def test_what_a_client_or_a_key_says_never_becomes_a_label(
    gateway: RunningGateway,
) -> None:
    await gateway.chat("made-up-model", user="somebody")

    exposition = (await gateway.get("/metrics")).body.data

    for word in (b"made-up-model", b"somebody", KEY.encode(), b"req_"):
        assert word not in exposition


async def test_liveness_and_readiness_ask_nobody(
    gateway: RunningGateway, alpha: StandIn, beta: StandIn
) -> None:
    await alpha.stop()
    await beta.stop()

    live = await gateway.get("/livez", key=None)
    ready = await gateway.get("/readyz", key=None)

    assert (live.status, live.json) == (200, {"status": "alive"})
    assert (ready.status, ready.json) == (200, {"status": "ready"})


async def test_a_gateway_that_drains_is_not_ready_and_refuses_new_calls(
    gateway: RunningGateway, alpha: StandIn
) -> None:
    gateway.core.draining = True

    ready = await gateway.get("/readyz")
    live = await gateway.get("/livez")
    refused = await gateway.chat("chat")

    assert (ready.status, ready.json) == (503, {"status": "draining"})
    assert live.status == 200
    assert (refused.status, refused.error["code"]) == (503, "draining")
    assert refused.headers["retry-after"] == "1"
    assert "x-should-retry" not in refused.headers
    assert alpha.log == []
    told = await gateway.metrics()
    assert told.total("requests_total", outcome="rejected") == 1


async def test_every_line_is_json_and_names_the_request_and_none_tells_its_content(
    gateway: RunningGateway,
    alpha: StandIn,
    capsysbinary: pytest.CaptureFixture[bytes],
) -> None:
    capsysbinary.readouterr()
    alpha.fault = Fault("status", code=500, times=2)
    headers = {"x-gateway-metadata": json.dumps(METADATA, ensure_ascii=False)}
    messages = [{"role": "user", "content": PROMPT}]
    fell_back = await gateway.post(
        {"model": "chat", "stream": True, "messages": messages},
        headers={name: value.encode() for name, value in headers.items()},  # type: ignore[misc] # bytes, for what is not ASCII
    )
    whole = await gateway.chat("chat")
    denied = await gateway.post(b"{}", key="bw-wrong-key-wrong-key")
    await gateway.quiet()

    out = capsysbinary.readouterr().out
    lines: list[dict[str, Any]] = [json.loads(line) for line in out.splitlines()]
    for line in lines:
        assert list(line)[:4] == ["timestamp", "level", "message", "requestId"]
        assert line["service"] == "breakwater"
    for secret in (KEY, "bw-wrong-key", PROMPT, "alpha-0", "beta-0"):
        assert secret.encode() not in out

    access = {line["requestId"]: line for line in lines if line["message"] == "access"}
    for answer in (fell_back, whole, denied):
        line = access[answer.request_id]
        assert line["status"] == answer.status
        assert line["path"] == "/v1/chat/completions"
        assert line["sentBytes"] == len(answer.body.data)
    calls = [line for line in lines if line["message"] == "llm_call"]
    of_fallback = [line for line in calls if line["requestId"] == fell_back.request_id]
    assert [
        (line["provider"], line["attempt"], line["kind"], line["status"])
        for line in of_fallback
    ] == [
        ("alpha", 1, "primary", "error"),
        ("alpha", 2, "retry", "error"),
        ("beta", 3, "fallback", "success"),
    ]
    last = of_fallback[-1]
    assert (last["feature"], last["userId"]) == ("search", "josé")
    assert (last["requestedModel"], last["stream"]) == ("chat", True)
    assert (last["outputTokens"], last["finishReason"]) == (5, "stop")
    assert last["costUsd"] > 0
    assert last["ttftMs"] <= last["latencyMs"]
    of_request = [
        line["message"] for line in lines if line["requestId"] == fell_back.request_id
    ]
    assert {"retry", "fallback", "llm_call", "access"} <= {*of_request}


async def test_questions_of_probes_are_not_logged(
    gateway: RunningGateway, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    capsysbinary.readouterr()
    for path in ("/livez", "/readyz", "/metrics"):
        await gateway.get(path)

    assert b'"access"' not in capsysbinary.readouterr().out
