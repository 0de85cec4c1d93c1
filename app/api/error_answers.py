"""Answers every error of the domain, and of the framework, in the one form there is."""

import orjson
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from app.api.error_table import error_body, error_headers, status_of
from app.errors import (
    AppError,
    InternalError,
    InvalidRequest,
    MethodNotAllowed,
    NotFound,
    PayloadTooLarge,
)
from app.telemetry.logging import get_logger

_BODY_UNREAD = (PayloadTooLarge,)


def install(app: FastAPI) -> None:
    """Make `app` answer errors as `error_table` says."""

    def answer(request: Request, exc: AppError) -> Response:
        status = status_of(exc)
        request_id: str = request.scope["request_id"]
        get_logger().info(
            "request_failed",
            code=exc.public_code,
            status=status,
            errorType=type(exc).__name__,
            detail=exc.detail,
        )
        headers = error_headers(exc)
        if isinstance(exc, _BODY_UNREAD):
            headers["connection"] = "close"  # the rest of the body is not read
        body = orjson.dumps(error_body(exc, request_id))
        return Response(body, status, headers, media_type="application/json")

    async def domain(request: Request, exc: Exception) -> Response:
        return answer(request, exc if isinstance(exc, AppError) else InternalError())

    async def framework(request: Request, exc: Exception) -> Response:
        return answer(request, _as_domain(exc))

    app.add_exception_handler(AppError, domain)
    app.add_exception_handler(HTTPException, framework)
    app.add_exception_handler(RequestValidationError, framework)


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
