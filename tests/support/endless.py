"""A provider whose stream never ends and that feels back-pressure.

It writes only as fast as what it has written is taken, so that `sent_bytes` tells how
much everybody behind it has buffered.
"""

import asyncio

from tests.support.raw_server import RawServer

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


class EndlessProvider(RawServer):
    """Streams to whoever asks until they leave."""

    def __init__(self) -> None:
        """Nothing is opened yet."""
        super().__init__()
        self.sent_bytes = 0

    @property
    def open(self) -> int:
        """How many read now."""
        return len(self._writers)

    @property
    def base_url(self) -> str:
        """Where its API begins."""
        return f"{self.origin}/v1"

    async def converse(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Write, as fast as it is taken."""
        await reader.readuntil(b"\r\n\r\n")
        writer.write(_HEAD)
        while True:
            writer.write(_CHUNK)
            await writer.drain()
            self.sent_bytes += len(_CHUNK)
