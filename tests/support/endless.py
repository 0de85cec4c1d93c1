"""A provider whose stream never ends and that feels back-pressure.

It writes only as fast as what it has written is taken, so that `sent_bytes` tells how
much everybody behind it has buffered.
"""

import asyncio
from types import TracebackType
from typing import Self

_HEAD = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n"
    b"transfer-encoding: chunked\r\n\r\n"
)
_WORDS = b"word " * 4000
_EVENT = (
    b'data: {"id":"e","object":"chat.completion.chunk","created":1,"model":"m",'
    b'"choices":[{"index":0,"delta":{"content":"'
    + _WORDS
    + b'"},"finish_reason":null}]}\n\n'
)
_CHUNK = b"%x\r\n%b\r\n" % (len(_EVENT), _EVENT)


class EndlessProvider:
    """Streams to whoever asks until they leave."""

    def __init__(self) -> None:
        """Nothing is opened yet."""
        self.sent_bytes = 0
        self._writers: set[asyncio.StreamWriter] = set()

    @property
    def open(self) -> int:
        """How many read now."""
        return len(self._writers)

    @property
    def base_url(self) -> str:
        """Where its API begins."""
        host, port = self._server.sockets[0].getsockname()[:2]
        return f"http://{host}:{port}/v1"

    async def __aenter__(self) -> Self:
        """Listen."""
        self._server = await asyncio.start_server(self._stream, "127.0.0.1", 0)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop listening and cut whoever still reads."""
        self._server.close()
        for writer in [*self._writers]:
            writer.transport.abort()
        await self._server.wait_closed()

    async def _stream(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._writers.add(writer)
        try:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(_HEAD)
            while True:
                writer.write(_CHUNK)
                await writer.drain()
                self.sent_bytes += len(_CHUNK)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            self._writers.discard(writer)
            writer.close()
