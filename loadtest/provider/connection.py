"""One client connection: bytes in, requests out, one script at a time.

HTTP/1.1 with keep-alive; requests that arrive while one is being answered wait in
order. Reading never pauses, so that a client that goes is noticed at once.
"""

import asyncio
from collections import deque
from typing import cast

import httptools
import orjson

from loadtest.provider.control import PREFIX, control
from loadtest.provider.journal import Outcome, Record
from loadtest.provider.player import Player, reset
from loadtest.provider.script import Ending, Script, whole
from loadtest.provider.service import Request, Service

_MAX_BODY_BYTES = 64 * 2**20
_MAX_HEADER_BYTES = 256 * 1024
_MAX_WAITING = 64
_ALIVE = whole(200, b'{"status":"ok"}')


class Connection(asyncio.Protocol):
    """Reads requests, plays the scripts of their answers, keeps the log right."""

    def __init__(self, service: Service, open_connections: set["Connection"]) -> None:
        """Register in `open_connections` for as long as the connection is open."""
        self._service = service
        self._open = open_connections
        self._loop = asyncio.get_running_loop()
        self._parser = httptools.HttpRequestParser(self)
        self._waiting: deque[tuple[Request, bool]] = deque()
        self._player: Player | None = None
        self._record: Record | None = None
        self._keep_alive = True
        self._stopped = False
        self._url = b""
        self._headers: dict[str, str] = {}
        self._header_bytes = 0
        self._body: list[bytes] = []
        self._body_bytes = 0

    def stop(self) -> None:
        """End the connection now, in the middle of whatever it does."""
        self._stopped = True
        self._transport.abort()

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Count the connection; tell the player when bytes wait, and when none do."""
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(high=0)
        self._open.add(self)
        self._service.connections_open += 1
        self._service.connections_total += 1
        if not self._service.up:
            self.stop()

    def connection_lost(self, _exc: Exception | None) -> None:
        """The client has gone, or we have closed: what was under way has ended."""
        self._open.discard(self)
        self._service.connections_open -= 1
        self._waiting.clear()
        if self._player is not None:
            self._player.stop()
            self._player = None
        outcome = Outcome.STOPPED if self._stopped else Outcome.CLIENT_GONE
        self._settle(outcome)
        self._service.journal.changed()

    def data_received(self, data: bytes) -> None:
        """Parse; a request that is no HTTP ends the connection with a 400."""
        if self._transport.is_closing():
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            # Not served, so ignored (RFC 9110, 7.8); the parser goes no further.
            request, _ = self._waiting.pop()
            self._waiting.append((request, False))
        except httptools.HttpParserError as problem:
            self._reject(400, f"not HTTP: {problem}")
            return
        self._serve()

    def pause_writing(self) -> None:
        """Bytes wait for the client."""
        if self._player is not None:
            self._player.pause()

    def resume_writing(self) -> None:
        """Every byte has left."""
        if self._player is not None:
            self._player.resume()

    # httptools callbacks

    def on_message_begin(self) -> None:
        """A request starts."""
        self._url = b""
        self._headers = {}
        self._header_bytes = 0
        self._body = []
        self._body_bytes = 0

    def on_url(self, url: bytes) -> None:
        """A piece of the target."""
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header; of repeated ones the last is kept."""
        self._header_bytes += len(name) + len(value)
        if self._header_bytes <= _MAX_HEADER_BYTES:
            self._headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        """Let a careful client send its body."""
        if self._headers.get("expect", "").lower() == "100-continue":
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, body: bytes) -> None:
        """A piece of the body; beyond the limit it is counted and dropped."""
        self._body_bytes += len(body)
        if self._body_bytes <= _MAX_BODY_BYTES:
            self._body.append(body)

    def on_message_complete(self) -> None:
        """Answer now, or when it is this request's turn."""
        if self._body_bytes > _MAX_BODY_BYTES:
            self._reject(413, "body too large")
        elif self._header_bytes > _MAX_HEADER_BYTES:
            self._reject(431, "headers too large")
        elif len(self._waiting) >= _MAX_WAITING:
            self._reject(400, "too many requests in one connection's queue")
        else:
            self._waiting.append((self._request(), self._parser.should_keep_alive()))

    def _request(self) -> Request:
        path, _, query = self._url.decode("latin-1").partition("?")
        method = self._parser.get_method().decode("ascii")
        return Request(method, path, query, self._headers, b"".join(self._body))

    # one answer after the other

    def _serve(self) -> None:
        if not self._waiting or self._player or self._transport.is_closing():
            return
        request, self._keep_alive = self._waiting.popleft()
        script = self._script(request)
        record, journal = self._record, self._service.journal

        def sent(tokens: int) -> None:
            if record is not None:
                journal.sent(record, script.status, tokens)

        self._player = Player(self._transport, self._loop, script, sent, self._finished)
        self._player.start()

    def _script(self, request: Request) -> Script:
        if request.path == "/livez":
            return _ALIVE
        if request.path.startswith(PREFIX):
            return control(self._service, request)
        script, self._record = self._service.respond(request)
        return script

    def _finished(self, ending: Ending) -> None:
        record = self._record
        faulted = record is not None and record.fault is not None
        self._settle(Outcome.FAULTED if faulted else Outcome.ANSWERED)
        self._player = None
        if ending is Ending.RESET:
            reset(self._transport)
        elif ending is Ending.CLOSE or not self._keep_alive:
            self._transport.close()
        elif self._waiting:
            self._loop.call_soon(self._serve)

    def _settle(self, outcome: Outcome) -> None:
        if self._record is not None:
            self._service.journal.ended(self._record, outcome)
            self._record = None

    def _reject(self, status: int, message: str) -> None:
        if self._player is None:
            error = {"error": {"message": message, "code": "invalid_request"}}
            for step in whole(status, orjson.dumps(error)).steps:
                self._transport.write(step.data)
        self._transport.close()
