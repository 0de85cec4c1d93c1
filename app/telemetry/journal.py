"""The journal of one call: its chain span, its attempts' spans and log lines.

Rule: an attempt is written down once, when nothing more can be learned about it: a
failure before its first token at once, any other when the call ends, since its usage
may become known after its stream. Works the same without tracing, only with no spans.
"""

import logging
import time
from dataclasses import dataclass

from opentelemetry.trace import Span, SpanKind, StatusCode

from app.domain import ChatRequest, Usage
from app.errors import UpstreamError
from app.telemetry import spans
from app.telemetry.correlation import bind_span, current_span, trace_fields
from app.telemetry.labels import CANCELLED, Outcome, TargetName
from app.telemetry.logging import LlmCallFields, Logger, log_llm_call
from app.telemetry.metrics import Metrics
from app.telemetry.redaction import redact_text
from app.telemetry.tracing import Tracing, build_traceparent, parse_traceparent
from resilience.call import Attempt
from resilience.events import (
    AttemptSettled,
    AttemptStarted,
    Event,
    FallbackSelected,
    HedgeWon,
)

_HTTP_OK = 200


@dataclass(slots=True)
class Entry:
    """What is known of one attempt."""

    attempt: Attempt
    target: TargetName
    started_ns: int
    span: Span | None
    settled: AttemptSettled | None = None
    usage: Usage | None = None
    cost_usd: float | None = None
    response_id: str | None = None
    response_model: str | None = None
    finish_reason: str | None = None
    written: bool = False

    @property
    def reason(self) -> str | None:
        """Why it failed; None if it did not. One that never settled was cut off."""
        if self.settled is None:
            return CANCELLED
        verdict = self.settled.verdict
        return None if verdict is None else verdict.reason

    @property
    def status(self) -> str:
        """How it ended, in a word."""
        reason = self.reason
        if reason is None:
            return "success"
        return "cancelled" if reason == CANCELLED else "error"


class Journal:
    """What one call did, in order; a listener of the call's events."""

    def __init__(
        self, request: ChatRequest, metrics: Metrics, tracing: Tracing, logger: Logger
    ) -> None:
        self._request = request
        self._metrics = metrics
        self._tracing = tracing
        self._logger = logger
        self._server: Span | None = None
        self.chain: Span | None = None
        self.entries: list[Entry] = []
        self.fallback = False
        """Whether it went past its first choice: no chain ever goes back to it."""

    def begin(self, policy: str, deadline_s: float | None) -> None:
        """Start the chain's span, below the request's, and bind it to this task."""
        if not self._tracing.enabled:
            return
        self._server = current_span()
        parent = self._server or parse_traceparent(self._request.traceparent)
        if self._server is not None and not self._server.is_recording():
            self.chain = self._server  # not sampled: nothing to describe
            return
        self.chain = self._tracing.start(
            "gateway.chain",
            parent,
            SpanKind.INTERNAL,
            spans.chain_attributes(self._request, policy, deadline_s),
        )
        bind_span(self.chain)

    def on_event(self, event: Event) -> None:
        """Write an event of the call down."""
        match event:
            case AttemptStarted(attempt):
                self._start(attempt)
            case AttemptSettled(attempt):
                self._settle(event)
            case FallbackSelected() | HedgeWon():
                self.fallback = True
        chain = self.chain
        if chain is not None and chain.is_recording():
            named = spans.span_event(event)
            if named is not None:
                chain.add_event(*named)

    def entry(self, attempt: Attempt) -> Entry | None:
        """Return the entry of `attempt`."""
        number = attempt.number
        return self.entries[number - 1] if 0 < number <= len(self.entries) else None

    def traceparent(self, attempt: Attempt) -> str | None:
        """Return the header that continues the trace upstream; None without one."""
        entry = self.entry(attempt)
        span = (entry.span if entry is not None else None) or self.chain
        return None if span is None else build_traceparent(span)

    def end(self, outcome: Outcome, code: str | None) -> None:
        """Write down what is open, and end the chain's span."""
        for entry in self.entries:
            self._write(entry)
            entry.settled = None  # its error holds frames that hold this journal
        chain, self.chain = self.chain, None
        if chain is None or chain is self._server:
            return
        if chain.is_recording():
            chain.set_attribute("llm_gateway.attempts", len(self.entries))
            chain.set_attribute("llm_gateway.fallback", self.fallback)
            if outcome is Outcome.CANCELLED:
                chain.set_attribute("error.type", CANCELLED)
            elif code is not None:
                chain.set_attribute("error.type", code)
            if outcome in (Outcome.ERROR, Outcome.REJECTED):
                chain.set_status(StatusCode.ERROR)
        chain.end()
        bind_span(self._server)

    def upstream_s(self, now_s: float) -> float:
        """Return for how many seconds at least one attempt was under way."""
        total_s, until_s = 0.0, float("-inf")
        for entry in self.entries:
            attempt = entry.attempt
            ended_s = now_s if attempt.ended_at_s is None else attempt.ended_at_s
            started_s = max(attempt.started_at_s, until_s)
            total_s += max(0.0, ended_s - started_s)
            until_s = max(until_s, ended_s)
        return total_s

    def _start(self, attempt: Attempt) -> None:
        target = self._metrics.target(attempt.target)
        started_ns, chain = time.time_ns(), self.chain
        span = None
        if chain is not None and chain.is_recording():
            span = self._tracing.start(
                f"chat {target.model}",
                chain,
                SpanKind.CLIENT,
                spans.attempt_attributes(self._request, target, attempt),
                started_ns,
            )
        self.entries.append(Entry(attempt, target, started_ns, span))

    def _settle(self, event: AttemptSettled) -> None:
        entry = self.entry(event.attempt)
        if entry is None:
            return
        entry.settled = event
        if event.verdict is not None and event.attempt.first_token_at_s is None:
            self._write(entry)

    def _write(self, entry: Entry) -> None:
        if entry.written:
            return
        entry.written = True
        if entry.span is not None:
            _end_span(entry, entry.span)
        if self._logger.is_enabled_for(logging.INFO):
            log_llm_call(
                self._logger,
                _fields(self._request, entry),
                **trace_fields(entry.span or self.chain),
            )


def _end_span(entry: Entry, span: Span) -> None:
    attempt, reason = entry.attempt, entry.reason
    if span.is_recording():
        attributes = spans.first_token_attributes(attempt, entry.started_ns)
        if entry.usage is not None:
            attributes |= spans.usage_attributes(entry.usage, entry.cost_usd)
        if entry.response_id:
            attributes["gen_ai.response.id"] = redact_text(entry.response_id)
        if entry.response_model:
            attributes["gen_ai.response.model"] = redact_text(entry.response_model)
        if entry.finish_reason:
            attributes["gen_ai.response.finish_reasons"] = (
                redact_text(entry.finish_reason),
            )
        if reason is not None:
            attributes["error.type"] = reason
        span.set_attributes(attributes)
        if reason not in (None, CANCELLED):
            span.set_status(StatusCode.ERROR, reason)
    duration_s = attempt.duration_s
    if duration_s is None:
        span.end()
    else:
        span.end(entry.started_ns + round(duration_s * 1e9))


def _fields(request: ChatRequest, entry: Entry) -> LlmCallFields:
    attempt, usage = entry.attempt, entry.usage
    return {
        "project": spans.project_of(request),
        "feature": request.metadata.get("feature"),
        "userId": request.metadata.get("userId"),
        "provider": entry.target.provider,
        "model": entry.target.model,
        "requestedModel": request.route,
        "attempt": attempt.number,
        "kind": attempt.kind,
        "stream": request.stream,
        "status": entry.status,
        "errorType": entry.reason,
        "httpStatus": _http_status(entry),
        "latencyMs": _ms(attempt.duration_s),
        "ttftMs": _ms(attempt.first_token_s),
        "inputTokens": None if usage is None else usage.input_tokens,
        "outputTokens": None if usage is None else usage.output_tokens,
        "costUsd": entry.cost_usd,
        "finishReason": entry.finish_reason,
    }


def _http_status(entry: Entry) -> int | None:
    settled = entry.settled
    if entry.attempt.first_token_at_s is not None:
        return _HTTP_OK  # content came, whatever became of it
    if settled is not None and isinstance(settled.error, UpstreamError):
        return settled.error.status
    return None


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1000, 3)
