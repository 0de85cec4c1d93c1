"""Providers that answer with exactly the bytes they are given.

For what no stand-in would say: shapes of other vendors, and plain nonsense.
"""

import asyncio
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import orjson

from tests.support.raw_server import RawServer

_PATH = re.compile(rb"[A-Z]+ /([^/ ]+)/")
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


@dataclass(frozen=True)
class Said:
    """One answer, as bytes."""

    body: bytes
    status: str = "200 OK"
    content_type: str = "text/event-stream"
    headers: str = ""

    @property
    def wire(self) -> bytes:
        """All of it."""
        head = (
            f"HTTP/1.1 {self.status}\r\ncontent-type: {self.content_type}\r\n"
            f"content-length: {len(self.body)}\r\n{self.headers}\r\n"
        )
        return head.encode() + self.body


class ScriptedProvider(RawServer):
    """One server for many providers, each of which always gives the same answer."""

    def __init__(self, answers: Mapping[str, Said]) -> None:
        """Keep what each provider, by name, will say; nothing is opened yet."""
        super().__init__()
        self._answers = answers
        self.requests: Counter[str] = Counter()

    @property
    def base_urls(self) -> dict[str, str]:
        """Where the API of each provider begins."""
        return {name: f"{self.origin}/{name}/v1" for name in self._answers}

    async def converse(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Answer one request after the other."""
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            found = _LENGTH.search(head)
            await reader.readexactly(int(found[1]) if found else 0)
            asked = _PATH.match(head)
            name = asked[1].decode() if asked else ""
            self.requests[name] += 1
            writer.write(self._answers[name].wire)
            await writer.drain()
