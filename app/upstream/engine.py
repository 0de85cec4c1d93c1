"""Connections to providers: aiohttp's connector below, exact phases above.

aiohttp does what is hard to do well: name look-up with a cache, happy eyeballs, TLS,
and a pool of idle connections. What it does with a connection afterwards conflates
phases (pool wait with connect, upload with silence) and may send a request twice, so
requests travel over an `Exchange` of ours instead of an aiohttp session. Rules:

- A request is written to a connection once and never repeated here. A connection that
  the peer has closed while idle is noticed before use and replaced; one that closes
  in the same instant fails like any other, and the retry layer decides.
- Whatever ends an exchange early, cancellation included, aborts its connection at
  once: no flush, no TLS farewell, nothing that waits for a peer that may be gone.
- A slot is held from before the connection is sought until the response is closed.

No httpx and no domain error belongs here.
"""

import asyncio
import ssl
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from typing import cast

import aiohttp
from aiohttp.client_proto import ResponseHandler
from aiohttp.connector import Connection
from yarl import URL

from app.upstream.exchange import Exchange
from app.upstream.failures import (
    ConnectFailed,
    ConnectTimedOut,
    PoolTimedOut,
    RequestMisformed,
    SchemeUnknown,
)
from app.upstream.wire import WRITE_BUFFER_BYTES, Wire

_NO_LIMITS = aiohttp.ClientTimeout(
    total=None, connect=None, sock_connect=None, sock_read=None
)
_MAX_ORIGINS = 1024


@dataclass(frozen=True, slots=True)
class Limits:
    """Seconds allowed per phase; `None` means no limit."""

    pool_s: float | None = None
    connect_s: float | None = None
    write_s: float | None = None
    read_s: float | None = None


class _Connector(aiohttp.TCPConnector):
    """aiohttp's connector, making `Wire`s; its own limits and timers stay off."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        tls: ssl.SSLContext,
        keepalive_s: float,
    ) -> None:
        super().__init__(ssl=tls, limit=0, keepalive_timeout=keepalive_s)
        # The factory is aiohttp's hook for subclasses (its own connectors use it), but
        # typed for its own protocol, of which `Wire` has the part a connector uses.
        self._factory = cast(partial[ResponseHandler], partial(Wire, loop))


class OpenExchange:
    """A response whose head has arrived, with what it holds: connection and slot."""

    __slots__ = ("_connection", "_engine", "_read_s", "_wire", "exchange")

    def __init__(
        self,
        engine: "Engine",
        connection: Connection,
        wire: Wire,
        exchange: Exchange,
        read_s: float | None,
    ) -> None:
        self.exchange = exchange
        self._engine = engine
        self._connection: Connection | None = connection
        self._wire = wire
        self._read_s = read_s

    async def receive(self) -> bytes:
        """Return the next bytes of the body, `b""` at its end.

        At the end the connection returns to the pool; any fault, and cancellation,
        aborts it.

        Raises:
            WireFailure: the body broke off or fell silent.
        """
        try:
            data = await self.exchange.receive(self._read_s)
        except BaseException:  # cancelled too: closes the socket at once
            self.close()
            raise
        if not data:
            self.close()
        return data

    def close(self) -> None:
        """Release connection and slot, once; an unfinished response is cut off."""
        connection, self._connection = self._connection, None
        if connection is None:
            return
        if self._wire.finish(self.exchange):
            connection.release()
        else:
            connection.close()
        self._engine.release_slot()


class Engine:
    """Opens exchanges over a pool of connections; belongs to one event loop."""

    def __init__(
        self,
        *,
        tls: ssl.SSLContext,
        max_connections: int | None,
        keepalive_s: float,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._tls = tls
        self._connector = _Connector(self._loop, tls, keepalive_s)
        self._slots = None if max_connections is None else _slots(max_connections)
        self._origins: dict[tuple[bytes, bytes, int | None], aiohttp.ClientRequest] = {}

    async def open(
        self,
        origin: tuple[bytes, bytes, int | None],
        head: bytes,
        body: bytes | AsyncGenerator[bytes],
        limits: Limits,
        *,
        without_body: bool = False,
    ) -> OpenExchange:
        """Send a request to `origin` (scheme, host, port), return with its head.

        The caller owns the result and must close it or read it to its end.

        Raises:
            WireFailure: by its class, what failed in which phase.
        """
        await self._acquire_slot(limits.pool_s)
        try:
            connection, wire = await self._connect(origin, limits.connect_s)
        except BaseException:  # cancelled too: the slot is held
            self.release_slot()
            raise
        exchange = wire.begin(without_body=without_body)
        opened = OpenExchange(self, connection, wire, exchange, limits.read_s)
        try:
            if isinstance(body, bytes):
                await _send(wire, exchange, head, body, limits.write_s)
            else:
                await _send_stream(wire, exchange, head, body, limits.write_s)
            await exchange.head_received(limits.read_s)
        except BaseException:  # cancelled too: the socket is open
            opened.close()
            raise
        return opened

    def release_slot(self) -> None:
        """Let the next waiting request have the slot."""
        if self._slots is not None:
            self._slots.release()

    async def aclose(self) -> None:
        """Abort every connection, in use or idle."""
        await self._connector.close()

    async def _acquire_slot(self, limit_s: float | None) -> None:
        if self._slots is None:
            return
        if not self._slots.locked():
            await self._slots.acquire()  # does not wait
            return
        try:
            async with asyncio.timeout(limit_s):
                await self._slots.acquire()
        except TimeoutError as exc:
            raise PoolTimedOut("no free connection in time") from exc

    async def _connect(
        self, origin: tuple[bytes, bytes, int | None], limit_s: float | None
    ) -> tuple[Connection, Wire]:
        asked = self._origins.get(origin) or self._learn(origin)
        try:
            async with asyncio.timeout(limit_s):
                while True:
                    connection = await self._connector.connect(asked, [], _NO_LIMITS)
                    wire = cast(Wire, connection.protocol)
                    if not (wire.used and wire.is_stale()):
                        return connection, wire
                    connection.close()
        except TimeoutError as exc:
            raise ConnectTimedOut("no connection in time") from exc
        except aiohttp.ClientConnectorError as exc:
            if isinstance(exc.os_error, TimeoutError):  # the kernel gave up first
                raise ConnectTimedOut("no connection in time") from exc
            raise ConnectFailed(str(exc)) from exc
        except (aiohttp.ClientError, OSError) as exc:
            raise ConnectFailed(f"{type(exc).__name__}: {exc}") from exc

    def _learn(self, origin: tuple[bytes, bytes, int | None]) -> aiohttp.ClientRequest:
        """Build, once per origin, what aiohttp's connector wants to know of it."""
        scheme, host, port = origin
        if scheme not in (b"http", b"https"):
            raise SchemeUnknown("only http and https can be asked")
        try:
            url = URL.build(scheme=scheme.decode(), host=host.decode(), port=port)
            asked = aiohttp.ClientRequest("GET", url, loop=self._loop)
        except ValueError as exc:
            raise RequestMisformed("the URL's host is not valid") from exc
        if len(self._origins) >= _MAX_ORIGINS:
            self._origins.clear()
        self._origins[origin] = asked
        return asked


def _slots(count: int) -> asyncio.Semaphore:
    if count < 1:
        raise ValueError("max_connections must be at least 1, or None for no limit")
    return asyncio.Semaphore(count)


async def _send(
    wire: Wire, exchange: Exchange, head: bytes, body: bytes, limit_s: float | None
) -> None:
    """Write a request whose body is in memory."""
    if len(body) <= WRITE_BUFFER_BYTES:
        wire.write(head + body)
    else:
        wire.write(head)
        wire.write(body)
    if wire.writing_paused:
        await exchange.drained(limit_s)


async def _send_stream(
    wire: Wire,
    exchange: Exchange,
    head: bytes,
    body: AsyncGenerator[bytes],
    limit_s: float | None,
) -> None:
    """Write a request whose body comes in pieces, each already framed."""
    wire.write(head)
    async with aclosing(body):
        async for piece in body:
            wire.write(piece)
            await exchange.drained(limit_s)
            if exchange.answered:  # before the end: this connection cannot go on
                exchange.spoil()
                return
