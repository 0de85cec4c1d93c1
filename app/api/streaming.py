"""Sends a reply's events to the client, and ends a broken stream honestly.

Rule: `200` means that content follows, and a clean end means that the answer is
complete: a stream that broke ends with a typed error event and without `[DONE]`. The
reply is closed on every path, and nothing is read ahead of the client; one that does
not read holds the reply until the call's deadline and no longer.
"""

import asyncio
from collections.abc import Mapping
from contextlib import aclosing

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from app.api.error_table import broken_stream_event
from app.errors import StreamBroken
from app.gateway.reply import Reply

_GRACE_S = 1.0
"""How long after the deadline the client may still take the event that tells of it."""


class EventStream(Response):
    """A streamed reply."""

    media_type = "text/event-stream"

    def __init__(self, reply: Reply, request_id: str, headers: Mapping[str, str]):
        super().__init__(headers={"cache-control": "no-cache", **headers})
        del self.headers["content-length"]
        self._reply = reply
        self._request_id = request_id

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send headers and events until the reply ends, or the client goes."""
        limit_s = self._reply.remaining_s + _GRACE_S
        try:
            async with asyncio.timeout(limit_s) as limit:
                await self._deliver(send)
        except TimeoutError:
            if not limit.expired():
                raise
            # A client that takes nothing cannot be told so: it is cut off.

    async def _deliver(self, send: Send) -> None:
        try:
            await send(
                {
                    "type": "http.response.start",
                    "status": self.status_code,
                    "headers": self.raw_headers,
                }
            )
            async with aclosing(self._reply.events()) as events:
                async for event in events:
                    await send(_piece(event))
        except StreamBroken as exc:
            await send(_piece(broken_stream_event(exc, self._request_id)))
        except BaseException as exc:  # cancelled too: the reply holds leases
            await self._reply.close(exc)  # events() may not have been started
            raise
        await send({"type": "http.response.body", "body": b"", "more_body": False})


def _piece(body: bytes) -> dict[str, object]:
    return {"type": "http.response.body", "body": body, "more_body": True}
