"""One connection: what the socket says goes to the exchange in progress.

Rule: closing is aborting. Nothing is flushed and no farewell is awaited, since the
peer may be the very thing that does not respond. It neither connects nor pools.
"""

import asyncio
import select
import socket
import struct
from typing import cast

from app.upstream.exchange import Exchange

WRITE_BUFFER_BYTES = 64 * 1024
"""Unsent bytes beyond this make the upload wait for the peer."""

_NO_LINGER = struct.pack("ii", 1, 0)


class Wire(asyncio.Protocol):
    """A connection: hands what the socket says to the exchange in progress.

    It has the surface that aiohttp's connector asks of a pooled protocol.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.transport: asyncio.Transport | None = None
        self.used = False
        self.writing_paused = False
        self.should_close = False
        self._loop = loop
        self._exchange: Exchange | None = None
        self._closed: asyncio.Future[None] | None = None
        self._lost = False
        self._lost_by: Exception | None = None

    # -- what aiohttp's connector asks for

    @property
    def closed(self) -> asyncio.Future[None] | None:
        """Done once the connection is lost; `None` when it already is."""
        if self._closed is None and not self._lost:
            self._closed = self._loop.create_future()
        return self._closed

    def is_connected(self) -> bool:
        """Whether the connection looks alive from here."""
        return self.transport is not None and not self.transport.is_closing()

    def close(self) -> None:
        """Give the connection up at once; see the module's rules."""
        if self.transport is None:
            return
        if self.writing_paused:
            # The kernel would go on offering the rest of the request to a peer that
            # does not take it; a reset ends that, and tells the peer at once.
            sock = self.transport.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
        self.transport.abort()
        self.transport = None

    abort = close

    # -- what the engine does with it

    def begin(self, *, without_body: bool) -> Exchange:
        """Start an exchange; everything received from now on belongs to it."""
        self.used = True
        self._exchange = exchange = Exchange(
            self, self._loop, without_body=without_body
        )
        # A peer may be gone again before the task that connected has been resumed.
        if self._lost_by is not None:
            exchange.lost(self._lost_by)
        elif not self.is_connected():
            exchange.ended()
        return exchange

    def finish(self, exchange: Exchange) -> bool:
        """End the exchange; true if the connection may be used again."""
        self._exchange = None
        reusable = (
            exchange.reusable
            and self.is_connected()
            and self.transport is not None
            and self.transport.get_write_buffer_size() == 0
        )
        exchange.detach()
        if not reusable:
            self.should_close = True
        return reusable

    def write(self, data: bytes) -> None:
        """Queue bytes; a lost connection tells its exchange by itself."""
        if self.transport is not None:
            self.transport.write(data)

    def is_stale(self) -> bool:
        """Whether an idle connection has news: a farewell, or unasked-for bytes.

        The event loop usually closes such a connection before it can be picked; this
        look closes the gap while the loop is late.
        """
        if self.transport is None:
            return True
        poll = select.poll()
        poll.register(self.transport.get_extra_info("socket"), select.POLLIN)
        return bool(poll.poll(0))

    def pause_reading(self) -> None:
        """Stop taking bytes from the socket."""
        if self.is_connected() and self.transport is not None:
            self.transport.pause_reading()

    def resume_reading(self) -> None:
        """Take bytes from the socket again."""
        if self.is_connected() and self.transport is not None:
            self.transport.resume_reading()

    # -- asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The connection, TLS included, stands."""
        self.transport = cast(asyncio.Transport, transport)
        self.transport.set_write_buffer_limits(high=WRITE_BUFFER_BYTES)

    def data_received(self, data: bytes) -> None:
        """Bytes for the exchange; an idle connection must not receive any."""
        if self._exchange is None:
            self.should_close = True
            self.close()
        else:
            self._exchange.feed(data)

    def eof_received(self) -> None:
        """The peer closed its side; asyncio closes ours in answer."""
        self.should_close = True
        if self._exchange is not None:
            self._exchange.ended()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone, by whatever cause."""
        self.transport = None
        self.should_close = True
        self._lost = True
        self._lost_by = exc
        if self._closed is not None and not self._closed.done():
            self._closed.set_result(None)
        if self._exchange is None:
            return
        if exc is None:
            self._exchange.ended()
        else:
            self._exchange.lost(exc)

    def pause_writing(self) -> None:
        """The peer takes the request more slowly than we write it."""
        self.writing_paused = True

    def resume_writing(self) -> None:
        """The peer has caught up."""
        self.writing_paused = False
        if self._exchange is not None:
            self._exchange.wake()
