"""Which request and which span the running task works for.

Rule: context variables only: set where a request enters, read by whoever writes a log
line or reports a change of shared state. Nothing else travels this way.
"""

from contextvars import ContextVar, Token

from opentelemetry.trace import Span

_request_id: ContextVar[str | None] = ContextVar("request_id", default=None)
_span: ContextVar[Span | None] = ContextVar("span", default=None)


def bind_request(request_id: str) -> Token[str | None]:
    """Name the request that this task, and those it starts, work for."""
    return _request_id.set(request_id)


def release_request(token: Token[str | None]) -> None:
    """Undo `bind_request`, in the same context."""
    _request_id.reset(token)


def current_request_id() -> str | None:
    """Return the id of the request that this task works for."""
    return _request_id.get()


def bind_span(span: Span | None) -> None:
    """Name the span that this task, and those it starts, work for."""
    _span.set(span)


def current_span() -> Span | None:
    """Return the span that this task works for; None when there is no trace."""
    return _span.get()


def trace_fields(span: Span | None) -> dict[str, str]:
    """Return `trace_id` and `span_id` of `span` for a log line."""
    if span is None:
        return {}
    context = span.get_span_context()
    if not context.is_valid:
        return {}
    return {
        "trace_id": f"{context.trace_id:032x}",
        "span_id": f"{context.span_id:016x}",
    }
