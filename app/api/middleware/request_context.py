"""Gives every request its id, its access line, and an answer even to a bug of ours.

The outermost middleware: what it sees is what the client sees. The line is written
when the last byte has been sent, so that a stream's line tells how it ended.
"""

import re
import secrets
import time
from collections.abc import Iterable

import orjson
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.api.error_answers import count_refusal
from app.api.error_table import error_body, error_headers, status_of
from app.errors import AppError, HeadersTooLarge, InternalError
from app.telemetry import Telemetry
from app.telemetry.correlation import bind_request, release_request
from app.telemetry.logging import get_logger, log_access

_SANE = re.compile(rb"[A-Za-z0-9._:-]{1,128}")
_QUIET = frozenset({"/livez", "/readyz", "/metrics"})
_MAX_HEADERS_BYTES = 64 * 1024
_CLIENT_CLOSED = 499
"""As nginx logs a client that left before its answer was complete."""


class RequestContext:
    """See the module."""

    def __init__(self, app: ASGIApp, telemetry: Telemetry) -> None:
        self._app = app
        self._telemetry = telemetry

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = _request_id(scope)
        scope["request_id"] = request_id
        answer = _Answer(send, request_id)
        token = bind_request(request_id)
        span = self._telemetry.tracing.start_server(
            scope["method"], scope["path"], _header(scope, b"traceparent")
        )
        started_s = time.perf_counter()
        try:
            if _are_too_large(scope["headers"]):
                await self._refuse(scope, answer, HeadersTooLarge())
            else:
                await self._app(scope, receive, answer.send)
        except Exception:  # whatever it is, the client gets an answer
            get_logger().exception("unexpected error", path=scope["path"])
            if not answer.status:  # else it is left incomplete
                await self._refuse(scope, answer, InternalError())
        finally:
            status = answer.status if answer.complete else _CLIENT_CLOSED
            _log(scope, status, answer.sent_bytes, time.perf_counter() - started_s)
            span.end(status)
            release_request(token)

    async def _refuse(self, scope: Scope, answer: "_Answer", exc: AppError) -> None:
        count_refusal(self._telemetry, scope, exc)
        await answer.refuse(exc)


class _Answer:
    """Watches what is sent, and puts the request's id on it."""

    def __init__(self, send: Send, request_id: str) -> None:
        self._send = send
        self._request_id = request_id
        self.status = 0
        self.sent_bytes = 0
        self.complete = False

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = [
                *message["headers"],
                (b"x-request-id", self._request_id.encode()),
            ]
            message = {**message, "headers": headers}
        elif message["type"] == "http.response.body":
            self.sent_bytes += len(message.get("body", b""))
            self.complete = not message.get("more_body", False)
        await self._send(message)

    async def refuse(self, exc: AppError) -> None:
        """Answer with `exc`."""
        body = orjson.dumps(error_body(exc, self._request_id))
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", str(len(body)).encode()),
            *(
                (name.encode(), value.encode())
                for name, value in error_headers(exc).items()
            ),
        ]
        await self.send(
            {
                "type": "http.response.start",
                "status": status_of(exc),
                "headers": headers,
            }
        )
        await self.send({"type": "http.response.body", "body": body})


def _are_too_large(headers: Iterable[tuple[bytes, bytes]]) -> bool:
    size = sum(len(name) + len(value) for name, value in headers)
    return size > _MAX_HEADERS_BYTES


def _request_id(scope: Scope) -> str:
    for name, value in scope["headers"]:
        if name == b"x-request-id" and _SANE.fullmatch(value):
            return str(value.decode("ascii"))
    return f"req_{secrets.token_hex(12)}"


def _header(scope: Scope, name: bytes) -> str | None:
    found = next((value for key, value in scope["headers"] if key == name), None)
    return None if found is None else found.decode("latin-1")


def _log(scope: Scope, status: int, sent_bytes: int, latency_s: float) -> None:
    if scope["path"] in _QUIET:
        return
    log_access(
        get_logger(),
        method=scope["method"],
        path=scope["path"],
        status=status,
        latency_s=latency_s,
        sent_bytes=sent_bytes,
    )
