"""The way to providers: connections, their exact failures, and streams of events.

What the rest of the gateway uses is named here; httpx, aiohttp and the wire stay
inside. The layers, from the top: `transport` (httpx's contract, and the client that
speaks domain errors), `engine` (pool, phases, slots), `wire` (a connection),
`exchange` (a request and its response); beside them `sse` and the pure forms.
"""

from app.upstream.messages import ResponseHeaders, UpstreamRequest
from app.upstream.sse import Event, EventParser
from app.upstream.transport import (
    AiohttpTransport,
    Upstream,
    UpstreamResponse,
    tls_context,
)

__all__ = [
    "AiohttpTransport",
    "Event",
    "EventParser",
    "ResponseHeaders",
    "Upstream",
    "UpstreamRequest",
    "UpstreamResponse",
    "tls_context",
]
