"""Spans on their way out: a collector that is gone costs spans, never requests."""

import http.server
import logging
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from typing import ClassVar

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
)
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from app.telemetry import Outcome
from app.telemetry.tracing import Tracing, otlp_exporter
from tests.app.telemetry.scene import Scene, a_request

PATH = "/v1/chat/completions"
PATIENCE_S = 10.0


class Stuck(SpanExporter):
    """A collector that answers nobody until it is told to."""

    def __init__(self) -> None:
        self.entered = threading.Event()
        self.answer = threading.Event()

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.entered.set()
        self.answer.wait(PATIENCE_S)
        return SpanExportResult.SUCCESS


class Raising(SpanExporter):
    """A collector whose client has a bug."""

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        raise RuntimeError("bug")


@pytest.fixture
def refused() -> Iterator[str]:
    """An address at which nobody listens: the port stays taken, and refuses."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{taken.getsockname()[1]}"


@pytest.fixture(autouse=True)
def quiet_exporter() -> Iterator[None]:
    """The SDK tells of every failed batch; that is not what is looked at here."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


def _request(tracing: Tracing) -> None:
    tracing.start_server("POST", PATH, None).end(200)


class Collector(http.server.BaseHTTPRequestHandler):
    """Takes batches over OTLP/HTTP."""

    taken: ClassVar[list[tuple[str, str | None, ExportTraceServiceRequest]]] = []

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        batch = ExportTraceServiceRequest.FromString(body)
        self.taken.append((self.path, self.headers["authorization"], batch))
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""


def test_spans_reach_a_collector_over_http() -> None:
    Collector.taken.clear()
    dropped: list[int] = []
    with http.server.HTTPServer(("127.0.0.1", 0), Collector) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,)).start()
        exporter = otlp_exporter(
            f"http://127.0.0.1:{server.server_port}/api/public/otel",
            {"authorization": "Basic dGVzdA=="},
        )
        tracing = Tracing(exporter, on_dropped=dropped.append)
        _request(tracing)
        assert tracing.shutdown(PATIENCE_S)
        server.shutdown()
    ((path, authorization, batch),) = Collector.taken
    assert path == "/api/public/otel/v1/traces"
    assert authorization == "Basic dGVzdA=="
    (span,) = batch.resource_spans[0].scope_spans[0].spans
    assert span.name == f"POST {PATH}"
    assert dropped == []


def test_a_collector_that_refuses_neither_raises_nor_holds_up(refused: str) -> None:
    dropped: list[int] = []
    tracing = Tracing(
        otlp_exporter(refused, timeout_s=0.2),
        on_dropped=dropped.append,
        flush_every_s=0.01,
    )
    for _ in range(20):
        _request(tracing)
    assert tracing.shutdown(PATIENCE_S)
    assert sum(dropped) == 20


async def test_closing_the_telemetry_ends_within_its_time(refused: str) -> None:
    scene = Scene(traced=False)
    scene.telemetry.tracing = Tracing(
        otlp_exporter(refused, timeout_s=0.2), on_dropped=scene.metrics.record_dropped
    )
    scene.telemetry.observe(a_request()).finish(Outcome.SUCCESS)
    await scene.telemetry.aclose(PATIENCE_S)
    assert scene.value("telemetry_dropped_total") == 1
    await scene.telemetry.aclose(PATIENCE_S)


def test_spans_that_find_the_queue_full_are_counted() -> None:
    dropped: list[int] = []
    stuck = Stuck()
    tracing = Tracing(
        stuck, on_dropped=dropped.append, queue_size=4, flush_every_s=0.001
    )
    _request(tracing)
    assert stuck.entered.wait(PATIENCE_S)
    for _ in range(10):
        _request(tracing)
    assert sum(dropped) == 11 - 4
    stuck.answer.set()
    assert tracing.shutdown(PATIENCE_S)
    assert sum(dropped) == 11 - 4


def test_shutting_down_does_not_wait_for_a_stuck_collector() -> None:
    dropped: list[int] = []
    stuck = Stuck()
    tracing = Tracing(stuck, on_dropped=dropped.append, flush_every_s=0.001)
    _request(tracing)
    assert stuck.entered.wait(PATIENCE_S)
    began_s = time.monotonic()
    assert not tracing.shutdown(0.05)
    assert time.monotonic() - began_s < PATIENCE_S
    assert sum(dropped) == 1
    _request(tracing)
    assert not tracing.enabled
    stuck.answer.set()


def test_an_exporter_that_raises_costs_its_batch_only() -> None:
    dropped: list[int] = []
    tracing = Tracing(Raising(), on_dropped=dropped.append, flush_every_s=0.01)
    _request(tracing)
    assert tracing.shutdown(PATIENCE_S)
    assert dropped == [1]


def test_a_span_that_ends_after_the_shutdown_is_counted() -> None:
    scene = Scene()
    server = scene.tracing.start_server("POST", PATH, None)
    assert scene.tracing.shutdown(PATIENCE_S)
    server.end(200)
    assert scene.value("telemetry_dropped_total") == 1
