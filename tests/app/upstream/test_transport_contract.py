"""The contract of a transport: one wire behaviour, one httpx exception.

Every row runs against our transport and against stock `httpx.AsyncHTTPTransport`, on
both event loops. Where the two differ, the row says what stock does and why ours does
not.
"""

import asyncio
import contextlib
import errno
import socket
import ssl
from collections.abc import Iterator
from dataclasses import dataclass

import h11
import httpx
import pytest

from app.upstream import AiohttpTransport
from tests.app.upstream.asking import SHORT_S, a_request, body_of, raw
from tests.app.upstream.conftest import MakeTransport
from tests.app.upstream.peer import (
    CHUNKED,
    Line,
    Script,
    answers,
    chunk,
    closes_at_once,
    is_silent,
    playing,
    sends,
    sends_then_resets,
    sends_then_stays,
    takes_nothing,
)

BIG = b"x" * (16 * 1024 * 1024)
"""More than the kernel's buffers take in."""


def kind_of(exc: httpx.HTTPError) -> type[BaseException]:
    """The exception's class by httpx's own names."""
    return next(cls for cls in type(exc).__mro__ if cls.__module__ == "httpx")


@dataclass(frozen=True)
class Row:
    """A peer's behaviour, and what the asker is told."""

    fact: str
    script: Script
    told: type[httpx.TransportError]
    phase: str | None = None
    content: bytes = b"{}"


BEFORE_THE_HEAD = [
    Row("reset after the request", sends_then_resets(), httpx.ReadError),
    Row("closed after the request", sends(), httpx.RemoteProtocolError),
    Row("closed at once", closes_at_once, httpx.RemoteProtocolError),
    Row(
        "closed within the head",
        sends(b"HTTP/1.1 200 OK\r\ncontent-le"),
        httpx.RemoteProtocolError,
    ),
    Row(
        "speaks another protocol",
        sends_then_stays(b"220 mail.example ESMTP ready\r\n\r\n"),
        httpx.RemoteProtocolError,
    ),
    Row(
        "sends a broken header",
        sends_then_stays(b"HTTP/1.1 200 OK\r\nno colon here\r\n\r\n"),
        httpx.RemoteProtocolError,
    ),
    Row(
        "sends a head without end",
        sends_then_stays(b"HTTP/1.1 200 OK\r\nx: " + b"y" * 300_000),
        httpx.RemoteProtocolError,
    ),
    Row("is silent", is_silent, httpx.ReadTimeout, "read"),
    Row(
        "falls silent within the head",
        sends_then_stays(b"HTTP/1.1 200 OK\r\ncontent-le"),
        httpx.ReadTimeout,
        "read",
    ),
    Row("takes no upload", takes_nothing, httpx.WriteTimeout, "write", BIG),
]

WITHIN_THE_BODY = [
    Row("reset", sends_then_resets(CHUNKED, chunk(b"part")), httpx.ReadError),
    Row(
        "closed before the last chunk",
        sends(CHUNKED, chunk(b"part")),
        httpx.RemoteProtocolError,
    ),
    Row(
        "closed before the declared length",
        sends(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\npart"),
        httpx.RemoteProtocolError,
    ),
    Row(
        "breaks the chunk framing",
        sends_then_stays(CHUNKED, chunk(b"part"), b"not a size\r\n"),
        httpx.RemoteProtocolError,
    ),
    Row(
        "falls silent",
        sends_then_stays(CHUNKED, chunk(b"part")),
        httpx.ReadTimeout,
        "read",
    ),
]


@pytest.mark.parametrize("row", BEFORE_THE_HEAD, ids=lambda row: row.fact)
async def test_a_failure_before_the_head_is_told_by_its_kind(
    row: Row, make: MakeTransport
) -> None:
    short = {row.phase: SHORT_S} if row.phase else {}
    async with playing(row.script) as peer:
        with pytest.raises(httpx.TransportError) as told:
            await make().handle_async_request(
                a_request(peer.url, content=row.content, **short)
            )
        assert kind_of(told.value) is row.told
        assert peer.connections == 1, "nothing is sent twice"


@pytest.mark.parametrize("row", WITHIN_THE_BODY, ids=lambda row: row.fact)
async def test_a_failure_within_the_body_comes_after_what_arrived_before_it(
    row: Row, make: MakeTransport
) -> None:
    short = {row.phase: SHORT_S} if row.phase else {}
    async with playing(row.script) as peer:
        response = await make().handle_async_request(a_request(peer.url, **short))
        pieces = raw(response)
        assert await anext(pieces) == b"part"
        peer.go.set()
        with pytest.raises(httpx.TransportError) as told:
            await anext(pieces)
        assert kind_of(told.value) is row.told
        await response.aclose()


# -- connecting


async def test_a_refused_connection_is_a_connect_error(make: MakeTransport) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(httpx.ConnectError):
        await make().handle_async_request(a_request(f"http://127.0.0.1:{port}/"))


async def test_an_unknown_name_is_a_connect_error(
    make: MakeTransport, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def unknown(*args: object, **kwargs: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", unknown)
    with pytest.raises(httpx.ConnectError):
        await make().handle_async_request(a_request("http://nowhere.invalid/"))


async def test_a_name_server_that_does_not_answer_is_a_connect_timeout(
    make: MakeTransport, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def silent(*args: object, **kwargs: object) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", silent)
    with pytest.raises(httpx.ConnectTimeout):
        await make().handle_async_request(
            a_request("http://slow.invalid/", connect=SHORT_S)
        )


@contextlib.contextmanager
def a_full_backlog() -> Iterator[int]:
    """A listening port whose queue is full: further SYNs go unanswered."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(3):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                filler.connect(listener.getsockname())
        yield listener.getsockname()[1]


async def test_a_connection_that_is_never_accepted_is_a_connect_timeout(
    make: MakeTransport,
) -> None:
    with a_full_backlog() as port, pytest.raises(httpx.ConnectTimeout):
        await make().handle_async_request(
            a_request(f"http://127.0.0.1:{port}/", connect=SHORT_S)
        )


async def test_ours_tells_a_connect_timeout_when_the_kernel_gives_up_first(
    make_ours: MakeTransport, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel's patience, minutes long, is played by the loop's `sock_connect`."""

    async def gives_up(*args: object) -> None:
        raise TimeoutError(errno.ETIMEDOUT, "Connection timed out")

    monkeypatch.setattr(asyncio.get_running_loop(), "sock_connect", gives_up)
    with pytest.raises(httpx.ConnectTimeout):
        await make_ours().handle_async_request(a_request("http://127.0.0.1:9/"))


async def test_ours_refuses_an_address_in_a_shortened_form(
    make_ours: MakeTransport,
) -> None:
    """Stock connects; a policy that looks at addresses would not recognise it."""
    with pytest.raises(httpx.ConnectError):
        await make_ours().handle_async_request(a_request("http://127.1:9/"))


# -- TLS


async def test_a_verified_peer_is_asked_over_tls(
    make: MakeTransport, server_tls: ssl.SSLContext, client_tls: ssl.SSLContext
) -> None:
    async with playing(answers, server_tls) as peer:
        transport = make(client_tls)
        for _ in range(2):
            response = await transport.handle_async_request(a_request(peer.url))
            assert await body_of(response) == b"ok"
        assert peer.connections == 1, "TLS connections are kept alive too"
        await transport.aclose()


async def test_a_certificate_of_an_unknown_authority_is_a_connect_error(
    make: MakeTransport, server_tls: ssl.SSLContext
) -> None:
    async with playing(answers, server_tls) as peer:
        with pytest.raises(httpx.ConnectError):
            await make().handle_async_request(a_request(peer.url))
    assert peer.requests == []


async def test_a_certificate_for_another_name_is_a_connect_error(
    make: MakeTransport, wrong_name_tls: ssl.SSLContext, client_tls: ssl.SSLContext
) -> None:
    async with playing(answers, wrong_name_tls) as peer:
        with pytest.raises(httpx.ConnectError):
            await make(client_tls).handle_async_request(a_request(peer.url))
    assert peer.requests == []


def answers_in_plain_text(line: Line) -> None:
    line.sock.recv(65536)
    line.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    line.await_end()


def closes_within_the_handshake(line: Line) -> None:
    line.sock.recv(65536)
    closes_at_once(line)


def resets_within_the_handshake(line: Line) -> None:
    line.sock.recv(65536)
    line.reset()


@pytest.mark.parametrize(
    "spoils",
    [answers_in_plain_text, closes_within_the_handshake, resets_within_the_handshake],
)
async def test_a_peer_that_spoils_the_handshake_is_a_connect_error(
    spoils: Script, make: MakeTransport, client_tls: ssl.SSLContext
) -> None:
    async with playing(spoils) as peer:
        url = peer.url.replace("http:", "https:")
        with pytest.raises(httpx.ConnectError):
            await make(client_tls).handle_async_request(a_request(url))


async def test_a_handshake_that_never_ends_is_a_connect_timeout(
    make: MakeTransport, client_tls: ssl.SSLContext
) -> None:
    async with playing(lambda line: line.await_end()) as peer:
        url = peer.url.replace("http:", "https:")
        with pytest.raises(httpx.ConnectTimeout):
            await make(client_tls).handle_async_request(a_request(url, connect=SHORT_S))
        assert await peer.ending() == "closed"


# -- the pool


async def test_an_exhausted_pool_is_a_pool_timeout(make: MakeTransport) -> None:
    async with playing(sends_then_stays(CHUNKED, chunk(b"part"))) as peer:
        transport = make(max_connections=1)
        first = await transport.handle_async_request(a_request(peer.url))
        with pytest.raises(httpx.PoolTimeout):
            await transport.handle_async_request(a_request(peer.url, pool=SHORT_S))
        await first.aclose()
        second = await transport.handle_async_request(a_request(peer.url))
        await second.aclose()


# -- requests that cannot be sent


@dataclass(frozen=True)
class Misformed:
    """A request that HTTP does not allow.

    Stock httpx lets h11's own exception through when a body belies its length, and
    has by then sent the head; ours checks first and keeps to httpx's exceptions.
    """

    fault: str
    request: httpx.Request
    stock: type[Exception] = httpx.LocalProtocolError


MISFORMED = [
    Misformed(
        "a line break in a header value",
        httpx.Request("GET", "http://localhost/", headers=[(b"x", b"1\r\ny: 2")]),
    ),
    Misformed(
        "a header name that is no token",
        httpx.Request("GET", "http://localhost/", headers=[(b"x y", b"1")]),
    ),
    Misformed("a method that is no token", httpx.Request("GE T", "http://localhost/")),
    Misformed(
        "no host header",
        httpx.Request("GET", "http://localhost/", stream=httpx.ByteStream(b"")),
    ),
    Misformed(
        "a body longer than declared",
        httpx.Request(
            "POST", "http://localhost/", headers={"content-length": "1"}, content=b"ab"
        ),
        stock=h11.LocalProtocolError,
    ),
    Misformed(
        "a body shorter than declared",
        httpx.Request(
            "POST", "http://localhost/", headers={"content-length": "3"}, content=b"ab"
        ),
        stock=h11.LocalProtocolError,
    ),
]


@pytest.mark.parametrize("row", MISFORMED, ids=lambda row: row.fault)
async def test_a_misformed_request_is_a_local_protocol_error(
    row: Misformed, make: MakeTransport
) -> None:
    async with playing(answers) as peer:
        url = row.request.url.copy_with(port=peer.port)
        request = httpx.Request(
            row.request.method,
            url,
            headers=row.request.headers.raw,
            stream=row.request.stream,
            extensions=row.request.extensions,
        )
        transport = make()
        told = (
            httpx.LocalProtocolError
            if isinstance(transport, AiohttpTransport)
            else row.stock
        )
        with pytest.raises(told):
            await transport.handle_async_request(request)
    assert peer.requests == [], "nothing of it reached the peer as a request"


async def test_an_unknown_scheme_is_an_unsupported_protocol(
    make: MakeTransport,
) -> None:
    with pytest.raises(httpx.UnsupportedProtocol):
        await make().handle_async_request(a_request("gopher://localhost/"))
