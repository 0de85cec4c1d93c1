"""How a transport behaves while all goes well: bodies, framing, keep-alive, limits.

Like the contract of failures, every test runs against both implementations unless its
name says that the promise is ours alone.
"""

import asyncio
import gzip
import socket
from collections.abc import Callable

import httpx
import pytest

from tests.app.upstream.asking import SHORT_S, a_request, body_of, raw
from tests.app.upstream.conftest import MakeTransport
from tests.app.upstream.peer import (
    ANSWER,
    CHUNKED,
    Line,
    answers,
    chunk,
    closes_at_once,
    playing,
    sends,
    sends_then_resets,
    sends_then_stays,
)

# -- bodies and heads


async def test_each_piece_is_handed_over_before_the_next_is_sent(
    make: MakeTransport,
) -> None:
    def sends_when_the_last_was_seen(line: Line) -> None:
        line.take_request()
        line.send(CHUNKED)
        for piece in (b"one", b"two", b"three"):
            line.send(chunk(piece))
            line.wait()
            line.peer.go.clear()
        line.send(chunk(b""))

    async with playing(sends_when_the_last_was_seen) as peer:
        response = await make().handle_async_request(a_request(peer.url))
        pieces = raw(response)
        for expected in (b"one", b"two", b"three"):
            assert await anext(pieces) == expected
            peer.go.set()
        assert [piece async for piece in pieces] == []


async def test_status_and_headers_come_as_sent_duplicates_included(
    make: MakeTransport,
) -> None:
    head = b"HTTP/1.1 404 Nowhere To Be Seen\r\nX-A: 1\r\nx-a: 2\r\nContent-Length: 0"
    async with playing(sends(head + b"\r\n\r\n")) as peer:
        response = await make().handle_async_request(a_request(peer.url))
        assert await body_of(response) == b""
    assert (response.status_code, response.reason_phrase) == (404, "Nowhere To Be Seen")
    assert response.http_version == "HTTP/1.1"
    assert response.headers.raw == [
        (b"X-A", b"1"),
        (b"x-a", b"2"),
        (b"Content-Length", b"0"),
    ]


@pytest.mark.parametrize(
    "framed",
    [
        b"HTTP/1.1 200 OK\r\ncontent-length: 7\r\n\r\nanswer\n",
        CHUNKED + chunk(b"ans") + chunk(b"wer\n") + chunk(b""),
        CHUNKED + chunk(b"answer\n") + b"0\r\nx-trailer: 1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\r\nanswer\n",
        b"HTTP/1.0 200 OK\r\n\r\nanswer\n",
        b"HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n" + b"HTTP/1.1 100 Go\r\n\r\n"
        b"HTTP/1.1 200 OK\r\ncontent-length: 7\r\n\r\nanswer\n",
    ],
    ids=["length", "chunks", "trailers", "until closed", "HTTP/1.0", "after interim"],
)
async def test_a_body_ends_by_any_framing_wherever_the_packets_are_cut(
    framed: bytes, make: MakeTransport
) -> None:
    def sends_byte_by_byte(line: Line) -> None:
        line.take_request()
        for at in range(len(framed)):
            line.send(framed[at : at + 1])

    for script in (sends(framed), sends_byte_by_byte):
        async with playing(script) as peer:
            response = await make().handle_async_request(a_request(peer.url))
            assert response.status_code == 200
            assert "link" not in response.headers
            assert await body_of(response) == b"answer\n"


@pytest.mark.parametrize(
    ("method", "head"),
    [
        ("HEAD", b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n"),
        ("POST", b"HTTP/1.1 204 No Content\r\n\r\n"),
        ("GET", b"HTTP/1.1 304 Not Modified\r\ncontent-length: 5\r\n\r\n"),
    ],
)
async def test_an_answer_that_has_no_body_ends_with_its_head(
    method: str, head: bytes, make: MakeTransport
) -> None:
    async with playing(sends_then_stays(head)) as peer:
        request = a_request(peer.url, method=method, content=None)
        response = await make().handle_async_request(request)
        assert await body_of(response) == b""


async def test_a_large_body_waits_for_a_slow_reader_and_arrives_whole(
    make: MakeTransport,
) -> None:
    block = bytes(range(256)) * 1024
    async with playing(sends(CHUNKED, *[chunk(block)] * 20, chunk(b""))) as peer:
        response = await make().handle_async_request(a_request(peer.url))
        pieces = raw(response)
        received = [await anext(pieces)]
        await asyncio.sleep(SHORT_S)
        received += [piece async for piece in pieces]
    assert b"".join(received) == block * 20


async def test_compressed_bodies_come_raw_for_httpx_to_decode(
    make: MakeTransport,
) -> None:
    packed = gzip.compress(b"words, words, words")
    head = b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: %d\r\n\r\n"
    async with playing(sends(head % len(packed) + packed)) as peer:
        response = await make().handle_async_request(a_request(peer.url))
        assert await response.aread() == b"words, words, words"


async def test_the_request_is_sent_as_given_and_nothing_is_added(
    make: MakeTransport,
) -> None:
    async with playing(answers) as peer:
        url = f"http://localhost:{peer.port}/a%20b?q=%2F"
        request = httpx.Request(
            "POST", url, headers=[("X-One", "1"), ("x-one", "2")], content=b"body"
        )
        await body_of(await make().handle_async_request(request))
    assert peer.requests == [
        b"POST /a%%20b?q=%%2F HTTP/1.1\r\nHost: localhost:%d\r\n"
        b"X-One: 1\r\nx-one: 2\r\nContent-Length: 4\r\n\r\nbody" % peer.port
    ]


async def test_a_body_of_unknown_length_is_sent_in_chunks(make: MakeTransport) -> None:
    async def pieces():  # type: ignore[no-untyped-def]  # what httpx takes as content
        for piece in (b"one", b"", b"two"):
            yield piece

    async with playing(answers) as peer:
        request = a_request(peer.url, content=pieces())
        assert await body_of(await make().handle_async_request(request)) == b"ok"
    assert peer.requests[0].endswith(b"\r\n\r\n3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n")


async def test_a_large_body_is_sent_whole_to_a_peer_that_takes_its_time(
    make: MakeTransport,
) -> None:
    content = bytes(range(256)) * 16_384

    def hesitates(line: Line) -> None:
        line.wait()
        answers(line)

    async with playing(hesitates) as peer:
        request = a_request(peer.url, content=content)
        task = asyncio.create_task(make().handle_async_request(request))
        await asyncio.sleep(SHORT_S)
        peer.go.set()
        assert await body_of(await task) == b"ok"
    assert peer.requests[0].endswith(b"\r\n\r\n" + content)


async def test_a_streamed_body_of_declared_length_is_sent_as_it_is(
    make: MakeTransport,
) -> None:
    async def pieces():  # type: ignore[no-untyped-def]  # what httpx takes as content
        yield b"one"
        yield b"two"

    async with playing(answers) as peer:
        headers = [("content-length", "6")]
        request = a_request(peer.url, content=pieces(), headers=headers)
        assert await body_of(await make().handle_async_request(request)) == b"ok"
    assert peer.requests[0].endswith(b"content-length: 6\r\n\r\nonetwo")


async def test_redirects_and_cookies_are_left_to_the_caller(
    make: MakeTransport,
) -> None:
    head = b"HTTP/1.1 302 Found\r\nlocation: /b\r\nset-cookie: a=1\r\n"
    redirect = head + b"content-length: 0\r\n\r\n"

    def redirects_twice(line: Line) -> None:
        for _ in range(2):
            line.take_request()
            line.send(redirect)

    async with playing(redirects_twice) as peer:
        transport = make()
        for _ in range(2):
            response = await transport.handle_async_request(a_request(peer.url))
            assert response.status_code == 302
            await body_of(response)
    assert all(b"cookie" not in request.lower() for request in peer.requests)
    assert len(peer.requests) == 2


# -- connections kept, and not kept


async def test_a_connection_is_used_again_after_the_body_was_read(
    make: MakeTransport,
) -> None:
    async with playing(answers) as peer:
        transport = make(max_connections=1)
        for _ in range(3):
            response = await transport.handle_async_request(a_request(peer.url))
            assert await body_of(response) == b"ok"
        assert peer.connections == 1


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok",
        b"HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nok",
    ],
    ids=["asked to close", "HTTP/1.0"],
)
async def test_a_connection_that_cannot_go_on_is_replaced(
    answer: bytes, make: MakeTransport
) -> None:
    async with playing(sends_then_stays(answer)) as peer:
        transport = make(max_connections=1)
        for _ in range(2):
            response = await transport.handle_async_request(a_request(peer.url))
            assert await body_of(response) == b"ok"
        assert peer.connections == 2


async def test_closing_an_unread_response_closes_its_connection(
    make: MakeTransport,
) -> None:
    async with playing(sends_then_stays(CHUNKED, chunk(b"part"))) as peer:
        response = await make().handle_async_request(a_request(peer.url))
        assert await anext(raw(response)) == b"part"
        await response.aclose()
        await response.aclose()
        assert await peer.ending() in ("closed", "reset")


async def test_an_idle_connection_that_the_peer_has_closed_is_replaced(
    make: MakeTransport,
) -> None:
    async with playing(sends(ANSWER)) as peer:
        transport = make()
        for _ in range(3):
            response = await transport.handle_async_request(a_request(peer.url))
            assert await body_of(response) == b"ok"
            assert await asyncio.to_thread(peer.done.wait, 5)
            peer.done.clear()
        assert peer.connections == 3


async def test_an_idle_connection_closed_while_the_loop_was_busy_is_replaced(
    make: MakeTransport,
) -> None:
    async with playing(sends(ANSWER)) as peer:
        transport = make()
        response = await transport.handle_async_request(a_request(peer.url))
        assert await body_of(response) == b"ok"
        assert peer.done.wait(5), "blocks the loop: the farewell is in the kernel only"
        response = await transport.handle_async_request(a_request(peer.url))
        assert await body_of(response) == b"ok"


async def test_an_idle_connection_that_speaks_unasked_is_replaced(
    make: MakeTransport,
) -> None:
    def adds_a_timeout_notice(line: Line) -> None:
        line.take_request()
        line.send(ANSWER)
        line.wait()
        line.send(b"HTTP/1.1 408 Request Timeout\r\ncontent-length: 0\r\n\r\n")
        line.peer.done.set()
        line.await_end()

    async with playing(adds_a_timeout_notice) as peer:
        transport = make()
        response = await transport.handle_async_request(a_request(peer.url))
        assert await body_of(response) == b"ok"
        peer.go.set()
        assert await asyncio.to_thread(peer.done.wait, 5)
        response = await transport.handle_async_request(a_request(peer.url))
        assert response.status_code == 200
        assert await body_of(response) == b"ok"
        assert peer.connections == 2


AFTERTHOUGHTS: dict[str, Callable[[Line], None]] = {
    "adds bytes": lambda line: line.send(b"stray bytes"),
    "closes": lambda line: line.sock.shutdown(socket.SHUT_WR),
    "resets": lambda line: line.reset(),
}


@pytest.mark.parametrize("afterthought", AFTERTHOUGHTS)
async def test_what_a_peer_does_after_its_answer_spoils_the_connection_only(
    afterthought: str, make: MakeTransport
) -> None:
    def has_an_afterthought(line: Line) -> None:
        line.take_request()
        line.send(ANSWER)
        line.wait()
        AFTERTHOUGHTS[afterthought](line)
        line.peer.done.set()
        line.await_end()

    async with playing(has_an_afterthought) as peer:
        transport = make(max_connections=1)
        for _ in range(2):
            response = await transport.handle_async_request(a_request(peer.url))
            peer.go.set()
            assert await asyncio.to_thread(peer.done.wait, 5)
            await asyncio.sleep(0.01)
            assert await body_of(response) == b"ok"
        assert peer.connections == 2


@pytest.mark.parametrize("method", ["POST", "GET"])
async def test_a_request_lost_on_a_kept_connection_is_not_sent_again(
    method: str, make: MakeTransport
) -> None:
    def answers_once(line: Line) -> None:
        line.take_request()
        line.send(ANSWER)
        line.take_request()
        closes_at_once(line)

    async with playing(answers_once) as peer:
        transport = make()
        content = b"{}" if method == "POST" else None
        request = a_request(peer.url, method=method, content=content)
        assert await body_of(await transport.handle_async_request(request)) == b"ok"
        with pytest.raises(httpx.RemoteProtocolError):
            await transport.handle_async_request(request)
        assert len(peer.requests) == 2
        assert peer.connections == 1


# -- limits


async def test_a_read_limit_does_not_run_while_nobody_reads(
    make: MakeTransport,
) -> None:
    def pauses(line: Line) -> None:
        line.take_request()
        line.send(CHUNKED + chunk(b"one"))
        line.wait()
        line.send(chunk(b"two") + chunk(b""))

    async with playing(pauses) as peer:
        response = await make().handle_async_request(a_request(peer.url, read=SHORT_S))
        pieces = raw(response)
        assert await anext(pieces) == b"one"
        await asyncio.sleep(2 * SHORT_S)
        peer.go.set()
        assert [piece async for piece in pieces] == [b"two"]


async def test_a_read_limit_starts_anew_with_every_byte(make: MakeTransport) -> None:
    dribbled = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"

    limit_s = 0.3  # eleven pauses of an eighth of it: longer than the limit in all

    def dribbles(line: Line) -> None:
        line.take_request()
        for at in range(0, len(dribbled), 4):
            line.send(dribbled[at : at + 4])
            line.peer.go.wait(limit_s / 8)

    async with playing(dribbles) as peer:
        response = await make().handle_async_request(a_request(peer.url, read=limit_s))
        assert await body_of(response) == b"ok"


async def test_what_arrived_before_a_reset_is_read_however_late(
    make: MakeTransport,
) -> None:
    async with playing(sends_then_resets(CHUNKED, chunk(b"part"))) as peer:
        response = await make().handle_async_request(a_request(peer.url))
        peer.go.set()
        assert await asyncio.to_thread(peer.done.wait, 5)
        await asyncio.sleep(0)
        pieces = raw(response)
        assert await anext(pieces) == b"part"
        with pytest.raises(httpx.ReadError):
            await anext(pieces)
        await response.aclose()


# -- ours alone


async def test_ours_returns_an_answer_that_comes_before_the_upload_is_taken(
    make_ours: MakeTransport,
) -> None:
    """Stock waits for the upload and tells a write timeout instead."""

    def refuses_the_upload(line: Line) -> None:
        line.sock.recv(4096)
        line.send(b"HTTP/1.1 413 Too Large\r\ncontent-length: 0\r\n\r\n")
        line.wait()

    async def endless():  # type: ignore[no-untyped-def]  # what httpx takes as content
        while True:
            yield b"x" * 65536

    async with playing(refuses_the_upload) as peer:
        transport = make_ours(max_connections=1)
        for content in (b"x" * 16_000_000, endless()):
            response = await transport.handle_async_request(
                a_request(peer.url, content=content)
            )
            assert response.status_code == 413
            assert await body_of(response) == b""
        assert peer.connections == 2, "a half-used connection is not kept"


@pytest.mark.parametrize("surplus", [ANSWER, b"stray bytes"])
async def test_ours_never_takes_surplus_bytes_for_the_next_answer(
    surplus: bytes, make_ours: MakeTransport
) -> None:
    """Stock keeps the connection and reads the surplus as the next response."""
    async with playing(sends_then_stays(ANSWER + surplus)) as peer:
        transport = make_ours(max_connections=1)
        for _ in range(2):
            response = await transport.handle_async_request(a_request(peer.url))
            assert await body_of(response) == b"ok"
        assert peer.connections == 2


@pytest.mark.parametrize("declared", ["5", "7"])
async def test_ours_cuts_a_streamed_body_that_belies_its_length(
    declared: str, make_ours: MakeTransport
) -> None:
    """Stock lets h11's own exception through."""

    async def pieces():  # type: ignore[no-untyped-def]  # what httpx takes as content
        yield b"one"
        yield b"two"

    async with playing(answers) as peer:
        headers = [("content-length", declared)]
        request = a_request(peer.url, content=pieces(), headers=headers)
        with pytest.raises(httpx.LocalProtocolError):
            await make_ours().handle_async_request(request)
    assert peer.requests == []


async def test_ours_refuses_a_second_reader_of_one_body(
    make_ours: MakeTransport,
) -> None:
    async with playing(sends_then_stays(CHUNKED)) as peer:
        response = await make_ours().handle_async_request(a_request(peer.url))
        first = asyncio.ensure_future(anext(raw(response)))
        await asyncio.sleep(0)
        with pytest.raises(RuntimeError):
            await anext(raw(response))
        with pytest.raises(httpx.TransportError):
            await first


async def test_ours_tells_a_waiting_reader_when_another_task_closes(
    make_ours: MakeTransport,
) -> None:
    async with playing(sends_then_stays(CHUNKED)) as peer:
        response = await make_ours().handle_async_request(a_request(peer.url))
        reader = asyncio.ensure_future(anext(raw(response)))
        await asyncio.sleep(0)
        await response.aclose()
        with pytest.raises(httpx.ReadError):
            await reader
        assert await peer.ending() in ("closed", "reset")


async def test_ours_fails_at_once_when_the_protocol_is_switched(
    make_ours: MakeTransport,
) -> None:
    """Stock hands over a raw stream; no provider has a reason to switch."""
    head = b"HTTP/1.1 101 Switching\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n"
    async with playing(sends_then_stays(head)) as peer:
        with pytest.raises(httpx.RemoteProtocolError):
            await make_ours().handle_async_request(a_request(peer.url))


async def test_ours_ends_requests_in_progress_when_it_is_closed(
    make_ours: MakeTransport,
) -> None:
    async with playing(sends_then_stays(CHUNKED, chunk(b"part"))) as peer:
        transport = make_ours()
        response = await transport.handle_async_request(a_request(peer.url))
        pieces = raw(response)
        assert await anext(pieces) == b"part"
        await transport.aclose()
        with pytest.raises(httpx.RemoteProtocolError):
            await anext(pieces)
        assert await peer.ending() in ("closed", "reset")
