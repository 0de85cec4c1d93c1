"""A provider's socket, played by hand: each connection follows a script.

Plain blocking sockets in threads, so that what reaches the wire does not depend on the
event loop under test. The peer notes what each connection received and how it ended.
"""

import asyncio
import contextlib
import queue
import socket
import ssl
import struct
import threading
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

PATIENCE_S = 5.0
"""How long a script or a test waits for the other side before it gives up."""

ANSWER = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"


def chunk(data: bytes) -> bytes:
    """Frame one HTTP chunk; of `b""`, the last one."""
    return b"%x\r\n%b\r\n" % (len(data), data)


class Line:
    """One accepted connection, as a script sees it."""

    def __init__(self, sock: socket.socket, peer: "Peer") -> None:
        self.sock = sock
        self.peer = peer
        self._unread = b""

    def take_request(self) -> bytes:
        """Read one request with its body; record and return it (empty: none came)."""
        while b"\r\n\r\n" not in self._unread:
            if not self._more(within_a_request=bool(self._unread)):
                return b""
        head, _, rest = self._unread.partition(b"\r\n\r\n")
        fields = head.lower()
        if b"transfer-encoding: chunked" in fields:
            while not rest.endswith(b"0\r\n\r\n"):
                self._more()
                rest = self._unread.partition(b"\r\n\r\n")[2]
            size = len(rest)
        else:
            length = fields.partition(b"content-length: ")[2].partition(b"\r\n")[0]
            size = int(length or 0)
            while len(rest) < size:
                self._more()
                rest = self._unread.partition(b"\r\n\r\n")[2]
        self._unread = rest[size:]
        request = head + b"\r\n\r\n" + rest[:size]
        self.peer.requests.append(request)
        self.peer.reached.set()
        return request

    def _more(self, *, within_a_request: bool = True) -> bool:
        data = self.sock.recv(65536)
        if within_a_request and not data:
            raise ConnectionError("the client left within a request")
        self._unread += data
        return bool(data)

    def send(self, data: bytes) -> None:
        self.sock.sendall(data)

    def reset(self) -> None:
        """End with RST: what has been sent may still be read, nothing more comes."""
        self.sock.setsockopt(
            socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
        )
        self.sock.close()

    def await_end(self) -> None:
        """Read until the client closes; the peer notes how."""
        try:
            while self.sock.recv(65536):
                pass
        except ConnectionResetError:
            self.peer.endings.put("reset")
        except ssl.SSLError:
            self.peer.endings.put("cut")
        except TimeoutError:
            self.peer.endings.put("still open")
        else:
            self.peer.endings.put("closed")

    def wait(self) -> None:
        """Pause the script until the test calls `peer.go.set()`."""
        self.peer.go.wait(PATIENCE_S)


type Script = Callable[[Line], None]


@dataclass
class Peer:
    """A listening socket and what happened on it."""

    listener: socket.socket
    tls: bool = False
    requests: list[bytes] = field(default_factory=list)
    connections: int = 0
    reached: threading.Event = field(default_factory=threading.Event)
    go: threading.Event = field(default_factory=threading.Event)
    done: threading.Event = field(default_factory=threading.Event)
    endings: "queue.Queue[str]" = field(default_factory=queue.Queue)
    open: set[socket.socket] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.port = int(self.listener.getsockname()[1])

    @property
    def url(self) -> str:
        scheme = "https" if self.tls else "http"
        return f"{scheme}://localhost:{self.port}/v1/thing"

    async def ending(self) -> str:
        """How the next connection to end did so: closed, reset, cut or still open."""
        return await asyncio.to_thread(self.endings.get, timeout=2 * PATIENCE_S)

    async def was_reached(self) -> None:
        """Wait until a script has got as far as `reached`."""
        assert await asyncio.to_thread(self.reached.wait, PATIENCE_S)


def _serve(peer: Peer, script: Script, tls: ssl.SSLContext | None) -> None:
    lines: list[threading.Thread] = []

    def play(sock: socket.socket) -> None:
        sock.settimeout(PATIENCE_S)
        with contextlib.suppress(OSError):  # the client left: its tests say so
            if tls is not None:
                sock = tls.wrap_socket(sock, server_side=True)
            peer.open.add(sock)
            script(Line(sock, peer))
        peer.open.discard(sock)
        sock.close()
        peer.done.set()

    while True:
        try:
            sock, _ = peer.listener.accept()
        except OSError:
            break
        peer.connections += 1
        line = threading.Thread(target=play, args=(sock,))
        line.start()
        lines.append(line)
    for line in lines:
        line.join(2 * PATIENCE_S)


@contextlib.asynccontextmanager
async def playing(
    script: Script, tls: ssl.SSLContext | None = None
) -> AsyncIterator[Peer]:
    """Listen on a free port of the loopback and play `script` on every connection.

    Leaving waits for the scripts to end, without holding up the event loop.
    """
    listener = socket.create_server(("127.0.0.1", 0))
    peer = Peer(listener, tls=tls is not None)
    thread = threading.Thread(target=_serve, args=(peer, script, tls))
    thread.start()
    try:
        yield peer
    finally:
        peer.go.set()
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        for sock in list(peer.open):  # whatever a test has left open ends here
            with contextlib.suppress(OSError):
                socket.socket.shutdown(sock, socket.SHUT_RDWR)
        await asyncio.to_thread(thread.join, 4 * PATIENCE_S)


# -- scripts that several tests share


def answers(line: Line) -> None:
    """Answers every request on the connection."""
    while line.take_request():
        line.send(ANSWER)
    line.peer.endings.put("closed")


def is_silent(line: Line) -> None:
    """Takes the request and says nothing until the client goes."""
    line.take_request()
    line.await_end()


def takes_nothing(line: Line) -> None:
    """Accepts, then leaves everything in the kernel's buffer until told."""
    line.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    line.peer.reached.set()
    line.wait()
    line.await_end()


def sends(*pieces: bytes) -> Script:
    """Takes a request, sends the pieces, and closes in good order."""

    def script(line: Line) -> None:
        line.take_request()
        for piece in pieces:
            line.send(piece)

    return script


def closes_at_once(line: Line) -> None:
    """Closes its side without a word, and takes what still comes."""
    line.sock.shutdown(socket.SHUT_WR)
    line.await_end()


def sends_then_resets(*pieces: bytes) -> Script:
    """Takes a request, sends the pieces, waits for the test, and resets."""

    def script(line: Line) -> None:
        line.take_request()
        for piece in pieces:
            line.send(piece)
        if pieces:
            line.wait()
        line.reset()

    return script


def sends_then_stays(*pieces: bytes) -> Script:
    """Takes a request, sends the pieces, and is silent until the client goes."""

    def script(line: Line) -> None:
        line.take_request()
        for piece in pieces:
            line.send(piece)
        line.await_end()

    return script
