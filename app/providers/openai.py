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
_OUR_CREDENTIAL = frozenset({401, 402, 403})  # 402: its account has no balance left
_OUT_OF_QUOTA = frozenset({"insufficient_quota", "billing_hard_limit_reached"})
_RATE_LIMITED = "rate_limit_exceeded"
_REFUSALS: Mapping[str | None, type[UpstreamRefused]] = {
    "context_length_exceeded": ContextTooLong,
    "content_filter": ContentFiltered,
    "content_policy_violation": ContentFiltered,
}
_MAX_PASSED_MESSAGE = 2000
_SURELY_SHALLOW = 200
"""With no more brackets than this, nothing is nested deeper than can be sent on."""


class OpenAIProvider:
    """See the module."""

    def build_chat(
        self, body: Mapping[str, Any], *, model: str, api_key: str | None, stream: bool
    ) -> Prepared:
        """Return the request; usage is always asked for, for the accounting."""
        sent = {**body, "model": model, "stream": stream}
        if stream:
            options = body.get("stream_options")
            kept = options if isinstance(options, dict) else {}
            sent["stream_options"] = {**kept, "include_usage": True}
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
        parsed = _load(data, otherwise=StreamBroken)
        choices = _choices(parsed)
        chunk = Chunk(raw, parsed)
        chunk.usage = _parse_usage(parsed.get("usage"))
        chunk.usage_only = chunk.usage is not None and not choices
        for choice in choices:
            _read_choice(choice, chunk)
        return chunk

    def parse_answer(self, body: bytes) -> Answer:
        """Return a complete answer."""
        parsed = _load(body, otherwise=UpstreamGarbled)
        choices = _choices(parsed)
        if not choices:
            raise UpstreamGarbled(detail="the answer has no choices")
        finish = choices[0].get("finish_reason")
        return Answer(
            parsed,
            _parse_usage(parsed.get("usage")),
            finish if isinstance(finish, str) else None,
        )

    def parse_error(
        self, status: int, headers: Mapping[str, str], body: bytes, *, target: str
    ) -> UpstreamError:
        """Return the domain error for `status` and the body's structured code."""
        return _domain_error(
            _told(_json_or_none(body)),
            status,
            otherwise=UpstreamUnavailable,
            target=target,
            retry_after_s=parse_retry_after_s(headers),
        )


def _dump(body: dict[str, Any]) -> bytes:
    try:
        return orjson.dumps(body)
    except orjson.JSONEncodeError:
        raise InvalidRequest("The request body is too deeply nested.") from None


def _load(data: bytes, *, otherwise: type[UpstreamError]) -> dict[str, Any]:
    """Return the JSON object in `data`, of an answer with status 200.

    Raises:
        UpstreamGarbled: it is none.
        UpstreamError: it tells of an error; `otherwise` if its code is not known.
    """
    try:
        parsed = orjson.loads(data)
    except orjson.JSONDecodeError:
        raise UpstreamGarbled(detail="what came is not JSON") from None
    if not isinstance(parsed, dict):
        raise UpstreamGarbled(detail="what came is not a JSON object")
    if data.count(b"{") + data.count(b"[") > _SURELY_SHALLOW:
        _require_shallow(parsed)
    error = parsed.get("error")
    if error:
        told = _told(error)
        raise _domain_error(told, told["status"], otherwise=otherwise)
    return parsed


def _require_shallow(parsed: dict[str, Any]) -> None:
    """Refuse what could be read but not written again."""
    try:
        orjson.dumps(parsed)
    except orjson.JSONEncodeError:
        raise UpstreamGarbled(detail="what came is too deeply nested") from None


def _choices(parsed: dict[str, Any]) -> list[dict[str, Any]]:
    choices = parsed.get("choices")
    if not isinstance(choices, list):
        raise UpstreamGarbled(detail="there are no choices")
    if not all(isinstance(choice, dict) for choice in choices):
        raise UpstreamGarbled(detail="a choice is not an object")
    return choices


def _domain_error(
    told: dict[str, Any],
    status: int | None,
    *,
    otherwise: type[UpstreamError],
    target: str = "",
    retry_after_s: float | None = None,
) -> UpstreamError:
    """Return the error for an HTTP status, if there is one, and a structured code."""
    code = told["code"]
    detail = f"status {status}, code {code}: {told['message']}"
    if status in _OUR_CREDENTIAL or code in _OUT_OF_QUOTA:
        return UpstreamAuthFailed(target=target, status=status, detail=detail)
    refusal = _REFUSALS.get(code)
    if refusal is None and _blames_the_request(status):
        refusal = UpstreamRefused
    if refusal is not None:
        return refusal(
            told["message"],
            target=target,
            status=status,
            upstream_code=code,
            param=told["param"],
            detail=detail,
        )
    kind = otherwise
    if status == 429 or code == _RATE_LIMITED:
        kind = UpstreamThrottled
    elif status in (503, 529):
        kind = UpstreamOverloaded
    return kind(
        target=target, status=status, retry_after_s=retry_after_s, detail=detail
    )


def _blames_the_request(status: int | None) -> bool:
    """408 and 409 are about the moment, 429 about the rate."""
    return status is not None and 400 <= status < 500 and status not in (408, 409, 429)


def _read_choice(choice: dict[str, Any], chunk: Chunk) -> None:
    index = choice.get("index") or 0
    if type(index) is not int:
        raise UpstreamGarbled(detail="the index of a choice is not an integer")
    reason = choice.get("finish_reason")
    if reason:
        if not isinstance(reason, str):
            raise UpstreamGarbled(detail="a finish reason is not a text")
        chunk.finished = (*chunk.finished, index)
        chunk.finish_reason = reason
    delta = choice.get("delta")
    if delta and _has_content(delta):
        chunk.tokens += 1


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
    """Return code, message and param of an error object, each a text or None.

    Some providers send a plain text instead of an object, and some (vLLM, OpenRouter)
    the HTTP status as code: that is `status`.
    """
    fields = error if isinstance(error, dict) else {"message": error}
    told: dict[str, Any] = {}
    for name in ("code", "message", "param"):
        value = fields.get(name)
        told[name] = value[:_MAX_PASSED_MESSAGE] if isinstance(value, str) else None
    status = fields.get("code")
    is_status = isinstance(status, int) and 400 <= status < 600
    told["status"] = status if is_status else None
    return told


def _parse_usage(usage: Any) -> Usage | None:
    if not usage or not isinstance(usage, dict):
        return None
    return Usage(
        input_tokens=_count(usage, "prompt_tokens"),
        output_tokens=_count(usage, "completion_tokens"),
        cached_tokens=_count(usage.get("prompt_tokens_details"), "cached_tokens"),
        reasoning_tokens=_count(
            usage.get("completion_tokens_details"), "reasoning_tokens"
        ),
    )


def _count(fields: Any, name: str) -> int:
    value = fields.get(name) if isinstance(fields, dict) else None
    return value if type(value) is int and value > 0 else 0
