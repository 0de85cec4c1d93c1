"""From a request to the script of its answer: routing, faults, the log.

No sockets and no timers here; the control endpoint is in `control.py`.
"""

from dataclasses import dataclass
from itertools import count
from time import monotonic, time
from typing import Any
from zlib import crc32

import orjson

from loadtest.provider import plain, streamed
from loadtest.provider.answers import Answer, Ask, Refusal, Refused, altered, answer
from loadtest.provider.dialects import ALL, Dialect, Endpoint
from loadtest.provider.faults import Fault, FaultSwitch, InvalidFault, fault_from_model
from loadtest.provider.journal import Journal, Record
from loadtest.provider.script import (
    CLOSE_AT_ONCE,
    EVENT_STREAM,
    HTML,
    HTML_PAGE,
    JSON,
    RESET_AT_ONCE,
    SILENCE,
    Pace,
    Script,
    Step,
    sized,
    whole,
)

_KEPT_BODY_BYTES = 256 * 1024
_JITTER_SHARE = 0.1
AT_ONCE = {"reset": RESET_AT_ONCE, "close": CLOSE_AT_ONCE, "silence": SILENCE}


@dataclass(frozen=True, slots=True)
class Settings:
    """How a stand-in answers when nothing is wrong."""

    name: str
    first_token_s: float
    tokens_per_s: float | None  # None: all at once
    tokens: int
    api_key: str | None


@dataclass(frozen=True, slots=True)
class Request:
    """One HTTP request, read to its end; header names in lower case."""

    method: str
    path: str
    query: str
    headers: dict[str, str]
    body: bytes


class Service:
    """Answers requests; keeps the live fault and the log."""

    def __init__(self, settings: Settings, log_limit: int) -> None:
        """Start without a fault and with an empty log."""
        self.settings = settings
        self.switch = FaultSwitch()
        self.journal = Journal(log_limit)
        self.up = False  # a connection that comes too late ends itself
        self.connections_open = 0
        self.connections_total = 0
        self._serials = count()
        self._routes: dict[tuple[str, str], tuple[Dialect, Endpoint]] = {
            place: (dialect, endpoint)
            for dialect in ALL
            for place, endpoint in dialect.endpoints.items()
        }
        self._paths = {path for _, path in self._routes}

    def respond(self, request: Request) -> tuple[Script, Record]:
        """The script for `request`, and its record, which is in the log."""
        serial = next(self._serials)
        dialect, endpoint = self._routes.get(
            (request.method, request.path), (ALL[0], None)
        )
        body = _json_object(request.body)
        record = _record(request, body)
        headers = (("x-request-id", f"{self.settings.name}-{serial}"),)
        try:
            fault = self._fault(record)
            if fault is not None and (
                early := _before_content(fault, dialect, headers)
            ):
                return early, record
            endpoint = self._admit(request, dialect, endpoint)
            if endpoint.needs_body and body is None:
                raise Refused(Refusal(400, "The body is not a JSON object."))
            ask = endpoint.read(body or {})
            record.stream = ask.stream
            given = self._answer(ask, serial)
            pace = self._pace(request.body)
            return _script(dialect, endpoint, given, fault, pace, headers), record
        except Refused as refused:
            record.fault = None
            return _refuse(dialect, refused.refusal, headers), record
        finally:
            self.journal.arrived(record)

    def _fault(self, record: Record) -> Fault | None:
        """The live fault, which is for all models; else the one the model names."""
        try:
            fault = self.switch.take() or fault_from_model(record.model or "")
        except InvalidFault as invalid:
            refusal = Refusal(400, str(invalid), "unknown_fault", param="model")
            raise Refused(refusal) from None
        if fault is not None:
            record.fault = fault.kind
        return fault

    def _admit(
        self, request: Request, dialect: Dialect, endpoint: Endpoint | None
    ) -> Endpoint:
        if endpoint is None:
            known = request.path in self._paths
            status, problem = (405, "Method") if known else (404, "Path")
            what = f"{problem} not served: {request.method} {request.path}"
            raise Refused(Refusal(status, what, "unknown_url"))
        key = self.settings.api_key
        if key is not None and dialect.key_of(request.headers) != key:
            raise Refused(Refusal(401))
        return endpoint

    def _answer(self, ask: Ask, serial: int) -> Answer:
        name, tokens = self.settings.name, self.settings.tokens
        return answer(ask, name, tokens, serial, int(time()))

    def _pace(self, body: bytes) -> Pace:
        """The pace for a request: its first token up to 10 % early or late.

        The deviation depends on nothing but the body, so that a repeated request
        takes the same time.
        """
        settings = self.settings
        first_token_s = settings.first_token_s
        if first_token_s:
            share = crc32(body) % 2001 / 1000 - 1
            first_token_s *= 1 + _JITTER_SHARE * share
        rate = settings.tokens_per_s
        return Pace(first_token_s, 1 / rate if rate else 0.0)


def _json_object(body: bytes) -> dict[str, Any] | None:
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    return document if isinstance(document, dict) else None


def _record(request: Request, body: dict[str, Any] | None) -> Record:
    model = body.get("model") if body else None
    return Record(
        at=monotonic(),
        method=request.method,
        path=request.path,
        model=model if isinstance(model, str) else None,
        stream=body is not None and body.get("stream") is True,
        fault=None,
        body=body if len(request.body) <= _KEPT_BODY_BYTES else None,
        headers=request.headers,
    )


type _Headers = tuple[tuple[str, str], ...]


def _refuse(dialect: Dialect, refusal: Refusal, headers: _Headers) -> Script:
    if refusal.retry_after_s is not None:
        # Whole seconds by RFC 9110; a fraction is what some providers send.
        headers = (*headers, ("retry-after", f"{refusal.retry_after_s:g}"))
    return whole(refusal.status, dialect.error_body(refusal), headers)


def _before_content(fault: Fault, dialect: Dialect, headers: _Headers) -> Script | None:
    """The script of a fault that needs no answer: the same for both forms."""
    match fault.kind:
        case "status":
            code = fault.params.get("error_code")
            after = fault.params.get("retry_after_s")
            refusal = Refusal(
                fault.count("code"),
                code=None if code is None else str(code),
                retry_after_s=None if after is None else float(after),
            )
        case "context_length":
            message = "The request exceeds this model's maximum context length."
            code = "context_length_exceeded"
            refusal = Refusal(400, message, code, param="messages")
        case "content_filter":
            message = "The request was filtered by the content policy."
            refusal = Refusal(400, message, "content_filter", param="prompt")
        case kind:
            return AT_ONCE.get(kind)
    return _refuse(dialect, refusal, headers)


def _script(
    dialect: Dialect,
    endpoint: Endpoint,
    given: Answer,
    fault: Fault | None,
    pace: Pace,
    headers: _Headers,
) -> Script:
    """The script of an answer, as `fault` spoils it."""
    stream = given.ask.stream
    if fault is not None:
        if fault.kind == "garbled":
            return _garbled(fault, stream, pace, headers)
        given = altered(given, fault)
    if stream:
        streamed_answer = streamed.Stream(
            endpoint.frames(given),
            pace,
            headers,
            dialect.keepalive,
            dialect.malformed,
            lambda code: dialect.error_frame(Refusal(500, code=code)),
        )
        if fault is None:
            return streamed_answer.normal()
        return streamed.SCRIPTS[fault.kind](streamed_answer, fault)
    plain_answer = plain.Plain(
        endpoint.body(given),
        len(given.words),
        pace,
        headers,
        lambda code: dialect.error_body(Refusal(500, code=code)),
    )
    if fault is None:
        return plain_answer.normal()
    return plain.SCRIPTS[fault.kind](plain_answer, fault)


def _garbled(fault: Fault, stream: bool, pace: Pace, headers: _Headers) -> Script:
    declared = EVENT_STREAM if stream else JSON
    label = HTML if fault.params["how"] == "html" else declared
    data = sized(200, HTML_PAGE, headers, label)
    return Script(200, (Step(pace.first_token_s, data),))
