"""The OpenAI dialect: chat completions, completions, embeddings, models, errors.

Field names and shapes follow OpenAI's API reference; only what a client library or
the gateway reads is rendered. Error codes are those OpenAI sends where it sends one.
"""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import orjson

from loadtest.provider.answers import Answer, Ask, Refusal, Refused
from loadtest.provider.dialects.embedding import unit_vector, vector_base64
from loadtest.provider.dialects.protocol import Endpoint, Frames

_DONE = b"data: [DONE]\n\n"
_SERVER_ERROR = "The server had an error while processing your request."

# status: (type, code, message)
_ERRORS: Mapping[int, tuple[str, str | None, str]] = {
    400: ("invalid_request_error", "invalid_value", "Invalid value in the request."),
    401: ("invalid_request_error", "invalid_api_key", "Incorrect API key provided."),
    403: (
        "request_forbidden",
        "unsupported_country_region_territory",
        "Country, region, or territory not supported.",
    ),
    404: ("invalid_request_error", "model_not_found", "The model does not exist."),
    413: ("invalid_request_error", "request_too_large", "The request is too large."),
    422: ("invalid_request_error", None, "The request could not be processed."),
    429: ("requests", "rate_limit_exceeded", "Rate limit reached for requests."),
    500: ("server_error", None, _SERVER_ERROR),
    502: ("server_error", None, "Bad gateway."),
    503: (
        "service_unavailable_error",
        "server_is_overloaded",
        "The server is overloaded or not ready yet.",
    ),
    504: ("server_error", None, "The request timed out at the server."),
    529: ("overloaded_error", "overloaded", "The service is overloaded."),
}
_KIND_OF_CODE = {"insufficient_quota": "insufficient_quota"}


def _error(refusal: Refusal) -> dict[str, Any]:
    client = 400 <= refusal.status < 500
    other = ("invalid_request_error" if client else "server_error", None, "Error.")
    kind, code, message = _ERRORS.get(refusal.status, other)
    if refusal.code is not None:
        code = refusal.code
        kind = _KIND_OF_CODE.get(code, kind)
    return {
        "error": {
            "message": refusal.message or message,
            "type": refusal.kind or kind,
            "param": refusal.param,
            "code": code,
        }
    }


def _bad(param: str, expected: str) -> Refused:
    message = f"Invalid value for '{param}': expected {expected}."
    return Refused(Refusal(400, message, "invalid_value", param=param))


def _missing(param: str) -> Refused:
    message = f"Missing required parameter: '{param}'."
    return Refused(Refusal(400, message, "missing_required_parameter", param=param))


def _model(body: dict[str, Any]) -> str:
    model = body.get("model")
    if model is None:
        raise _missing("model")
    if not isinstance(model, str) or not model:
        raise _bad("model", "a text")
    return model


def _limit(body: dict[str, Any]) -> int | None:
    for name in ("max_completion_tokens", "max_tokens"):
        limit = body.get(name)
        if limit is None:
            continue
        if isinstance(limit, bool) or not isinstance(limit, int) or limit < 1:
            raise _bad(name, "a whole number of at least 1")
        return limit
    return None


def _streaming(body: dict[str, Any]) -> tuple[bool, bool]:
    stream = body.get("stream") or False
    if not isinstance(stream, bool):
        raise _bad("stream", "a boolean")
    options = body.get("stream_options")
    if options is None:
        return stream, False
    if not isinstance(options, dict):
        raise _bad("stream_options", "an object")
    if not stream:
        raise _bad("stream_options", "no such option without 'stream'")
    return stream, options.get("include_usage") is True


def _generation(body: dict[str, Any], prompt_tokens: int) -> Ask:
    if body.get("n") not in (None, 1):
        raise _bad("n", "1: this stand-in gives one choice")
    stream, include_usage = _streaming(body)
    return Ask(
        model=_model(body),
        stream=stream,
        include_usage=include_usage,
        max_tokens=_limit(body),
        prompt_tokens=prompt_tokens,
    )


def _count_words(content: object) -> int:
    if isinstance(content, str):
        return len(content.split())
    if isinstance(content, list):
        return sum(_count_words(part) for part in content)
    if isinstance(content, dict):
        return _count_words(content.get("text"))
    return 0


def _usage(answer: Answer) -> dict[str, int]:
    asked, given = answer.ask.prompt_tokens, len(answer.words)
    return {
        "prompt_tokens": asked,
        "completion_tokens": given,
        "total_tokens": asked + given,
    }


@lru_cache(maxsize=8)
def _choices(words: tuple[str, ...], chat: bool) -> tuple[bytes, ...]:
    """The variable middle of each token's event, rendered once per text."""
    if chat:
        return tuple(orjson.dumps({"content": word}) for word in words)
    return tuple(orjson.dumps(word) for word in words)


class _Generation:
    """What chat completions and completions have in common: text, and its stream."""

    needs_body = True
    chat = True
    prefix = "chatcmpl"
    plain_object = "chat.completion"
    stream_object = "chat.completion.chunk"

    def read(self, body: dict[str, Any]) -> Ask:
        raise NotImplementedError

    def body(self, answer: Answer) -> bytes:
        document = self._envelope(answer, self.plain_object)
        document["choices"] = [self._choice(answer)]
        document["usage"] = _usage(answer)
        return orjson.dumps(document)

    def frames(self, answer: Answer) -> Frames:
        envelope = orjson.dumps(self._envelope(answer, self.stream_object))
        start = b"data: " + envelope[:-1] + b',"choices":['
        asked = answer.ask.include_usage
        end = b',"usage":null}\n\n' if asked else b"}\n\n"
        field = b'{"index":0,"delta":' if self.chat else b'{"index":0,"text":'
        before = start + field
        after = b',"logprobs":null,"finish_reason":null}]' + end
        finish = orjson.dumps(answer.finish)
        nothing = b"{}" if self.chat else b'""'
        usage = start + b'],"usage":' + orjson.dumps(_usage(answer)) + b"}\n\n"
        role = b'{"role":"assistant","content":"","refusal":null}'
        return Frames(
            opening=before + role + after if self.chat else b"",
            tokens=[
                before + middle + after for middle in _choices(answer.words, self.chat)
            ],
            finish=before
            + nothing
            + b',"logprobs":null,"finish_reason":'
            + finish
            + b"}]"
            + end,
            usage=usage if asked else b"",
            done=_DONE,
        )

    def _envelope(self, answer: Answer, kind: str) -> dict[str, Any]:
        return {
            "id": f"{self.prefix}-{answer.owner}-{answer.serial}",
            "object": kind,
            "created": answer.created_s,
            "model": answer.ask.model,
            "system_fingerprint": f"fp_{answer.owner}",
        }

    def _choice(self, answer: Answer) -> dict[str, Any]:
        raise NotImplementedError


class _Chat(_Generation):
    def read(self, body: dict[str, Any]) -> Ask:
        messages = body.get("messages")
        if messages is None:
            raise _missing("messages")
        if not isinstance(messages, list) or not messages:
            raise _bad("messages", "a list that is not empty")
        if not all(isinstance(message, dict) for message in messages):
            raise _bad("messages", "a list of objects")
        # Three tokens of framing per message: a plausible price, the same each time.
        prompt = sum(3 + _count_words(m.get("content")) for m in messages)
        return _generation(body, prompt)

    def _choice(self, answer: Answer) -> dict[str, Any]:
        message = {"role": "assistant", "content": answer.text, "refusal": None}
        return {
            "index": 0,
            "message": message,
            "logprobs": None,
            "finish_reason": answer.finish,
        }


class _Completions(_Generation):
    chat = False
    prefix = "cmpl"
    plain_object = "text_completion"
    stream_object = "text_completion"

    def read(self, body: dict[str, Any]) -> Ask:
        prompt = body.get("prompt")
        if prompt is None:
            raise _missing("prompt")
        return _generation(body, _count_words(prompt))

    def _choice(self, answer: Answer) -> dict[str, Any]:
        return {
            "index": 0,
            "text": answer.text,
            "logprobs": None,
            "finish_reason": answer.finish,
        }


class _Embeddings:
    needs_body = True

    def read(self, body: dict[str, Any]) -> Ask:
        encoding = body.get("encoding_format") or "float"
        if encoding not in ("float", "base64"):
            raise _bad("encoding_format", "float or base64")
        dimensions = body.get("dimensions") or 16
        if not isinstance(dimensions, int) or not 1 <= dimensions <= 4096:
            raise _bad("dimensions", "a whole number from 1 to 4096")
        inputs = _inputs(body.get("input"))
        return Ask(
            model=_model(body),
            prompt_tokens=sum(len(text.split()) for text in inputs),
            inputs=inputs,
            dimensions=dimensions,
            as_base64=encoding == "base64",
        )

    def body(self, answer: Answer) -> bytes:
        ask = answer.ask
        data = []
        for index, text in enumerate(ask.inputs):
            vector = unit_vector(text, ask.dimensions)
            shown = vector_base64(vector) if ask.as_base64 else vector.tolist()
            data.append({"object": "embedding", "index": index, "embedding": shown})
        count = ask.prompt_tokens
        usage = {"prompt_tokens": count, "total_tokens": count}
        document = {"object": "list", "data": data, "model": ask.model, "usage": usage}
        return orjson.dumps(document)

    def frames(self, answer: Answer) -> Frames:
        raise NotImplementedError("embeddings are never streamed")


def _inputs(given: Any) -> tuple[str, ...]:
    """One text per vector; a list of token numbers counts as one text."""
    match given:
        case None:
            raise _missing("input")
        case str() if given:
            return (given,)
        case [int(), *_]:
            return (_as_text(given),)
        case [_, *_]:
            return tuple(map(_as_text, given))
        case _:
            raise _bad("input", "a text, or a list that is not empty")


def _as_text(given: Any) -> str:
    match given:
        case str() if given:
            return given
        case [int(), *_] if all(isinstance(token, int) for token in given):
            return " ".join(map(str, given))
        case _:
            raise _bad("input", "texts or lists of token numbers")


class _Models:
    needs_body = False

    def read(self, body: dict[str, Any]) -> Ask:
        return Ask(model="", inputs=("model",))

    def body(self, answer: Answer) -> bytes:
        row = {
            "id": f"{answer.owner}-model",
            "object": "model",
            "created": answer.created_s,
            "owned_by": answer.owner,
        }
        data = [row] if answer.ask.inputs else []
        return orjson.dumps({"object": "list", "data": data})

    def frames(self, answer: Answer) -> Frames:
        raise NotImplementedError("the list of models is never streamed")


class _OpenAI:
    endpoints: Mapping[tuple[str, str], Endpoint] = {
        ("POST", "/v1/chat/completions"): _Chat(),
        ("POST", "/v1/completions"): _Completions(),
        ("POST", "/v1/embeddings"): _Embeddings(),
        ("GET", "/v1/models"): _Models(),
    }
    keepalive = b": keep-alive\n\n"
    malformed = b'data: {"id": "chatcmpl-broken", "choices": [{"ind\n\n'

    def key_of(self, headers: Mapping[str, str]) -> str:
        scheme, _, key = headers.get("authorization", "").partition(" ")
        return key.strip() if scheme.lower() == "bearer" else ""

    def error_body(self, refusal: Refusal) -> bytes:
        return orjson.dumps(_error(refusal))

    def error_frame(self, refusal: Refusal) -> bytes:
        return b"data: " + orjson.dumps(_error(refusal)) + b"\n\n"


DIALECT = _OpenAI()
