"""One HTTP/1.1 request and its response on one connection.

An exchange is fed by its connection (`feed`, `ended`, `lost`) and read by exactly one
task (`drained`, `head_received`, `receive`). Rules it keeps:

- Bytes are handed over as they arrive; what arrived before a fault is handed over
  before the fault is raised.
- A read limit runs only while the reader waits, and starts anew with every byte, so a
  slow reader is never mistaken for a silent peer.
- Timers are armed lazily: a stream of many chunks keeps one timer and moves a
  timestamp, instead of making a timer per chunk.

It opens no connection and knows neither pool nor httpx.
"""

import asyncio
from collections import deque
from math import inf
from typing import Protocol

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

from app.upstream.failures import (
    PeerClosed,
    PeerGarbled,
    ReadFailed,
    ReadTimedOut,
    WireFailure,
    WriteTimedOut,
)

MAX_HEAD_BYTES = 100 * 1024
"""Largest response head, trailers included; the same bound as httpcore's."""

BUFFER_BYTES = 256 * 1024
"""Unread body beyond this pauses the socket until the reader has caught up."""

_FRAMING = (b"content-length", b"transfer-encoding")
_SWITCHING_PROTOCOLS = 101


class Link(Protocol):
    """What an exchange needs of its connection."""

    @property
    def writing_paused(self) -> bool: ...

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...


class Exchange:
    """State of one request/response pair; the delegate of its parser."""

    __slots__ = (
        "_body",
        "_body_bytes",
        "_complete",
        "_due",
        "_failure",
        "_head_bytes",
        "_head_done",
        "_interim",
        "_keep_alive",
        "_link",
        "_loop",
        "_parser",
        "_reading_paused",
        "_surplus",
        "_timer",
        "_waiter",
        "_without_body",
        "headers",
        "http_version",
        "reason",
        "status",
    )

    def __init__(
        self, link: Link, loop: asyncio.AbstractEventLoop, *, without_body: bool = False
    ) -> None:
        self.status = 0
        self.reason = b""
        self.http_version = b""
        self.headers: list[tuple[bytes, bytes]] = []
        self._link = link
        self._loop = loop
        self._without_body = without_body
        self._parser: HttpResponseParser | None = HttpResponseParser(self)
        self._head_bytes = 0
        self._head_done = False
        self._interim = False
        self._complete = False
        self._keep_alive = False
        self._surplus = False
        self._failure: WireFailure | None = None
        self._body: deque[bytes] = deque()
        self._body_bytes = 0
        self._reading_paused = False
        self._waiter: asyncio.Future[bool] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._due = inf

    # -- read by the one task that owns the exchange

    @property
    def reusable(self) -> bool:
        """Whether the connection may carry another request after this one."""
        return self._complete and self._keep_alive and not self._surplus

    @property
    def answered(self) -> bool:
        """Whether the response's head has arrived."""
        return self._head_done

    def spoil(self) -> None:
        """Keep the connection from being used again."""
        self._surplus = True

    async def drained(self, limit_s: float | None) -> None:
        """Wait until the kernel took the request, or the peer has already answered.

        Raises:
            WriteTimedOut: the peer did not take it within `limit_s`.
            WireFailure: the connection failed meanwhile.
        """
        give_up_at = inf if limit_s is None else self._loop.time() + limit_s
        while not self._head_done:
            self._raise_failure()
            if not self._link.writing_paused:
                return
            left_s = None if limit_s is None else give_up_at - self._loop.time()
            if not await self._woken(left_s) and self._still_waiting(
                self._head_done or not self._link.writing_paused
            ):
                raise WriteTimedOut("the peer stopped taking the request")

    async def head_received(self, limit_s: float | None) -> None:
        """Wait for the response's head; `limit_s` starts anew with every byte.

        Raises:
            ReadTimedOut: silence for `limit_s`.
            WireFailure: the connection failed or the head is not HTTP.
        """
        while not self._head_done:
            self._raise_failure()
            if not await self._woken(limit_s) and self._still_waiting(self._head_done):
                raise ReadTimedOut("no response head in time")

    async def receive(self, limit_s: float | None) -> bytes:
        """Return the next bytes of the body, `b""` at its end.

        Raises:
            ReadTimedOut: silence for `limit_s`.
            WireFailure: the body broke off.
        """
        while not self._body:
            self._raise_failure()
            if self._complete:
                return b""
            if not await self._woken(limit_s) and self._still_waiting(
                bool(self._body) or self._complete
            ):
                raise ReadTimedOut("the body fell silent")
        return self._take()

    def detach(self) -> None:
        """Drop the timer and the parser; the exchange gets no further input.

        Whoever still waits for it is told so, and does not wait forever.
        """
        if not self._complete:
            self._fail(ReadFailed("the response was closed here"))
        self.wake()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._parser = None
        if self._reading_paused:
            self._reading_paused = False
            self._link.resume_reading()

    # -- fed by the connection

    def feed(self, data: bytes) -> None:
        """Take bytes from the socket."""
        if self._complete or self._parser is None:
            self._surplus = True
        elif self._failure is None:
            self._parse(self._parser, data)
            self.wake()

    def ended(self) -> None:
        """The peer closed its side in good order."""
        if self._complete:
            self._keep_alive = False
        elif not self._head_done:
            self._fail(PeerClosed("the peer closed without sending a response"))
        elif self._is_framed():
            self._fail(PeerGarbled("the peer closed before the end of the body"))
        else:
            self._complete = True
        self.wake()

    def lost(self, cause: Exception) -> None:
        """The connection broke."""
        if self._complete:
            self._keep_alive = False
        else:
            failure = ReadFailed(f"the connection broke: {type(cause).__name__}")
            failure.__cause__ = cause
            self._fail(failure)
        self.wake()

    def wake(self) -> None:
        """Let the waiting task look again at the state."""
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(True)

    # -- called by the parser

    def on_message_begin(self) -> None:
        """A response, or an interim one, starts."""
        if self._complete:
            self._surplus = True

    def on_status(self, reason: bytes) -> None:
        """A piece of the reason phrase."""
        if not self._complete:
            self.reason += reason

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header, or a trailer once the head is done (dropped, but bounded)."""
        if self._head_done:
            self._head_bytes += len(name) + len(value)
        else:
            self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        """The head is complete."""
        parser = self._parser
        if parser is None or self._complete:
            return
        status = parser.get_status_code()
        if status == _SWITCHING_PROTOCOLS:
            self._fail(PeerGarbled("the peer switched protocols unasked"))
            return
        if status < 200:
            self._interim = True
            return
        self.status = status
        self.http_version = b"HTTP/" + parser.get_http_version().encode()
        self._keep_alive = parser.should_keep_alive()
        self._head_done = True
        if self._without_body:
            # The parser cannot know that a HEAD has no body: it may wait for one.
            self._complete = True
            self._keep_alive = False

    def on_body(self, data: bytes) -> None:
        """A piece of the body."""
        if self._complete:
            return
        self._body.append(data)
        self._body_bytes += len(data)
        if self._body_bytes > BUFFER_BYTES and not self._reading_paused:
            self._reading_paused = True
            self._link.pause_reading()

    def on_message_complete(self) -> None:
        """The message has ended by its own framing."""
        if self._interim:
            self._interim = False
            self.headers = []
            self.reason = b""
        else:
            self._complete = True

    def _parse(self, parser: HttpResponseParser, data: bytes) -> None:
        try:
            parser.feed_data(data)
        except HttpParserUpgrade:
            self._fail(PeerGarbled("the peer switched protocols unasked"))
        except HttpParserError as exc:
            if self._complete:
                self._surplus = True
            else:
                self._fail(PeerGarbled(f"not HTTP: {exc}"))
        if not self._head_done:
            self._head_bytes += len(data)
        if self._head_bytes > MAX_HEAD_BYTES and not self._complete:
            self._fail(PeerGarbled("response head or trailers too large"))

    # -- waiting

    def _take(self) -> bytes:
        body = self._body
        data = body.popleft() if len(body) == 1 else b"".join(body)
        body.clear()
        self._body_bytes = 0
        if self._reading_paused:
            self._reading_paused = False
            self._link.resume_reading()
        return data

    def _still_waiting(self, arrived: bool) -> bool:
        """Whether an expired limit stands: nothing came in the same instant."""
        return not arrived and self._failure is None

    def _is_framed(self) -> bool:
        return any(name.lower() in _FRAMING for name, _ in self.headers)

    def _fail(self, failure: WireFailure) -> None:
        if self._failure is None:
            self._failure = failure

    def _raise_failure(self) -> None:
        if self._failure is not None:
            raise self._failure

    async def _woken(self, limit_s: float | None) -> bool:
        """Wait for any input; false when `limit_s` passed without one."""
        if self._waiter is not None:
            raise RuntimeError("an exchange is read by one task only")
        if limit_s is None:
            self._due = inf
        else:
            self._arm(limit_s)
        self._waiter = self._loop.create_future()
        try:
            return await self._waiter
        finally:
            self._waiter = None

    def _arm(self, limit_s: float) -> None:
        self._due = due = self._loop.time() + limit_s
        if self._timer is not None:
            if self._timer.when() <= due:
                return
            self._timer.cancel()
        self._timer = self._loop.call_at(due, self._expire)

    def _expire(self) -> None:
        self._timer = None
        waiter = self._waiter
        if waiter is None or waiter.done() or self._due == inf:
            return
        if self._loop.time() < self._due:
            self._timer = self._loop.call_at(self._due, self._expire)
        else:
            waiter.set_result(False)
