"""Every event is one line of JSON, and logging never raises."""

import asyncio
import io
import json
import logging
import sys
import warnings
from collections.abc import Iterator
from typing import Any

import pytest
import structlog
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.errors import UpstreamUnavailable
from app.telemetry import logging as logs
from app.telemetry.correlation import (
    bind_request,
    bind_span,
    current_request_id,
    release_request,
)
from app.telemetry.logging import configure, get_logger, log_access
from tests.app.telemetry.scene import Scene


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    """Give the process its logging back, whatever a test has made of it."""
    root, names = logging.getLogger(), ("uvicorn", "uvicorn.error", "uvicorn.access")
    handlers, level = root.handlers[:], root.level
    before = {name: logging.getLogger(name).propagate for name in names}
    bind_span(None)
    yield
    logging.captureWarnings(False)
    root.handlers[:] = handlers
    root.setLevel(level)
    for name, propagate in before.items():
        logging.getLogger(name).propagate = propagate
    structlog.reset_defaults()


@pytest.fixture
def stdout() -> io.BytesIO:
    stream = io.BytesIO()
    configure("info", "breakwater", "test", stream)
    return stream


def alone(stream: io.BytesIO) -> None:
    """Take out what pytest has put beside our handler: it does raise."""
    configure("info", "breakwater", "test", stream)


def lines(stream: io.BytesIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_line_begins_with_the_fields_that_every_line_has(stdout: io.BytesIO) -> None:
    get_logger().info("started", port=8080)
    (line,) = lines(stdout)
    assert list(line) == [
        "timestamp",
        "level",
        "message",
        "requestId",
        "service",
        "environment",
        "port",
    ]
    assert line["timestamp"].endswith("+00:00") and "T" in line["timestamp"]
    assert (line["level"], line["message"]) == ("info", "started")
    assert (line["service"], line["environment"]) == ("breakwater", "test")


def test_the_fields_of_a_line_cannot_be_forged_by_an_event(stdout: io.BytesIO) -> None:
    get_logger().info("real", service="forged", timestamp="then", environment="x")
    (line,) = lines(stdout)
    assert (line["service"], line["environment"]) == ("breakwater", "test")
    assert line["timestamp"] != "then"


async def test_each_request_writes_under_its_own_id(stdout: io.BytesIO) -> None:
    async def request(request_id: str) -> None:
        token = bind_request(request_id)
        await asyncio.sleep(0)
        get_logger().info("in", own=request_id)
        release_request(token)
        assert current_request_id() is None

    await asyncio.gather(*(request(f"req_{n}") for n in range(5)))
    get_logger().info("out")
    *inside, outside = lines(stdout)
    assert len(inside) == 5
    assert all(line["requestId"] == line["own"] for line in inside)
    assert outside["requestId"] is None


def test_the_trace_of_the_request_is_on_its_lines(stdout: io.BytesIO) -> None:
    scene = Scene()
    server = scene.tracing.start_server("POST", "/v1/chat/completions", None)
    get_logger().info("in")
    server.end(200)
    get_logger().info("out")
    inside, outside = lines(stdout)
    context = scene.spans()["POST /v1/chat/completions"].context
    assert context is not None
    assert inside["trace_id"] == f"{context.trace_id:032x}"
    assert inside["span_id"] == f"{context.span_id:016x}"
    assert "trace_id" not in outside


def test_lines_below_the_level_are_not_written(stdout: io.BytesIO) -> None:
    configure("warning", stream=stdout)
    get_logger().info("too little")
    logging.getLogger("aiohttp").info("too little")
    get_logger().warning("enough")
    assert [line["message"] for line in lines(stdout)] == ["enough"]


def test_a_level_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ValueError, match="loud"):
        configure("loud")


@pytest.mark.parametrize("name", ["uvicorn.error", "aiohttp.client", "asyncio"])
def test_other_libraries_write_the_same_lines(stdout: io.BytesIO, name: str) -> None:
    logging.getLogger(name).warning("took %s s, Bearer abcdef", 3)
    (line,) = lines(stdout)
    assert line["message"] == "took 3 s, [redacted]"
    assert (line["level"], line["logger"]) == ("warning", name)
    assert line["service"] == "breakwater"


def test_uvicorns_own_access_log_is_off(stdout: io.BytesIO) -> None:
    noisy = logging.getLogger("uvicorn.access")
    noisy.addHandler(logging.StreamHandler())
    configure("info", stream=stdout)
    noisy.info("GET / 200")
    assert lines(stdout) == []
    assert noisy.handlers == []


def test_a_warning_of_python_is_a_line(stdout: io.BytesIO) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(False)
        logging.captureWarnings(True)
        warnings.warn("old ways", DeprecationWarning, stacklevel=1)
        logging.captureWarnings(False)
    (line,) = lines(stdout)
    assert (line["level"], line["logger"]) == ("warning", "py.warnings")
    assert "old ways" in line["message"]


def test_a_record_whose_arguments_do_not_fit_is_written_all_the_same(
    stdout: io.BytesIO,
) -> None:
    alone(stdout)
    logging.getLogger("x").error("%d of %d", "one")
    assert lines(stdout)[0]["message"] == "%d of %d"


def _raise() -> None:
    try:
        raise OSError("redis://:hunter2@store refused")
    except OSError as exc:
        raise UpstreamUnavailable(
            target="alpha/small", detail="key sk-abcdef123 was\nrefused"
        ) from exc


def test_an_exception_is_one_field_with_its_causes_and_no_secrets(
    stdout: io.BytesIO,
) -> None:
    try:
        _raise()
    except UpstreamUnavailable:
        get_logger().exception("request failed")
        logging.getLogger("x").exception("request failed")
    assert stdout.getvalue().count(b"\n") == 2
    ours, theirs = lines(stdout)
    told = ours["exception"]
    assert theirs["exception"] == told
    assert told["type"] == "app.errors.UpstreamUnavailable"
    assert told["message"] == "The provider failed to answer."
    assert told["detail"] == "key [redacted] was\nrefused"
    assert told["stack"][-1].endswith(" _raise")
    assert told["cause"]["type"] == "builtins.OSError"
    assert told["cause"]["message"] == "redis://[redacted]@store refused"


def test_an_exception_given_as_itself_is_told_and_so_is_a_group(
    stdout: io.BytesIO,
) -> None:
    group = ExceptionGroup("several", [ValueError("one"), OSError("two")])
    get_logger().error("failed", exc_info=group)
    get_logger().error("failed", exc_info=True)  # outside of any handler
    told, none = lines(stdout)
    parts = told["exception"]["errors"]
    assert [one["message"] for one in parts] == ["one", "two"]
    assert "exception" not in none


def test_an_exception_from_nowhere_hides_its_context(stdout: io.BytesIO) -> None:
    try:
        try:
            raise ValueError("hidden")
        except ValueError:
            raise OSError("shown") from None
    except OSError:
        get_logger().exception("failed")
    assert "cause" not in lines(stdout)[0]["exception"]


def test_the_access_line_tells_the_request_and_its_time(stdout: io.BytesIO) -> None:
    log_access(
        get_logger(),
        method="POST",
        path="/v1/" + "x" * 500,
        status=200,
        latency_s=1.25,
        sent_bytes=10,
        route="chat",
    )
    (line,) = lines(stdout)
    assert (line["message"], line["method"], line["status"]) == ("access", "POST", 200)
    assert (line["latencyMs"], line["sentBytes"]) == (1250.0, 10)
    assert line["route"] == "chat"
    assert len(line["path"]) == 200


TEXT = st.text(st.characters(codec=None))


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(TEXT, TEXT, st.binary())
def test_any_text_makes_one_valid_line(
    stdout: io.BytesIO, message: str, value: str, raw: bytes
) -> None:
    alone(stdout)  # pytest's own record of such texts cannot cross processes
    stdout.seek(0)
    stdout.truncate()
    get_logger().info(message, value=value, raw=raw, nested={value: [message]})
    logging.getLogger("x").info("%s", value)
    logging.getLogger("x").error(message)
    assert stdout.getvalue().count(b"\n") == 3
    ours, *theirs = lines(stdout)
    assert isinstance(ours["value"], str)
    assert len(theirs) == 2


class Closed(io.BytesIO):
    def write(self, data: object) -> int:
        raise BrokenPipeError


class Unprintable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no")


def test_logging_never_raises(stdout: io.BytesIO) -> None:
    alone(stdout)
    get_logger().error("a", exc_info=Unprintable())
    logging.getLogger("x").error(Unprintable())
    assert [line["message"] for line in lines(stdout)] == ["a", "<Unprintable>"]
    configure("info", stream=Closed())
    get_logger().error("nobody reads")
    logging.getLogger("x").error("nobody reads")


def test_lines_go_to_stdout_by_default(
    capsysbinary: pytest.CaptureFixture[bytes],
) -> None:
    configure("info", "svc", "prod")
    get_logger().info("hello")
    assert json.loads(capsysbinary.readouterr().out)["service"] == "svc"
    assert logs.LineWriter("a", "b")._stream is None
    assert sys.stdout is not None
