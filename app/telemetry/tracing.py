"""The tracer: who is sampled, where spans go, and the span of an HTTP request.

Rule: spans are made by hand, few per request and none per chunk; without an endpoint
nothing is made at all. The provider is ours and never the process's global one; a
collector that is slow or gone costs dropped spans, which are counted, and never time
of a request. `traceparent` is the only context that goes upstream; baggage does not.
"""

import re
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanLimits, TracerProvider
from opentelemetry.sdk.trace.export import (
    BatchSpanProcessor,
    SpanExporter,
    SpanExportResult,
)
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from opentelemetry.trace import (
    NonRecordingSpan,
    Span,
    SpanContext,
    SpanKind,
    StatusCode,
    TraceFlags,
    Tracer,
    set_span_in_context,
)
from opentelemetry.util.types import AttributeValue

from app.telemetry.correlation import bind_span
from app.telemetry.redaction import redact_text

type Attributes = Mapping[str, AttributeValue]

_TRACEPARENT = re.compile(
    r"(?!ff)([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?"
)
_MAX_ATTRIBUTE_CHARS = 1024


class Tracing:
    """The tracer of one application.

    Args:
        exporter: where spans go; None switches tracing off.
        sample_ratio: share of traces begun here that are kept, 0 to 1; a trace that a
            client began keeps the client's decision.
        service, environment, version: what the spans say about this process.
        traced_paths: the endpoints whose requests get a span.
        on_dropped: told how many spans will never arrive; called in any thread.
        queue_size: how many ended spans may wait for the exporter.
        flush_every_s: how long an ended span waits at the most for a batch to fill.
    """

    def __init__(
        self,
        exporter: SpanExporter | None = None,
        *,
        sample_ratio: float = 1.0,
        service: str = "breakwater",
        environment: str = "development",
        version: str = "",
        traced_paths: Iterable[str] = ("/v1/chat/completions",),
        on_dropped: Callable[[int], None] = lambda spans: None,
        queue_size: int = 2048,
        flush_every_s: float = 5.0,
    ) -> None:
        self._paths = frozenset(traced_paths)
        self._provider: TracerProvider | None = None
        self._tracer: Tracer | None = None
        if exporter is None:
            return
        self._processor = _BoundedBatches(
            exporter, on_dropped, queue_size, flush_every_s
        )
        self._provider = TracerProvider(
            sampler=ParentBased(TraceIdRatioBased(sample_ratio)),
            resource=Resource(
                {
                    "service.name": service,
                    "service.version": version,
                    "deployment.environment.name": environment,
                }
            ),
            shutdown_on_exit=False,  # `shutdown` has a time limit, the SDK's has none
            span_limits=SpanLimits(max_span_attribute_length=_MAX_ATTRIBUTE_CHARS),
        )
        self._provider.add_span_processor(self._processor)
        self._tracer = self._provider.get_tracer("breakwater", version)

    @property
    def enabled(self) -> bool:
        """Whether any span is made."""
        return self._tracer is not None

    def start_server(
        self, method: str, path: str, traceparent: str | None
    ) -> "ServerSpan":
        """Start the span of an HTTP request and bind it to this task.

        It continues the trace that `traceparent` names, if that is a valid one.
        """
        if self._tracer is None or path not in self._paths:
            return ServerSpan(None)
        span = self.start(
            f"{method} {path}",
            parse_traceparent(traceparent),
            SpanKind.SERVER,
            {
                "http.request.method": method,
                "http.route": path,
                "url.path": path,
            },
        )
        bind_span(span)
        return ServerSpan(span)

    def start(
        self,
        name: str,
        parent: Span | None,
        kind: SpanKind,
        attributes: Attributes,
        start_ns: int | None = None,
    ) -> Span | None:
        """Start a span below `parent`; None when tracing is off."""
        if self._tracer is None:
            return None
        return self._tracer.start_span(
            name,
            set_span_in_context(parent or _NO_PARENT),
            kind,
            {key: _redacted(value) for key, value in attributes.items()},
            start_time=start_ns,
        )

    def shutdown(self, timeout_s: float) -> bool:
        """Send what waits and stop; blocks for `timeout_s` seconds at the most.

        Returns whether everything was sent or dropped in time. For a thread.
        """
        provider, self._provider, self._tracer = self._provider, None, None
        if provider is None:
            return True
        closing = threading.Thread(target=provider.shutdown, daemon=True)
        closing.start()
        closing.join(timeout_s)
        self._processor.abandon()
        return not closing.is_alive()


class ServerSpan:
    """The span of one HTTP request, from its arrival to the end of its stream."""

    __slots__ = ("span",)

    def __init__(self, span: Span | None) -> None:
        self.span = span

    def end(self, status: int, error_type: str | None = None) -> None:
        """End it; `error_type` is an error code of ours."""
        span, self.span = self.span, None
        if span is None:
            return
        if span.is_recording():
            span.set_attribute("http.response.status_code", status)
            if error_type is not None:
                span.set_attribute("error.type", error_type)
            if status >= 500:
                span.set_status(StatusCode.ERROR)
        span.end()
        bind_span(None)


def parse_traceparent(header: str | None) -> Span | None:
    """Return the remote span that a `traceparent` names; None if it is not valid.

    W3C Trace Context, level 2.
    """
    found = _TRACEPARENT.fullmatch(header.strip()) if header else None
    if found is None or (found[1] == "00" and found[5]):
        return None
    context = SpanContext(
        trace_id=int(found[2], 16),
        span_id=int(found[3], 16),
        is_remote=True,
        trace_flags=TraceFlags(int(found[4], 16)),
    )
    return NonRecordingSpan(context) if context.is_valid else None


def build_traceparent(span: Span) -> str:
    """Return the `traceparent` header that makes `span` the parent upstream."""
    context = span.get_span_context()
    sampled = int(context.trace_flags) & TraceFlags.SAMPLED
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{sampled:02x}"


def traces_url(endpoint: str) -> str:
    """Return where an OTLP/HTTP endpoint, given as its base URL, takes spans."""
    base = endpoint.rstrip("/")
    return base if base.endswith("/v1/traces") else f"{base}/v1/traces"


def otlp_exporter(
    endpoint: str, headers: Mapping[str, str] | None = None, timeout_s: float = 10.0
) -> SpanExporter:
    """Return an exporter that posts batches to `endpoint`, an OTLP/HTTP base URL."""
    return OTLPSpanExporter(
        endpoint=traces_url(endpoint), headers=dict(headers or {}), timeout=timeout_s
    )


_NO_PARENT = NonRecordingSpan(SpanContext(0, 0, is_remote=False))


def _redacted(value: AttributeValue) -> AttributeValue:
    return redact_text(value) if isinstance(value, str) else value


class _Counted(SpanExporter):
    """An exporter that counts what it was given and what it could not deliver."""

    def __init__(self, inner: SpanExporter, on_dropped: Callable[[int], None]) -> None:
        self._inner = inner
        self._on_dropped = on_dropped
        self.done = 0
        self.abandoned = False
        """Whether what is being exported has been counted as dropped already."""

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        result = SpanExportResult.FAILURE
        try:
            result = self._inner.export(spans)
        finally:
            self.done += len(spans)
            if result is not SpanExportResult.SUCCESS and not self.abandoned:
                self._on_dropped(len(spans))
        return result

    def shutdown(self) -> None:
        self._inner.shutdown()


class _BoundedBatches(BatchSpanProcessor):
    """The SDK's batches, refusing rather than silently displacing when full.

    `_accepted` is written where spans end, `done` by the exporting thread only, so
    that neither needs a lock.
    """

    def __init__(
        self,
        exporter: SpanExporter,
        on_dropped: Callable[[int], None],
        queue_size: int,
        flush_every_s: float,
    ) -> None:
        self._counted = _Counted(exporter, on_dropped)
        self._on_dropped = on_dropped
        self._queue_size = queue_size
        self._accepted = 0
        self._closed = False
        super().__init__(
            self._counted,
            max_queue_size=queue_size,
            schedule_delay_millis=flush_every_s * 1000,
            max_export_batch_size=min(512, queue_size),
        )

    def on_end(self, span: ReadableSpan) -> None:
        if self._closed or self._accepted - self._counted.done >= self._queue_size:
            self._on_dropped(1)
            return
        self._accepted += 1
        super().on_end(span)

    def abandon(self) -> None:
        """Count what still waits as dropped; nothing more is accepted."""
        self._closed = self._counted.abandoned = True
        left = self._accepted - self._counted.done
        if left > 0:
            self._on_dropped(left)
