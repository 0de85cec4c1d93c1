"""JSON lines on stdout, from structlog and from the standard library alike.

Rule: one event is one line of valid JSON with `timestamp`, `level`, `message`,
`requestId`, `service` and `environment` first; redaction comes last before rendering;
and logging never raises, whatever it is given and whatever became of stdout.
"""

import contextlib
import logging
import sys
import traceback
from collections.abc import MutableMapping
from datetime import UTC, datetime
from typing import Any, BinaryIO, TypedDict

import orjson
import structlog

from app.telemetry.correlation import current_request_id, current_span, trace_fields
from app.telemetry.redaction import redact_fields, redact_text, text_of

type Fields = MutableMapping[str, Any]
type Logger = structlog.typing.FilteringBoundLogger

_FIRST = ("timestamp", "level", "message", "requestId", "service", "environment")
_MAX_FRAMES = 30
_MAX_CAUSES = 5
_UVICORN = ("uvicorn", "uvicorn.error", "uvicorn.access")


class LlmCallFields(TypedDict):
    """The fields of an `llm_call` line; times in milliseconds."""

    project: str
    feature: str | None
    userId: str | None
    provider: str
    model: str
    requestedModel: str
    attempt: int
    kind: str
    stream: bool
    status: str
    errorType: str | None
    httpStatus: int | None
    latencyMs: float | None
    ttftMs: float | None
    inputTokens: int | None
    outputTokens: int | None
    costUsd: float | None
    finishReason: str | None


def configure(
    level: str = "info",
    service: str = "breakwater",
    environment: str = "development",
    stream: BinaryIO | None = None,
) -> None:
    """Send every log line of this process to `stream` (stdout if None) as JSON.

    Loggers of the standard library, uvicorn's, aiohttp's and asyncio's among them,
    and Python's warnings take the same way. Uvicorn's own access log is switched off.

    Raises:
        ValueError: no such level.
    """
    number = logging.getLevelNamesMapping().get(level.upper())
    if number is None:
        raise ValueError(f"no such log level: {level}")
    writer = LineWriter(service, environment, stream)
    structlog.configure(
        processors=[structlog.processors.add_log_level, writer],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=_no_logger,
        cache_logger_on_first_use=False,
    )
    root = logging.getLogger()
    root.handlers[:] = [_StandardLibrary(writer)]
    root.setLevel(number)
    for name in _UVICORN:
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = name != "uvicorn.access"
    logging.captureWarnings(True)


def get_logger() -> Logger:
    """Return a logger bound to the configuration of now."""
    logger: Logger = structlog.get_logger().bind()
    return logger


def log_access(
    logger: Logger,
    *,
    method: str,
    path: str,
    status: int,
    latency_s: float,
    sent_bytes: int = 0,
    **more: object,
) -> None:
    """Write the one line per HTTP request, when its answer or stream has ended."""
    logger.info(
        "access",
        method=method,
        path=path[:200],
        status=status,
        latencyMs=round(latency_s * 1000, 3),
        sentBytes=sent_bytes,
        **more,
    )


def log_llm_call(logger: Logger, fields: LlmCallFields, **more: object) -> None:
    """Write the one line per attempt; `more` holds its `trace_id` and `span_id`."""
    logger.info("llm_call", **fields, **more)


class LineWriter:
    """The end of structlog's chain: completes, redacts, renders and writes a line."""

    def __init__(
        self, service: str, environment: str, stream: BinaryIO | None = None
    ) -> None:
        self._service = service
        self._environment = environment
        self._stream = stream

    def __call__(self, logger: object, method: str, fields: Fields) -> Fields:
        """Write `fields`; nothing is left for a logger to do."""
        self.write(str(fields.pop("event", "")), method, fields)
        raise structlog.DropEvent

    def write(self, message: str, level: str, fields: Fields) -> None:
        """Write one line; never raises."""
        with contextlib.suppress(Exception):
            self._put(self._line(message, level, fields))

    def _line(self, message: str, level: str, fields: Fields) -> bytes:
        line: dict[str, object] = {
            "timestamp": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "level": fields.pop("level", level),
            "message": message,
            "requestId": fields.pop("requestId", None) or current_request_id(),
            "service": self._service,
            "environment": self._environment,
        }
        error = _exception_of(fields.pop("exc_info", None))
        for name, value in fields.items():
            line.setdefault(name, value)
        if "trace_id" not in line:
            line |= trace_fields(current_span())
        if error is not None:
            line["exception"] = describe_exception(error)
        return orjson.dumps(redact_fields(line), option=orjson.OPT_APPEND_NEWLINE)

    def _put(self, line: bytes) -> None:
        stream = self._stream or sys.stdout.buffer
        stream.write(line)
        stream.flush()


class _StandardLibrary(logging.Handler):
    """Takes records of the standard library's loggers to the same lines."""

    def __init__(self, writer: LineWriter) -> None:
        super().__init__()
        self._writer = writer

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record; never raises."""
        try:
            message = record.getMessage()
        except Exception:  # its arguments do not fit its format
            message = text_of(record.msg)
        fields: dict[str, Any] = {"logger": record.name}
        if record.exc_info:
            fields["exc_info"] = record.exc_info
        self._writer.write(message, record.levelname.lower(), fields)


def describe_exception(error: BaseException) -> dict[str, object]:
    """Return an exception as plain fields: type, message, where, and its causes.

    The last thirty frames are named, without their source and never with their local
    variables, which hold what clients sent.
    """
    described = _describe(error)
    chain = described
    for _ in range(_MAX_CAUSES):
        cause = error.__cause__
        if cause is None and not error.__suppress_context__:
            cause = error.__context__
        if cause is None:
            break
        chain["cause"] = _describe(cause)
        chain, error = chain["cause"], cause
    return described


def _describe(error: BaseException) -> dict[str, Any]:
    kind = type(error)
    described: dict[str, Any] = {
        "type": f"{kind.__module__}.{kind.__qualname__}",
        "message": redact_text(text_of(error)),
    }
    detail = getattr(error, "detail", None)
    if isinstance(detail, str):
        described["detail"] = detail
    with contextlib.suppress(Exception):
        frames = traceback.StackSummary.extract(
            traceback.walk_tb(error.__traceback__), lookup_lines=False
        )
        described["stack"] = [
            f"{frame.filename}:{frame.lineno} {frame.name}"
            for frame in frames[-_MAX_FRAMES:]
        ]
    if isinstance(error, BaseExceptionGroup):
        described["errors"] = [_describe(part) for part in error.exceptions[:10]]
    return described


def _exception_of(exc_info: object) -> BaseException | None:
    match exc_info:
        case BaseException():
            return exc_info
        case (_, BaseException() as error, _):
            return error
        case True:
            return sys.exception()
        case _:
            return None


def _no_logger(*_: object) -> None:
    return None
