"""What the gateway sees of a provider: answers, and failures as domain errors."""

import gzip
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
import trustme

from app.errors import (
    AppError,
    InternalError,
    StreamBroken,
    UpstreamGarbled,
    UpstreamPoolFull,
    UpstreamUnavailable,
)
from app.upstream import (
    AiohttpTransport,
    ResponseHeaders,
    Upstream,
    UpstreamRequest,
    UpstreamResponse,
    tls_context,
)
from app.upstream.transport import Phase, translate
from resilience.errors import ConnectTimeout, FirstTokenTimeout, IdleTimeout
from tests.app.upstream.asking import LONG_S, SHORT_S
from tests.app.upstream.conftest import MakeTransport
from tests.app.upstream.peer import (
    CHUNKED,
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


@pytest.fixture
async def upstream(make_ours: MakeTransport) -> AsyncIterator[Upstream]:
    made = Upstream(make_ours(max_connections=1), pool_timeout_s=SHORT_S)
    yield made
    await made.aclose()


async def ask(
    upstream: Upstream,
    url: str,
    *,
    body: bytes = b"{}",
    headers: tuple[tuple[str, str], ...] = (),
    connect_s: float = LONG_S,
    read_s: float | None = LONG_S,
) -> UpstreamResponse:
    request = UpstreamRequest("POST", url, headers, body, target="acme/model-1")
    return await upstream.open(
        request, connect_timeout_s=connect_s, read_timeout_s=read_s
    )


# -- answers


async def test_a_response_is_read_whole_up_to_a_bound(upstream: Upstream) -> None:
    async with playing(answers) as peer:
        assert await (await ask(upstream, peer.url)).read(2) == b"ok"
        with pytest.raises(UpstreamGarbled) as told:
            await (await ask(upstream, peer.url)).read(1)
        assert told.value.target == "acme/model-1"
        assert await (await ask(upstream, peer.url)).read(2) == b"ok"


async def test_a_response_is_read_piece_by_piece(upstream: Upstream) -> None:
    head = b"HTTP/1.1 503 Busy\r\nRetry-After: 7\r\ntransfer-encoding: chunked\r\n\r\n"
    async with playing(sends(head + chunk(b"one"), chunk(b"two") + chunk(b""))) as peer:
        response = await ask(upstream, peer.url)
        assert response.status == 503
        assert response.headers["retry-after"] == response.headers["RETRY-AFTER"] == "7"
        pieces = [piece async for piece in response.chunks()]
        assert b"".join(pieces) == b"onetwo"
        with pytest.raises(RuntimeError):
            response.chunks()
        await response.aclose()


async def test_the_request_is_completed_with_what_http_needs(
    upstream: Upstream,
) -> None:
    headers = (("authorization", "Bearer x"), ("X-Ünicode", "1"))
    async with playing(answers) as peer:
        await (await ask(upstream, peer.url, headers=headers[:1])).read(9)
        custom = (("Accept-Encoding", "gzip"), ("User-Agent", "me"))
        await (await ask(upstream, peer.url, headers=custom)).read(9)
        with pytest.raises(InternalError):
            await ask(upstream, peer.url, headers=headers)
    host = b"host: localhost:%d" % peer.port
    assert [request.split(b"\r\n") for request in peer.requests] == [
        [
            b"POST /v1/thing HTTP/1.1",
            host,
            b"authorization: Bearer x",
            b"accept-encoding: identity",
            b"user-agent: breakwater",
            b"content-length: 2",
            b"",
            b"{}",
        ],
        [
            b"POST /v1/thing HTTP/1.1",
            host,
            b"Accept-Encoding: gzip",
            b"User-Agent: me",
            b"content-length: 2",
            b"",
            b"{}",
        ],
    ]


async def test_a_body_compressed_unasked_is_decoded(upstream: Upstream) -> None:
    packed = gzip.compress(b"words, words, words")
    head = b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: %d\r\n\r\n"
    async with playing(sends(head % len(packed) + packed)) as peer:
        assert await (await ask(upstream, peer.url)).read(99) == b"words, words, words"


async def test_a_closed_response_gives_its_connection_up(upstream: Upstream) -> None:
    async with playing(sends_then_stays(CHUNKED, chunk(b"part"))) as peer:
        response = await ask(upstream, peer.url)
        assert await anext(response.chunks()) == b"part"
        await response.aclose()
        assert await peer.ending() in ("closed", "reset")
        await (await ask(upstream, peer.url)).aclose()


def test_headers_are_found_in_any_case_and_repeated_ones_are_joined() -> None:
    headers = ResponseHeaders([(b"A", b"1"), (b"b", b"\xe9"), (b"a", b"2")])
    assert dict(headers) == {"a": "1, 2", "b": "é"}
    assert len(headers) == 2
    assert headers.get("C") is None


# -- failures

BEFORE_THE_HEAD: dict[str, tuple[Script, type[Exception]]] = {
    "reset": (sends_then_resets(), UpstreamUnavailable),
    "closed": (closes_at_once, UpstreamUnavailable),
    "no HTTP": (sends_then_stays(b"what?\r\n\r\n"), UpstreamGarbled),
    "silent": (is_silent, FirstTokenTimeout),
    "takes no upload": (takes_nothing, FirstTokenTimeout),
}

WITHIN_THE_BODY: dict[str, tuple[Script, type[Exception]]] = {
    "reset": (sends_then_resets(CHUNKED, chunk(b"part")), StreamBroken),
    "cut": (sends(CHUNKED, chunk(b"part")), StreamBroken),
    "no chunk": (sends_then_stays(CHUNKED, chunk(b"part") + b"what?"), StreamBroken),
    "silent": (sends_then_stays(CHUNKED, chunk(b"part")), IdleTimeout),
}


@pytest.mark.parametrize("fact", BEFORE_THE_HEAD)
async def test_a_failure_before_the_head_is_a_domain_error(
    fact: str, upstream: Upstream
) -> None:
    script, told = BEFORE_THE_HEAD[fact]
    body = b"x" * 16_000_000 if fact == "takes no upload" else b"{}"
    async with playing(script) as peer:
        with pytest.raises(told) as caught:
            await ask(upstream, peer.url, body=body, read_s=SHORT_S)
    tells_nothing_internal(caught.value)


@pytest.mark.parametrize("fact", WITHIN_THE_BODY)
async def test_a_failure_within_the_body_is_another_domain_error(
    fact: str, upstream: Upstream
) -> None:
    script, told = WITHIN_THE_BODY[fact]
    read_s = SHORT_S if fact == "silent" else LONG_S
    async with playing(script) as peer:
        response = await ask(upstream, peer.url, read_s=read_s)
        pieces = response.chunks()
        assert await anext(pieces) == b"part"
        peer.go.set()
        with pytest.raises(told) as caught:
            await anext(pieces)
        await response.aclose()
    tells_nothing_internal(caught.value)


def tells_nothing_internal(exc: BaseException) -> None:
    """No address, port or library name in what a client may read."""
    for word in ("127.0.0.1", "localhost", "httpx", "aiohttp", "Errno"):
        assert word not in str(exc)
    if isinstance(exc, AppError):
        assert exc.detail, "the log is told more"


async def test_a_bad_certificate_makes_a_provider_unavailable(
    upstream: Upstream, server_tls: ssl.SSLContext
) -> None:
    async with playing(answers, server_tls) as peer:
        with pytest.raises(UpstreamUnavailable) as caught:
            await ask(upstream, peer.url)
    tells_nothing_internal(caught.value)
    assert "certificate" in (caught.value.detail or "")


async def test_a_handshake_that_never_ends_is_a_connect_timeout(
    upstream: Upstream,
) -> None:
    async with playing(lambda line: line.await_end()) as peer:
        url = peer.url.replace("http:", "https:")
        with pytest.raises(ConnectTimeout) as caught:
            await ask(upstream, url, connect_s=SHORT_S)
    assert caught.value.limit_s == SHORT_S


async def test_a_full_pool_is_our_own_failure(upstream: Upstream) -> None:
    async with playing(sends_then_stays(CHUNKED)) as peer:
        response = await ask(upstream, peer.url)
        with pytest.raises(UpstreamPoolFull):
            await ask(upstream, peer.url)
        await response.aclose()


@pytest.mark.parametrize(
    ("url", "headers"),
    [
        ("http://localhost/", (("x", "1\r\ny: 2"),)),
        ("gopher://localhost/", ()),
        ("http://localhost:port/", ()),
        ("http:///no-host", ()),
    ],
)
async def test_a_request_that_cannot_be_sent_is_a_fault_of_ours(
    url: str, headers: tuple[tuple[str, str], ...], upstream: Upstream
) -> None:
    with pytest.raises(InternalError):
        await ask(upstream, url, headers=headers)


async def test_any_transport_will_do() -> None:
    def respond(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, content=b"mock " + request.content)

    upstream = Upstream(httpx.MockTransport(respond))
    response = await ask(upstream, "http://provider.example/", read_s=None)
    assert await response.read(99) == b"mock {}"


async def test_a_body_that_does_not_decode_breaks_the_stream() -> None:
    def respond(request: httpx.Request) -> httpx.Response:
        headers = {"content-encoding": "gzip"}
        return httpx.Response(
            200, headers=headers, stream=httpx.ByteStream(b"not gzip at all")
        )

    upstream = Upstream(httpx.MockTransport(respond))
    response = await ask(upstream, "http://provider.example/")
    with pytest.raises(StreamBroken):
        await response.read(99)


@pytest.mark.parametrize("phase", Phase)
def test_every_exception_of_httpx_has_a_domain_error(phase: Phase) -> None:
    kinds = [httpx.HTTPError]
    for kind in kinds:
        kinds += kind.__subclasses__()
    for kind in kinds:
        if kind is httpx.HTTPStatusError:
            continue  # raised by `raise_for_status` only, which nobody calls here
        exc = translate(
            kind("internal: 10.0.0.1"), "acme/model-1", phase, read_timeout_s=1.0
        )
        assert "10.0.0.1" not in str(exc)


async def test_only_the_authorities_of_the_file_are_trusted(
    tmp_path: Path, authority: trustme.CA, server_tls: ssl.SSLContext
) -> None:
    file = tmp_path / "authority.pem"
    authority.cert_pem.write_to_path(str(file))
    context = tls_context(file)
    assert len(context.get_ca_certs()) == 1
    upstream = Upstream(AiohttpTransport(tls=context))
    async with playing(answers, server_tls) as peer:
        assert await (await ask(upstream, peer.url)).read(2) == b"ok"
        await upstream.aclose()


async def test_no_pool_without_slots_can_be_made() -> None:
    transport = AiohttpTransport(max_connections=0)
    with pytest.raises(ValueError, match="max_connections"):
        await ask(Upstream(transport), "http://localhost/")
