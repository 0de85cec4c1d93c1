"""Cancels a request whose client has left.

ASGI tells of a disconnect only to who asks. Once a request's body has been read, this
keeps asking, and cancels the request's task when the client is gone: whatever it waits
for (a slot, a retry, a provider's first token, its next one) ends at once.
"""

import asyncio

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_WATCHED = "/v1/"


class ClientGone:
    """See the module."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, for as long as there is somebody to serve."""
        if scope["type"] != "http" or not scope["path"].startswith(_WATCHED):
            await self._app(scope, receive, send)
            return
        task = asyncio.current_task()
        assert task is not None, "ASGI applications run in a task"  # noqa: S101 - an invariant of the server, stated for the type checker
        watch = _Watch(receive, task)
        try:
            await self._app(scope, watch.receive, send)
        except asyncio.CancelledError:
            if not watch.gone or task.uncancel() > 0:
                raise
        except ClientDisconnect:
            pass  # it left before its request was complete
        finally:
            watch.stop()


class _Watch:
    """Stands between the application and the server's `receive`."""

    def __init__(self, receive: Receive, owner: asyncio.Task[object]) -> None:
        self._receive = receive
        self._owner = owner
        self._listening: asyncio.Task[Message] | None = None
        self.gone = False

    async def receive(self) -> Message:
        """Pass a message on; after the last of the body, listen for the farewell."""
        if self._listening is not None:
            return await asyncio.shield(self._listening)
        message = await self._receive()
        if message["type"] == "http.request" and not message.get("more_body"):
            self._listening = asyncio.create_task(self._listen())
        return message

    def stop(self) -> None:
        """Stop listening."""
        if self._listening is not None:
            self._listening.cancel()

    async def _listen(self) -> Message:
        message = await self._receive()
        if message["type"] == "http.disconnect":
            self.gone = True
            self._owner.cancel()
        return message
