"""The OpenAI dialect: OpenAI itself, vLLM, and every compatible service.

Rule: fields pass through untouched, unknown ones too; only `model`, `stream` and
`stream_options` are set. Reference: OpenAI API reference, "Chat Completions" and
"Streaming"; error codes from its "Error codes" guide.
"""

from collections.abc import Mapping
from typing import Any

import orjson

from app.domain import Chunk, Usage
from app.errors import (
    ContentFiltered,
    ContextTooLong,
    InvalidRequest,
    StreamBroken,
    UpstreamAuthFailed,
    UpstreamError,
    UpstreamGarbled,
    UpstreamOverloaded,
    UpstreamRefused,
    UpstreamThrottled,
    UpstreamUnavailable,
)
from app.providers.protocol import Answer, Prepared
from app.providers.retry_after import parse_retry_after_s

_CHAT_PATH = "/chat/completions"
_DONE = b"[DONE]"
_CONTENT_FIELDS = (
    "content",
    "tool_calls",
    "function_call",
    "refusal",
    "reasoning_content",
    "reasoning",
    "audio",
)
_OUT_OF_QUOTA = frozenset({"insufficient_quota", "billing_hard_limit_reached"})
_CONTENT_CODES = frozenset({"content_filter", "content_policy_violation"})
_MAX_PASSED_MESSAGE = 2000


class OpenAIProvider:
    """See the module."""

    def build_chat(
        self, body: Mapping[str, Any], *, model: str, api_key: str | None, stream: bool
    ) -> Prepared:
        """Return the request; usage is always asked for, for the accounting."""
        sent = {**body, "model": model, "stream": stream}
        if stream:
            options = body.get("stream_options") or {}
            sent["stream_options"] = {**options, "include_usage": True}
        else:
            sent.pop("stream_options", None)
        headers = [
            ("content-type", "application/json"),
            ("accept", "text/event-stream" if stream else "application/json"),
        ]
        if api_key is not None:
            headers.append(("authorization", f"Bearer {api_key}"))
        return Prepared(_CHAT_PATH, tuple(headers), _dump(sent))

    def parse_event(self, raw: bytes, data: bytes | None) -> Chunk:
        """Return what one event means."""
        if data is None:
            return Chunk(raw)
        if data == _DONE:
            return Chunk(raw, done=True)
        parsed = _parse_object(data)
        choices = parsed.get("choices")
        if not isinstance(choices, list):
            raise UpstreamGarbled(detail="an event has no choices")
        chunk = Chunk(raw, parsed)
        usage = parsed.get("usage")
        if usage:
            chunk.usage = _parse_usage(usage)
            chunk.usage_only = not choices
        for choice in choices:
            _read_choice(choice, chunk)
        return chunk

    def parse_answer(self, body: bytes) -> Answer:
        """Return a complete answer."""
        try:
            parsed = orjson.loads(body)
        except orjson.JSONDecodeError:
            raise UpstreamGarbled(detail="the answer is not JSON") from None
        if not isinstance(parsed, dict):
            raise UpstreamGarbled(detail="the answer is not a JSON object")
        if parsed.get("error"):
            message = _told(parsed["error"])["message"]
            raise UpstreamGarbled(detail=f"an error with status 200: {message}")
        choices = parsed.get("choices")
        if not isinstance(choices, list) or not choices:
            raise UpstreamGarbled(detail="the answer has no choices")
        first = choices[0]
        finish = first.get("finish_reason") if isinstance(first, dict) else None
        usage = parsed.get("usage")
        return Answer(parsed, _parse_usage(usage) if usage else None, finish)

    def parse_error(
        self, status: int, headers: Mapping[str, str], body: bytes, *, target: str
    ) -> UpstreamError:
        """Return the domain error for `status` and the body's structured code."""
        told = _told(_json_or_none(body))
        retry_after_s = parse_retry_after_s(headers)
        detail = f"status {status}, code {told['code']}: {told['message']}"
        code = told["code"]
        if status in (401, 403) or code in _OUT_OF_QUOTA:
            return UpstreamAuthFailed(target=target, status=status, detail=detail)
        if status == 429:
            return UpstreamThrottled(
                target=target, status=status, retry_after_s=retry_after_s, detail=detail
            )
        if status in (503, 529):
            return UpstreamOverloaded(
                target=target, status=status, retry_after_s=retry_after_s, detail=detail
            )
        if 400 <= status < 500 and status not in (408, 409):
            return _refusal(told, target=target, status=status, detail=detail)
        return UpstreamUnavailable(
            target=target, status=status, retry_after_s=retry_after_s, detail=detail
        )


def _dump(body: dict[str, Any]) -> bytes:
    try:
        return orjson.dumps(body)
    except orjson.JSONEncodeError:
        raise InvalidRequest("The request body is too deeply nested.") from None


def _parse_object(data: bytes) -> dict[str, Any]:
    try:
        parsed = orjson.loads(data)
    except orjson.JSONDecodeError:
        raise UpstreamGarbled(detail="an event is not JSON") from None
    if not isinstance(parsed, dict):
        raise UpstreamGarbled(detail="an event is not a JSON object")
    if parsed.get("error"):
        raise _error_frame(_told(parsed["error"]))
    return parsed


def _error_frame(told: dict[str, Any]) -> UpstreamError:
    """Return the domain error of an error inside a stream with status 200."""
    code, message = told["code"], told["message"]
    detail = f"error frame, code {code}: {message}"
    if code == ContextTooLong.code:
        return ContextTooLong(message, upstream_code=code, detail=detail)
    if code in _CONTENT_CODES:
        return ContentFiltered(message, upstream_code=code, detail=detail)
    return StreamBroken(detail=detail)


def _read_choice(choice: Any, chunk: Chunk) -> None:
    if not isinstance(choice, dict):
        raise UpstreamGarbled(detail="a choice is not an object")
    if choice.get("finish_reason"):
        chunk.finished += 1
        chunk.finish_reason = choice["finish_reason"]
    delta = choice.get("delta")
    if delta and _has_content(delta):
        chunk.tokens += 1


def _refusal(
    told: dict[str, Any], *, target: str, status: int, detail: str
) -> UpstreamRefused:
    """Return the provider's own refusal of the request, to be passed on."""
    code = told["code"]
    kind = UpstreamRefused
    if code == ContextTooLong.code:
        kind = ContextTooLong
    elif code in _CONTENT_CODES:
        kind = ContentFiltered
    return kind(
        told["message"],
        target=target,
        status=status,
        upstream_code=code,
        param=told["param"],
        detail=detail,
    )


def _has_content(delta: Any) -> bool:
    if not isinstance(delta, dict):
        raise UpstreamGarbled(detail="a delta is not an object")
    return any(delta.get(name) for name in _CONTENT_FIELDS)


def _json_or_none(body: bytes) -> Any:
    try:
        parsed = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    return parsed.get("error", parsed) if isinstance(parsed, dict) else None


def _told(error: Any) -> dict[str, Any]:
    """Return code, message and param of an error object, each a string or None."""
    fields = error if isinstance(error, dict) else {}
    told: dict[str, Any] = {}
    for name in ("code", "message", "param"):
        value = fields.get(name)
        told[name] = value[:_MAX_PASSED_MESSAGE] if isinstance(value, str) else None
    return told


def _parse_usage(usage: Any) -> Usage | None:
    if not isinstance(usage, dict):
        return None
    prompt = usage.get("prompt_tokens_details") or {}
    completion = usage.get("completion_tokens_details") or {}
    return Usage(
        input_tokens=_count(usage, "prompt_tokens"),
        output_tokens=_count(usage, "completion_tokens"),
        cached_tokens=_count(prompt, "cached_tokens"),
        reasoning_tokens=_count(completion, "reasoning_tokens"),
    )


def _count(fields: Any, name: str) -> int:
    value = fields.get(name) if isinstance(fields, dict) else None
    return value if isinstance(value, int) and value > 0 else 0
