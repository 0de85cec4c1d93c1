"""A provider that answers with exactly the bytes it is given.

For what no stand-in would say: shapes of other vendors, and plain nonsense.
"""

import asyncio
import re
from types import TracebackType
from typing import Self

import orjson

_LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)


def events(*documents: object, done: bool = True) -> bytes:
    """A stream of these documents; bytes go as they are, the sentinel comes last."""
    blocks = [
        one if isinstance(one, bytes) else b"data: " + orjson.dumps(one) + b"\n\n"
        for one in documents
    ]
    return b"".join([*blocks, *([b"data: [DONE]\n\n"] if done else [])])


def chunk(*choices: dict[str, object], **more: object) -> dict[str, object]:
    """One chunk of a chat completion."""
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "m",
        "choices": [*choices],
        **more,
    }


def piece(text: str, index: int = 0, finish: str | None = None) -> dict[str, object]:
    """One choice of a chunk, with some content."""
    return {"index": index, "delta": {"content": text}, "finish_reason": finish}


class ScriptedProvider:
    """Gives every request the same answer."""

    def __init__(
        self,
        body: bytes,
        *,
        status: str = "200 OK",
        content_type: str = "text/event-stream",
        headers: str = "",
    ) -> None:
        """Keep what it will say; nothing is opened yet."""
        self._answer = (
            f"HTTP/1.1 {status}\r\ncontent-type: {content_type}\r\n"
            f"content-length: {len(body)}\r\n{headers}\r\n"
        ).encode() + body
        self.requests = 0

    @property
    def base_url(self) -> str:
        """Where its API begins."""
        host, port = self._server.sockets[0].getsockname()[:2]
        return f"http://{host}:{port}/v1"

    async def __aenter__(self) -> Self:
        """Listen."""
        self._writers: set[asyncio.StreamWriter] = set()
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop."""
        self._server.close()
        for writer in [*self._writers]:
            writer.transport.abort()
        await self._server.wait_closed()

    async def _serve(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._writers.add(writer)
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                found = _LENGTH.search(head)
                await reader.readexactly(int(found[1]) if found else 0)
                self.requests += 1
                writer.write(self._answer)
                await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            self._writers.discard(writer)
            writer.close()
