"""A client that sees the bytes: what came, and whether it ended by FIN or by RST.

Plain sockets, because every client library hides just what these tests are about
(asyncio's own StreamReader drops received bytes when a reset follows them).
"""

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Literal

from loadtest.provider import StandIn

type End = Literal["fin", "reset"]

LIMIT_S = 5.0
QUIET_S = 0.05
MESSAGES = [{"role": "user", "content": "Say something"}]


@dataclass(frozen=True)
class Seen:
    """One answer as it was on the wire."""

    raw: bytes
    end: End

    @property
    def status(self) -> int:
        return int(self.raw.split(b" ", 2)[1])

    @property
    def headers(self) -> dict[str, str]:
        lines = self.raw.partition(b"\r\n\r\n")[0].decode().split("\r\n")[1:]
        pairs = (line.split(": ", 1) for line in lines)
        return {name.lower(): value for name, value in pairs}

    @property
    def sent_body(self) -> bytes:
        return self.raw.partition(b"\r\n\r\n")[2]

    @property
    def chunks(self) -> list[bytes]:
        """Whole chunks; the empty one that ends the body is the last, if it came."""
        assert self.headers["transfer-encoding"] == "chunked"
        found, rest = [], self.sent_body
        while b"\r\n" in rest:
            size, _, rest = rest.partition(b"\r\n")
            length = int(size, 16)
            if len(rest) < length + 2:
                break
            found.append(rest[:length])
            rest = rest[length + 2 :]
        return found

    @property
    def complete(self) -> bool:
        """Whether the body ended where its framing says it ends."""
        if "transfer-encoding" in self.headers:
            return self.chunks[-1:] == [b""]
        return len(self.sent_body) == int(self.headers["content-length"])

    @property
    def json(self) -> Any:
        assert self.complete
        return json.loads(self.sent_body)

    @property
    def events(self) -> list[str]:
        """The data of each whole event."""
        text = b"".join(self.chunks).decode()
        whole = text.split("\n\n")[:-1]
        return [event.removeprefix("data: ") for event in whole]

    @property
    def tokens(self) -> list[str]:
        """The content of each event that has content."""
        found = []
        for event in self.events:
            if event.startswith("{") and event.endswith("}"):
                for choice in json.loads(event).get("choices", []):
                    found.append(choice["delta"].get("content", ""))
        return [content for content in found if content]


class Wire:
    """One connection."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self._loop = asyncio.get_running_loop()

    async def send(self, data: bytes) -> None:
        await self._loop.sock_sendall(self._socket, data)

    async def receive(self, least: bytes = b"") -> bytes:
        """What comes, up to and with `least`; at least one byte.

        Raises:
            ConnectionError: the connection ended first.
        """
        got = b""
        async with asyncio.timeout(LIMIT_S):
            while not got or least not in got:
                piece = await self._loop.sock_recv(self._socket, 65536)
                if not piece:
                    raise ConnectionError(f"ended after {got!r}")
                got += piece
        return got

    async def drain(self) -> Seen:
        """All that comes until the connection ends, and how it ended."""
        got = b""
        end: End = "fin"
        async with asyncio.timeout(LIMIT_S):
            try:
                while piece := await self._loop.sock_recv(self._socket, 65536):
                    got += piece
            except ConnectionResetError:
                end = "reset"
        return Seen(got, end)

    async def is_quiet(self) -> bool:
        """Whether nothing comes for a moment: no byte, no FIN, no RST."""
        try:
            async with asyncio.timeout(QUIET_S):
                await self._loop.sock_recv(self._socket, 1)
        except TimeoutError:
            return True
        return False

    def close(self) -> None:
        self._socket.close()


@asynccontextmanager
async def connected(provider: StandIn | int) -> AsyncIterator[Wire]:
    """A connection to a stand-in, or to the port of one in another process."""
    port = provider if isinstance(provider, int) else provider.port
    connection = socket.socket()
    connection.setblocking(False)
    try:
        loop = asyncio.get_running_loop()
        await loop.sock_connect(connection, ("127.0.0.1", port))
        yield Wire(connection)
    finally:
        connection.close()


def request(
    body: Any = None,
    *,
    method: str = "POST",
    path: str = "/v1/chat/completions",
    headers: dict[str, str] | None = None,
) -> bytes:
    """The bytes of a request; a `body` of bytes goes as it is."""
    sent = body if isinstance(body, bytes) else b""
    if not isinstance(body, bytes) and body is not None:
        sent = json.dumps(body).encode()
    fields = {
        "host": "provider",
        "content-type": "application/json",
        "content-length": str(len(sent)),
        **(headers or {}),
    }
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"{method} {path} HTTP/1.1\r\n{lines}\r\n".encode() + sent


def chat(*, model: str = "any", stream: bool = False, **fields: Any) -> dict[str, Any]:
    """The body of a chat completion."""
    return {"model": model, "stream": stream, "messages": MESSAGES, **fields}


async def ask(
    provider: StandIn | int,
    body: Any = None,
    *,
    method: str = "POST",
    path: str = "/v1/chat/completions",
    headers: dict[str, str] | None = None,
) -> Seen:
    """One request on a connection of its own, and all that came back on it."""
    fields = {"connection": "close", **(headers or {})}
    async with connected(provider) as wire:
        await wire.send(request(body, method=method, path=path, headers=fields))
        return await wire.drain()
