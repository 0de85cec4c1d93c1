"""The stand-in as an object: start, stop, fault, log.

For tests in the same loop, and for the command line. What it answers is in
`service.py`; nothing here knows HTTP.
"""

import asyncio
import socket
from collections.abc import Callable
from functools import partial
from typing import Self

from loadtest.provider.connection import Connection
from loadtest.provider.faults import Fault
from loadtest.provider.journal import Record
from loadtest.provider.service import Service, Settings

_BACKLOG = 1024


class StandIn:
    """A provider that answers at once, or as slowly and as badly as it is told.

    Keeps its port from its first `start` to `aclose`: while it is stopped the port
    stays bound without listening, so that clients are refused and the system gives
    the port to no other connection.
    """

    def __init__(
        self,
        name: str = "alpha",
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        first_token_s: float = 0.0,
        tokens_per_s: float | None = None,
        tokens: int = 20,
        api_key: str | None = None,
        log_limit: int = 10_000,
    ) -> None:
        """Say how it answers; nothing is opened before `start`.

        Args:
            name: appears in each token, and as owner of its model.
            host: address to listen on.
            port: port to listen on; 0 takes a free one at the first `start`.
            first_token_s: seconds to the first token, give or take 10 %.
            tokens_per_s: tokens per second after it; None or 0 is all at once.
            tokens: length of an answer, in tokens.
            api_key: the only key that is accepted; None accepts all.
            log_limit: how many records the log keeps.
        """
        if tokens < 1:
            raise ValueError("an answer has at least one token")
        settings = Settings(name, first_token_s, tokens_per_s, tokens, api_key)
        self.name = name
        self._service = Service(settings, log_limit)
        self._host = host
        self._port = port
        self._server: asyncio.Server | None = None
        self._reserved: socket.socket | None = None
        self._connections: set[Connection] = set()

    async def __aenter__(self) -> Self:
        """Start."""
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stop and give the port back."""
        await self.aclose()

    @property
    def port(self) -> int:
        """The port; 0 before the first `start` if none was chosen."""
        return self._port

    @property
    def origin(self) -> str:
        """`http://host:port`, without a trailing slash."""
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"http://{host}:{self._port}"

    @property
    def base_url(self) -> str:
        """What a client library takes: `http://host:port/v1`."""
        return f"{self.origin}/v1"

    @property
    def fault(self) -> Fault | None:
        """The live fault, for every model; set it, or set None, at any time."""
        return self._service.switch.current

    @fault.setter
    def fault(self, fault: Fault | None) -> None:
        self._service.switch.set(fault)

    def clear(self) -> None:
        """No fault any more, and an empty log."""
        self._service.switch.set(None)
        self._service.journal.clear()

    @property
    def log(self) -> list[Record]:
        """What has reached it, oldest first; records of open requests change."""
        return [*self._service.journal.records]

    @property
    def requests_in_flight(self) -> int:
        """Requests that have arrived and not ended."""
        return self._service.journal.in_flight

    @property
    def connections_open(self) -> int:
        """Connections that are open now."""
        return self._service.connections_open

    @property
    def connections_total(self) -> int:
        """Connections accepted since it was made."""
        return self._service.connections_total

    async def until(
        self, condition: Callable[[Self], bool], timeout_s: float = 5.0
    ) -> None:
        """Wait for `condition`, without polling: it is looked at on each change.

        Raises:
            TimeoutError: it did not become true within `timeout_s`.
        """
        await self._service.journal.until(lambda: condition(self), timeout_s)

    async def settled(self, count: int, timeout_s: float = 5.0) -> list[Record]:
        """Wait until `count` requests have arrived and none is open; the log.

        Raises:
            TimeoutError: not within `timeout_s`.
        """
        journal = self._service.journal
        await journal.until(
            lambda: journal.count >= count and not journal.in_flight, timeout_s
        )
        return self.log

    async def start(self) -> None:
        """Listen, on the port it had before if it was stopped.

        Raises:
            OSError: the port is taken.
        """
        if self._server is not None:
            return
        listening = self._reserved or _bound(self._host, self._port)
        self._reserved = None
        self._port = listening.getsockname()[1]
        loop = asyncio.get_running_loop()
        factory = partial(Connection, self._service, self._connections)
        self._service.up = True
        try:
            self._server = await loop.create_server(
                factory, sock=listening, backlog=_BACKLOG
            )
        except BaseException:  # cancelled too: the socket is open
            self._service.up = False
            listening.close()
            raise

    async def stop(self) -> None:
        """Go down: refuse new connections, cut the open ones, keep the port."""
        if self._server is None:
            return
        await self._shut()
        self._reserved = _bound(self._host, self._port)

    async def aclose(self) -> None:
        """Stop for good and give the port back."""
        await self._shut()
        if self._reserved is not None:
            self._reserved.close()
            self._reserved = None

    async def _shut(self) -> None:
        server, self._server = self._server, None
        if server is None:
            return
        self._service.up = False
        server.close()
        for connection in [*self._connections]:
            connection.stop()
        await server.wait_closed()
        await self._service.journal.until(lambda: not self._connections, 5.0)


def _bound(host: str, port: int) -> socket.socket:
    """A socket that holds the port and does not listen yet."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((host, port))
    except BaseException:  # interrupted too: the socket is open
        bound.close()
        raise
    return bound
