"""The HTTP status of every domain error, and the body that carries it.

Rule: the only place that knows status codes. A subclass without a row is a bug that a
test finds.
"""

import math
from typing import Any

import orjson

from app import errors
from app.errors import AppError, UpstreamRefused

STATUS: dict[type[AppError], int] = {
    errors.InvalidRequest: 400,
    errors.Unauthenticated: 401,
    errors.ModelNotAllowed: 403,
    errors.ModelNotFound: 404,
    errors.NotFound: 404,
    errors.MethodNotAllowed: 405,
    errors.PayloadTooLarge: 413,
    errors.HeadersTooLarge: 431,
    errors.RateLimited: 429,
    errors.QuotaExceeded: 429,
    errors.UpstreamUnavailable: 502,
    errors.UpstreamOverloaded: 503,
    errors.UpstreamGarbled: 502,
    errors.StreamBroken: 502,
    errors.UpstreamThrottled: 429,
    errors.UpstreamAuthFailed: 502,
    errors.UpstreamPoolFull: 503,
    errors.UpstreamRefused: 400,
    errors.ContextTooLong: 400,
    errors.ContentFiltered: 400,
    errors.Overloaded: 503,
    errors.Draining: 503,
    errors.DeadlineExceeded: 504,
    errors.AllTargetsFailed: 502,
    errors.AllTargetsRefused: 503,
    errors.AllTargetsThrottled: 429,
    errors.StoreUnavailable: 503,
    errors.EmbeddedStoreMissing: 500,
    errors.InternalError: 500,
}

_ASK_AGAIN = frozenset({429, 503})
_DEFAULT_RETRY_AFTER_S = 1.0


def status_of(exc: AppError) -> int:
    """Return the HTTP status of `exc`; a provider's own refusal keeps its status."""
    if isinstance(exc, UpstreamRefused) and exc.status and 400 <= exc.status < 500:
        return exc.status
    return STATUS[type(exc)]


def error_body(exc: AppError, request_id: str) -> dict[str, Any]:
    """Return the JSON body that tells the client of `exc`."""
    return {
        "error": {
            "code": exc.public_code,
            "message": exc.public_message,
            "type": exc.type,
            "param": exc.param,
            "requestId": request_id,
        }
    }


def error_headers(exc: AppError) -> dict[str, str]:
    """Return the headers that tell whether and when to ask again."""
    headers: dict[str, str] = {}
    if exc.should_retry is not None:
        headers["x-should-retry"] = str(exc.should_retry).lower()
    if status_of(exc) in _ASK_AGAIN:
        after_s = exc.retry_after_s
        if after_s is None:
            after_s = _DEFAULT_RETRY_AFTER_S
        headers["retry-after"] = str(max(1, math.ceil(after_s)))
        headers["retry-after-ms"] = str(max(1, math.ceil(after_s * 1000)))
    return headers


def broken_stream_event(exc: errors.StreamBroken, request_id: str) -> bytes:
    """Return the event that ends a broken stream; no `[DONE]` follows it."""
    body = error_body(exc, request_id)
    body["error"] |= {"retryable": True, "usage": exc.usage}
    return b"data: " + orjson.dumps(body) + b"\n\n"
