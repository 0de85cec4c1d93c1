"""What the spans of a call say: names, attributes and events.

Rule: pure; values in, attributes out. Attributes come from the request's parameters,
never from its content, and usage stands on attempts only: a tracing backend that sums
over a trace would count a second mention twice. Names after OpenTelemetry's semantic
conventions for generative AI, and Langfuse's OTLP mapping.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import orjson
from opentelemetry.util.types import AttributeValue

from app.domain import ChatRequest, Usage
from app.telemetry.labels import TargetName
from resilience.call import Attempt
from resilience.events import (
    BreakerRejected,
    BulkheadRejected,
    DeadlineForeseen,
    Event,
    FallbackSelected,
    HedgeCancelled,
    HedgeLost,
    HedgeStarted,
    HedgeWon,
    RetryBudgetExhausted,
    RetryScheduled,
    TargetSkipped,
)

type Attributes = dict[str, AttributeValue]

_INTEGERS = {
    "max_tokens": "max_tokens",
    "max_completion_tokens": "max_tokens",
    "seed": "seed",
}
_NUMBERS = ("temperature", "top_p")
_SKIP_EVENTS = {
    "breaker_open": "breaker.rejected",
    "bulkhead_full": "bulkhead.rejected",
}
_INT64 = 1 << 63


def trace_attributes(request: ChatRequest) -> Attributes:
    """Return whom and what a call was for, as Langfuse reads it."""
    metadata = request.metadata
    attributes: Attributes = {
        "langfuse.trace.metadata.requestId": request.request_id,
        "langfuse.trace.metadata.project": project_of(request),
        "langfuse.trace.tags": (f"route:{request.route}",),
    }
    if feature := metadata.get("feature"):
        attributes["langfuse.trace.metadata.feature"] = feature
    if user := metadata.get("userId"):
        attributes["langfuse.user.id"] = user
    return attributes


def project_of(request: ChatRequest) -> str:
    """Return the project named by the client, else its key's."""
    return request.metadata.get("project") or request.client.project


def chain_attributes(
    request: ChatRequest, policy: str, deadline_s: float | None
) -> Attributes:
    """Return what is known of a call before its first attempt."""
    attributes: Attributes = {
        "langfuse.observation.type": "chain",
        "llm_gateway.route": request.route,
        **trace_attributes(request),
    }
    if policy:
        attributes["llm_gateway.policy"] = policy
    if deadline_s is not None:
        attributes["llm_gateway.deadline_ms"] = round(deadline_s * 1000)
    return attributes


def attempt_attributes(
    request: ChatRequest, target: TargetName, attempt: Attempt
) -> Attributes:
    """Return what is known of an attempt when it is sent."""
    attributes: Attributes = {
        "langfuse.observation.type": "generation",
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": target.provider,
        "gen_ai.request.model": target.model,
        "gen_ai.request.stream": request.stream,
        "llm_gateway.attempt.number": attempt.number,
        "llm_gateway.attempt.kind": str(attempt.kind),
        **_parameters(request.body),
        **trace_attributes(request),
    }
    if target.address:
        attributes["server.address"] = target.address
    if target.port:
        attributes["server.port"] = target.port
    return attributes


def usage_attributes(usage: Usage, cost_usd: float | None) -> Attributes:
    """Return tokens and cost of an attempt.

    Langfuse adds the parts of `usage_details` up, so subsets are taken out of the
    figures they belong to.
    """
    details = {
        "input": usage.input_tokens - usage.cached_tokens,
        "input_cached_tokens": usage.cached_tokens,
        "output": usage.output_tokens - usage.reasoning_tokens,
        "output_reasoning_tokens": usage.reasoning_tokens,
        "total": usage.input_tokens + usage.output_tokens,
    }
    attributes: Attributes = {
        "gen_ai.usage.input_tokens": usage.input_tokens,
        "gen_ai.usage.output_tokens": usage.output_tokens,
        "langfuse.observation.usage_details": _json(details),
    }
    if cost_usd is not None:
        attributes["langfuse.observation.cost_details"] = _json({"total": cost_usd})
    return attributes


def first_token_attributes(attempt: Attempt, started_ns: int) -> Attributes:
    """Return when the first content came, as a JSON string (Langfuse parses it)."""
    if attempt.first_token_s is None:
        return {}
    at = datetime.fromtimestamp(started_ns / 1e9 + attempt.first_token_s, UTC)
    return {"langfuse.observation.completion_start_time": _json(at.isoformat())}


def span_event(event: Event) -> tuple[str, Attributes] | None:
    """Return the chain span's event for what happened to the call, if it has one."""
    match event:
        case RetryScheduled(target, _, delay_s, reason):
            delay_ms = round(delay_s * 1000)
            return "retry.scheduled", {
                "target": target,
                "delay_ms": delay_ms,
                "reason": reason,
            }
        case RetryBudgetExhausted(target, reason):
            return "retry.budget_exhausted", {"target": target, "reason": reason}
        case FallbackSelected(before, after, reason):
            return "fallback.selected", {"from": before, "to": after, "reason": reason}
        case BreakerRejected(target, state):
            return "breaker.rejected", {"target": target, "state": str(state)}
        case BulkheadRejected(target, queued, _):
            return "bulkhead.rejected", {"target": target, "queued": queued}
        case TargetSkipped(target, reason) if reason in _SKIP_EVENTS:
            return _SKIP_EVENTS[reason], {"target": target}
        case DeadlineForeseen(remaining_s, typical_s):
            return "deadline.foreseen", {
                "remaining_ms": round(remaining_s * 1000),
                "typical_ms": round(typical_s * 1000),
            }
        case _:
            return _hedge_event(event)


def _hedge_event(event: Event) -> tuple[str, Attributes] | None:
    match event:
        case HedgeStarted(target, hedge_target, after_s):
            after_ms = round(after_s * 1000)
            return "hedge.started", {
                **_hedged(target, hedge_target),
                "after_ms": after_ms,
            }
        case HedgeWon(target, hedge_target):
            return "hedge.won", _hedged(target, hedge_target)
        case HedgeLost(target, hedge_target, reason):
            return "hedge.lost", {**_hedged(target, hedge_target), "reason": reason}
        case HedgeCancelled(target, hedge_target):
            return "hedge.cancelled", _hedged(target, hedge_target)
        case _:
            return None


def _hedged(target: str, hedge_target: str) -> Attributes:
    return {"target": target, "hedge_target": hedge_target}


def _parameters(body: Mapping[str, Any]) -> Attributes:
    """Return the sampling parameters that have the type they should have."""
    attributes: Attributes = {}
    for name, attribute in _INTEGERS.items():
        value = body.get(name)
        if type(value) is int and -_INT64 <= value < _INT64:
            attributes[f"gen_ai.request.{attribute}"] = value
    for name in _NUMBERS:
        value = body.get(name)
        if isinstance(value, int | float) and not isinstance(value, bool):
            attributes[f"gen_ai.request.{name}"] = float(value)
    return attributes


def _json(value: object) -> str:
    return orjson.dumps(value).decode()
