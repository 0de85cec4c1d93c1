"""Reads and checks a chat completion request.

Rule: the JSON is parsed once and stays as it came; only the fields that the gateway
itself acts on are checked, and an error names the field. Everything else is the
provider's to judge.
"""

import math
from typing import Any

import orjson
from fastapi import Request

from app.domain import ChatRequest, Client
from app.errors import InvalidRequest, PayloadTooLarge

_METADATA_FIELDS = ("project", "feature", "userId")
_MAX_METADATA_CHARS = 200


async def read_body(request: Request, max_bytes: int) -> bytes:
    """Return the body of `request`.

    Raises:
        PayloadTooLarge: it is, or says it is, longer than `max_bytes`.
    """
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > max_bytes:
        raise _too_large(max_bytes)
    pieces: list[bytes] = []
    size = 0
    async for piece in request.stream():
        size += len(piece)
        if size > max_bytes:
            raise _too_large(max_bytes)
        pieces.append(piece)
    return b"".join(pieces)


def parse_chat(raw: bytes, request: Request, client: Client) -> ChatRequest:
    """Return the chat request in `raw`.

    Raises:
        InvalidRequest: it is malformed; `param` names the field at fault.
    """
    body = _parse_object(raw)
    route = body.get("model")
    if not isinstance(route, str) or not route:
        raise _invalid("model", "must be a non-empty string")
    _check_messages(body.get("messages"))
    stream = _flag(body, "stream")
    options = _stream_options(body, stream=stream)
    _check_n(body.get("n"))
    return ChatRequest(
        request_id=request.scope["request_id"],
        client=client,
        route=route,
        body=body,
        stream=stream,
        include_usage=bool(options.get("include_usage")),
        timeout_s=_timeout_s(request),
        metadata=_metadata(body, request, client),
        traceparent=request.headers.get("traceparent"),
    )


def _parse_object(raw: bytes) -> dict[str, Any]:
    try:
        body = orjson.loads(raw)
    except orjson.JSONDecodeError as exc:
        raise InvalidRequest(f"The request body is not valid JSON: {exc}.") from None
    if not isinstance(body, dict):
        raise InvalidRequest("The request body must be a JSON object.")
    return body


def _check_messages(messages: Any) -> None:
    if not isinstance(messages, list) or not messages:
        raise _invalid("messages", "must be a non-empty list")
    for index, message in enumerate(messages):
        if not isinstance(message, dict):
            raise _invalid(f"messages[{index}]", "must be an object")
        if not isinstance(message.get("role"), str):
            raise _invalid(f"messages[{index}].role", "must be a string")


def _flag(body: dict[str, Any], name: str) -> bool:
    value = body.get(name)
    if value is None:
        return False
    if not isinstance(value, bool):
        raise _invalid(name, "must be true or false")
    return value


def _stream_options(body: dict[str, Any], *, stream: bool) -> dict[str, Any]:
    options = body.get("stream_options")
    if options is None:
        return {}
    if not isinstance(options, dict):
        raise _invalid("stream_options", "must be an object")
    if not stream:
        raise _invalid("stream_options", "is only allowed when 'stream' is true")
    if not isinstance(options.get("include_usage"), bool | None):
        raise _invalid("stream_options.include_usage", "must be true or false")
    return options


def _check_n(value: Any) -> None:
    if value is None:
        return
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= 128:
        raise _invalid("n", "must be an integer from 1 to 128")


def _timeout_s(request: Request) -> float | None:
    given = request.headers.get("x-gateway-timeout-ms")
    if given is None:
        return None
    try:
        milliseconds = float(given)
    except ValueError:
        milliseconds = math.nan
    if not (math.isfinite(milliseconds) and milliseconds > 0):
        raise _invalid("x-gateway-timeout-ms", "must be a positive number")
    return milliseconds / 1000


def _metadata(body: dict[str, Any], request: Request, client: Client) -> dict[str, str]:
    """Return what the client tells about the request; unknown fields are dropped."""
    told = body.get("metadata")
    header = request.headers.get("x-gateway-metadata")
    if header is not None:
        try:
            told = orjson.loads(header.encode("latin-1"))  # as it came: UTF-8
        except orjson.JSONDecodeError:
            told = None
        if not isinstance(told, dict):
            raise _invalid("x-gateway-metadata", "must be a JSON object")
    metadata = {"project": client.project}
    if isinstance(told, dict):
        for name in _METADATA_FIELDS:
            value = told.get(name)
            if isinstance(value, str) and value:
                metadata[name] = value[:_MAX_METADATA_CHARS]
    return metadata


def _invalid(param: str, what: str) -> InvalidRequest:
    return InvalidRequest(f"'{param}' {what}.", param=param)


def _too_large(max_bytes: int) -> PayloadTooLarge:
    return PayloadTooLarge(f"The request body is larger than {max_bytes} bytes.")
