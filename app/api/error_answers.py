"""Answers every error of the domain, and of the framework, in the one form there is.

Rule: an error is counted once, here unless it ended a call: calls count their own.
"""

import asyncio
from contextlib import suppress

import orjson
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from app.api.error_table import error_body, error_headers, status_of
from app.errors import (
    AppError,
    InternalError,
    InvalidRequest,
    MethodNotAllowed,
    NotFound,
    PayloadTooLarge,
)
from app.telemetry import Telemetry
from app.telemetry.logging import get_logger

_JSON = "application/json"
_LINGER_S = 5.0
_SILENCE_S = 0.5
"""For how long the rest of a refused body is read, and how long it may pause."""


def install(app: FastAPI, telemetry: Telemetry) -> None:
    """Make `app` answer errors as `error_table` says."""

    def answer(request: Request, exc: AppError) -> Response:
        status = status_of(exc)
        count_refusal(telemetry, request.scope, exc)
        request_id: str = request.scope["request_id"]
        get_logger().info(
            "request_failed",
            code=exc.public_code,
            status=status,
            errorType=type(exc).__name__,
            detail=exc.detail,
        )
        headers = error_headers(exc)
        body = orjson.dumps(error_body(exc, request_id))
        if isinstance(exc, PayloadTooLarge):
            headers["connection"] = "close"  # the rest of the body is not wanted
            if "expect" not in request.headers:  # asking for more would grant leave
                return _LastAnswer(body, status, headers, media_type=_JSON)
        return Response(body, status, headers, media_type=_JSON)

    async def domain(request: Request, exc: Exception) -> Response:
        return answer(request, exc if isinstance(exc, AppError) else InternalError())

    async def framework(request: Request, exc: Exception) -> Response:
        response = answer(request, _as_domain(exc))
        if isinstance(exc, HTTPException) and exc.headers:
            response.headers.update(exc.headers)
        return response

    app.add_exception_handler(AppError, domain)
    app.add_exception_handler(HTTPException, framework)
    app.add_exception_handler(RequestValidationError, framework)


def count_refusal(telemetry: Telemetry, scope: Scope, exc: AppError) -> None:
    """Count an error that is answered, unless it ended a call."""
    if scope.get("observed"):
        return
    if scope["path"].startswith("/v1/"):
        telemetry.record_refusal(exc)
    else:
        telemetry.metrics.record_error(exc.code)


class _LastAnswer(Response):
    """An answer to a body that is still being sent, and the last of its connection.

    A connection that is closed with unread bytes is reset, and a reset may overtake
    the answer. So what still comes is read and dropped for a while (as HTTP servers
    do under the name of lingering close), while the client has the answer already.
    """

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the answer, and close once the client has stopped sending."""
        await send(
            {
                "type": "http.response.start",
                "status": self.status_code,
                "headers": self.raw_headers,
            }
        )
        body = {"type": "http.response.body", "body": self.body, "more_body": True}
        await send(body)
        with suppress(TimeoutError):
            async with asyncio.timeout(_LINGER_S):
                while await _sends_more(receive):
                    pass
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _sends_more(receive: Receive) -> bool:
    async with asyncio.timeout(_SILENCE_S):
        message = await receive()
    return bool(message.get("more_body"))


def _as_domain(exc: Exception) -> AppError:
    if isinstance(exc, RequestValidationError):
        first = exc.errors()[0]
        name = str(first["loc"][-1])
        return InvalidRequest(f"'{name}': {first['msg']}.", param=name)
    status = exc.status_code if isinstance(exc, HTTPException) else 500
    if status == 404:
        return NotFound()
    if status == 405:
        return MethodNotAllowed()
    return InvalidRequest() if status < 500 else InternalError()
