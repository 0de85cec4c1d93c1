"""The way out: an httpx transport over the engine, and the client the gateway uses.

`AiohttpTransport` keeps the contract of `httpx.AsyncBaseTransport` and fails with
exactly the exceptions that stock `httpx.AsyncHTTPTransport` raises for the same
behaviour of the peer. `Upstream` calls any such transport directly (redirects,
cookies, proxies from the environment and retries of `httpx.AsyncClient` are not
wanted here, and cost time) and speaks in domain errors only. This is the only module
that imports httpx; nothing that knows a provider's dialect belongs here.
"""

import ssl
from collections.abc import AsyncGenerator, AsyncIterator
from enum import Enum
from functools import lru_cache
from pathlib import Path

import httpx

from app.errors import (
    InternalError,
    StreamBroken,
    UpstreamGarbled,
    UpstreamPoolFull,
    UpstreamUnavailable,
)
from app.upstream import failures
from app.upstream.engine import Engine, Limits, OpenExchange
from app.upstream.messages import ResponseHeaders, UpstreamRequest
from app.upstream.request_form import (
    build_head,
    check_length,
    chunked,
    counted,
    declared_length,
)
from resilience.errors import ConnectTimeout, FirstTokenTimeout, IdleTimeout

_DEFAULT_HEADERS = ((b"accept-encoding", b"identity"), (b"user-agent", b"breakwater"))


class ClosedBeforeAnswer(httpx.RemoteProtocolError):
    """The peer closed in good order before a response: unavailable, not garbled."""


_HTTPX_OF: dict[type[failures.WireFailure], type[httpx.TransportError]] = {
    failures.PoolTimedOut: httpx.PoolTimeout,
    failures.ConnectTimedOut: httpx.ConnectTimeout,
    failures.ConnectFailed: httpx.ConnectError,
    failures.WriteTimedOut: httpx.WriteTimeout,
    failures.ReadTimedOut: httpx.ReadTimeout,
    failures.ReadFailed: httpx.ReadError,
    failures.PeerGarbled: httpx.RemoteProtocolError,
    failures.PeerClosed: ClosedBeforeAnswer,
    failures.RequestMisformed: httpx.LocalProtocolError,
    failures.SchemeUnknown: httpx.UnsupportedProtocol,
}


def tls_context(ca_file: Path | None = None) -> ssl.SSLContext:
    """Return a verifying context: the system's roots, or only those in `ca_file`."""
    context = ssl.create_default_context(cafile=ca_file)
    context.set_alpn_protocols(["http/1.1"])
    return context


class AiohttpTransport(httpx.AsyncBaseTransport):
    """HTTP/1.1 to providers: pooled, cancellable at every await, exact in its errors.

    Limits are taken from each request's `timeout` extension, as httpx defines it.
    Bodies are handed over raw, as they arrive. A request is sent at most once.

    Belongs to the event loop that first uses it. `max_connections` bounds requests in
    progress over all origins (`None`: no bound); an idle connection is kept for
    `keepalive_s`. `tls` is the context for https, by default `tls_context()`.
    """

    def __init__(
        self,
        *,
        max_connections: int | None = None,
        keepalive_s: float = 30.0,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._max_connections = max_connections
        self._keepalive_s = keepalive_s
        self._tls = tls if tls is not None else tls_context()
        self._engine: Engine | None = None

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send the request and return its response, head received, body to come.

        The caller closes the response, or reads it to its end.

        Raises:
            httpx.TransportError: by its class, what failed in which phase.
        """
        url = request.url
        headers = request.headers.raw
        limits = request.extensions.get("timeout", {})
        engine = self._engine or self._start()
        try:
            opened = await engine.open(
                (url.raw_scheme, url.raw_host, url.port),
                build_head(request.method.encode(), url.raw_path, headers),
                _framed_body(request, declared_length(headers)),
                Limits(
                    limits.get("pool"),
                    limits.get("connect"),
                    limits.get("write"),
                    limits.get("read"),
                ),
                without_body=request.method == "HEAD",
            )
        except failures.WireFailure as exc:
            raise _as_httpx(exc, request) from exc
        exchange = opened.exchange
        return httpx.Response(
            exchange.status,
            headers=exchange.headers,
            stream=_Body(opened, request),
            request=request,
            extensions={
                "http_version": exchange.http_version,
                "reason_phrase": exchange.reason,
            },
        )

    async def aclose(self) -> None:
        """Abort every connection, in use or idle."""
        engine, self._engine = self._engine, None
        if engine is not None:
            await engine.aclose()

    def _start(self) -> Engine:
        self._engine = engine = Engine(
            tls=self._tls,
            max_connections=self._max_connections,
            keepalive_s=self._keepalive_s,
        )
        return engine


class _Body(httpx.AsyncByteStream):
    """The body of a response: raw bytes as they arrive."""

    def __init__(self, opened: OpenExchange, request: httpx.Request) -> None:
        self._opened = opened
        self._request = request

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        try:
            data = await self._opened.receive()
        except failures.WireFailure as exc:
            raise _as_httpx(exc, self._request) from exc
        if not data:
            raise StopAsyncIteration
        return data

    async def aclose(self) -> None:
        self._opened.close()


def _as_httpx(
    failure: failures.WireFailure, request: httpx.Request
) -> httpx.TransportError:
    return _HTTPX_OF[type(failure)](str(failure), request=request)


def _framed_body(
    request: httpx.Request, length: int | None
) -> bytes | AsyncGenerator[bytes]:
    """Return the body ready for the wire, checked against its declared length."""
    stream = request.stream
    if isinstance(stream, httpx.ByteStream) and length is not None:
        body = b"".join(stream)
        check_length(len(body), length)
        return body
    if not isinstance(stream, httpx.AsyncByteStream):
        raise failures.RequestMisformed("the request's body cannot be read here")
    return chunked(stream) if length is None else counted(stream, length)


class Phase(Enum):
    """Where an exchange was when it failed."""

    OPENING = "opening"
    BODY = "body"


def translate(
    exc: httpx.HTTPError,
    target: str,
    phase: Phase,
    *,
    connect_timeout_s: float | None = None,
    read_timeout_s: float | None = None,
) -> Exception:
    """Return the domain error for a failure of the transport.

    Decided by the exception's class and the phase, never by its text; the text goes
    into `detail`, which is only logged.
    """
    detail = f"{phase.value}: {type(exc).__name__}: {exc}"
    if isinstance(exc, httpx.PoolTimeout):
        return UpstreamPoolFull(target=target, detail=detail)
    if isinstance(exc, httpx.ConnectTimeout):
        return ConnectTimeout(connect_timeout_s or 0.0)
    if isinstance(exc, httpx.TimeoutException):
        silence = FirstTokenTimeout if phase is Phase.OPENING else IdleTimeout
        return silence(read_timeout_s or 0.0)
    if isinstance(exc, httpx.LocalProtocolError | httpx.UnsupportedProtocol):
        return InternalError(detail=detail)
    if phase is Phase.BODY:
        return StreamBroken(target=target, detail=detail)
    if isinstance(exc, httpx.RemoteProtocolError | httpx.DecodingError) and not (
        isinstance(exc, ClosedBeforeAnswer)
    ):
        return UpstreamGarbled(target=target, detail=detail)
    return UpstreamUnavailable(target=target, detail=detail)


class UpstreamResponse:
    """A response whose head has arrived. The owner reads it to its end or closes it."""

    __slots__ = ("_pieces", "_response", "_target", "_timeout_s", "headers", "status")

    def __init__(
        self, response: httpx.Response, target: str, read_timeout_s: float | None
    ) -> None:
        self.status = response.status_code
        self.headers = ResponseHeaders(response.headers.raw)
        self._response = response
        self._target = target
        self._timeout_s = read_timeout_s
        self._pieces: AsyncIterator[bytes] | None = None

    def chunks(self) -> AsyncIterator[bytes]:
        """Return the body, decoded, in pieces as they arrive; it can be read once.

        Iterating raises:
            StreamBroken: the body was cut, reset or cannot be decoded.
            IdleTimeout: silence for the read timeout.
        """
        if self._pieces is not None:
            raise RuntimeError("the body of a response is read once")
        stream = self._response.stream
        encoding = self.headers.get("content-encoding", "identity")
        if encoding.strip().lower() == "identity" and isinstance(
            stream, httpx.AsyncByteStream
        ):
            self._pieces = aiter(stream)
        else:
            self._pieces = self._response.aiter_bytes()
        return _Chunks(self._pieces, self._target, self._timeout_s)

    async def read(self, max_bytes: int) -> bytes:
        """Return the whole body and close.

        Raises:
            UpstreamGarbled: it is longer than `max_bytes`.
            StreamBroken, IdleTimeout: as for `chunks`.
        """
        pieces: list[bytes] = []
        size = 0
        try:
            async for piece in self.chunks():
                size += len(piece)
                if size > max_bytes:
                    raise UpstreamGarbled(
                        target=self._target,
                        status=self.status,
                        detail=f"the body is longer than {max_bytes} bytes",
                    )
                pieces.append(piece)
        finally:
            await self.aclose()
        return b"".join(pieces)

    async def aclose(self) -> None:
        """Cut off what has not been read; after the end this does nothing."""
        await self._response.aclose()


class _Chunks(AsyncIterator[bytes]):
    """Passes pieces on, and errors of the transport as domain errors."""

    __slots__ = ("_pieces", "_target", "_timeout_s")

    def __init__(
        self, pieces: AsyncIterator[bytes], target: str, timeout_s: float | None
    ) -> None:
        self._pieces = pieces
        self._target = target
        self._timeout_s = timeout_s

    async def __anext__(self) -> bytes:
        try:
            return await anext(self._pieces)
        except httpx.HTTPError as exc:
            raise translate(
                exc, self._target, Phase.BODY, read_timeout_s=self._timeout_s
            ) from exc


class Upstream:
    """Opens requests over any httpx transport; owns the transport.

    `pool_timeout_s` is how long a request may wait for a connection of ours.
    """

    def __init__(
        self, transport: httpx.AsyncBaseTransport, *, pool_timeout_s: float = 1.0
    ) -> None:
        self._transport = transport
        self._pool_timeout_s = pool_timeout_s

    async def open(
        self,
        request: UpstreamRequest,
        *,
        connect_timeout_s: float | None,
        read_timeout_s: float | None,
    ) -> UpstreamResponse:
        """Send `request` once and return when the response's head is here.

        `read_timeout_s` bounds each wait for the peer: to take the request, to begin
        its answer, and between two pieces of the body.

        Raises:
            UpstreamUnavailable, UpstreamGarbled: no answer, or none in HTTP.
            ConnectTimeout, FirstTokenTimeout: too slow to connect, or to answer.
            UpstreamPoolFull: no connection of ours was free in time; nothing was sent.
            InternalError: the request cannot be put on the wire; nothing was sent.
        """
        limits = {
            "pool": self._pool_timeout_s,
            "connect": connect_timeout_s,
            "write": read_timeout_s,
            "read": read_timeout_s,
        }
        try:
            response = await self._transport.handle_async_request(
                _as_httpx_request(request, limits)
            )
        except httpx.HTTPError as exc:
            raise translate(
                exc,
                request.target,
                Phase.OPENING,
                connect_timeout_s=connect_timeout_s,
                read_timeout_s=read_timeout_s,
            ) from exc
        return UpstreamResponse(response, request.target, read_timeout_s)

    async def aclose(self) -> None:
        """Close the transport and with it every connection."""
        await self._transport.aclose()


@lru_cache(maxsize=1024)
def _parsed(url: str) -> httpx.URL:
    return httpx.URL(url)


def _as_httpx_request(
    request: UpstreamRequest, limits: dict[str, float | None]
) -> httpx.Request:
    """Complete the headers; bodies come raw unless the caller asks otherwise."""
    try:
        url = _parsed(request.url)
        headers = [
            (b"host", url.netloc),
            *[(name.encode(), value.encode()) for name, value in request.headers],
        ]
    except (httpx.InvalidURL, UnicodeError) as exc:
        raise InternalError(detail=f"not a request: {type(exc).__name__}") from exc
    known = {name.lower() for name, _ in headers}
    headers += [pair for pair in _DEFAULT_HEADERS if pair[0] not in known]
    headers.append((b"content-length", b"%d" % len(request.body)))
    return httpx.Request(
        request.method,
        url,
        headers=headers,
        stream=httpx.ByteStream(request.body),
        extensions={"timeout": limits},
    )
