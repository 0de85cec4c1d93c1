"""Cancelled at any await, a request leaves nothing behind.

For each phase: the task ends as cancelled, the peer sees the connection end, no task
of ours goes on, and the one slot of the pool is free for the next request.
"""

import asyncio
import ssl

import httpx
import pytest

from tests.app.upstream.asking import a_request, body_of, raw
from tests.app.upstream.conftest import MakeTransport
from tests.app.upstream.peer import (
    CHUNKED,
    Line,
    Peer,
    Script,
    answers,
    chunk,
    is_silent,
    playing,
    sends_then_stays,
    takes_nothing,
)
from tests.app.upstream.test_transport_contract import a_full_backlog

GONE = ("closed", "reset")


async def cancelled(task: "asyncio.Task[object]") -> None:
    """Cancel and await the end, as the layers above do."""
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


def others() -> set["asyncio.Task[object]"]:
    """Every task but the test's own."""
    return asyncio.all_tasks() - {asyncio.current_task()}  # type: ignore[arg-type]  # None only outside a task


async def has_a_free_slot(transport: httpx.AsyncBaseTransport) -> None:
    """Prove that the pool of one can serve another request."""
    async with playing(answers) as peer:
        response = await transport.handle_async_request(a_request(peer.url, pool=1.0))
        assert await body_of(response) == b"ok"


async def opening(
    transport: httpx.AsyncBaseTransport, url: str, content: bytes = b"{}"
) -> "asyncio.Task[object]":
    """Start a request in a task of its own, and let it come to its first wait."""
    request = a_request(url, content=content)
    task: asyncio.Task[object] = asyncio.create_task(
        transport.handle_async_request(request)
    )
    await asyncio.sleep(0)
    return task


def is_silent_in_the_handshake(line: Line) -> None:
    line.sock.recv(65536)
    line.peer.reached.set()
    line.await_end()


PHASES: dict[str, tuple[Script, str, bytes]] = {
    "the TLS handshake": (is_silent_in_the_handshake, "https", b"{}"),
    "the upload": (takes_nothing, "http", b"x" * 16_000_000),
    "the wait for the head": (is_silent, "http", b"{}"),
}


@pytest.mark.parametrize("phase", PHASES)
async def test_cancelled_before_the_head_it_closes_the_connection(
    phase: str, make_ours: MakeTransport, client_tls: ssl.SSLContext
) -> None:
    script, scheme, content = PHASES[phase]
    transport = make_ours(client_tls, max_connections=1)
    async with playing(script) as peer:
        url = peer.url.replace("http:", f"{scheme}:")
        task = await opening(transport, url, content)
        await peer.was_reached()
        await cancelled(task)
        assert others() == set()
        peer.go.set()
        assert await peer.ending() in GONE
    await has_a_free_slot(transport)


async def test_cancelled_while_it_waits_for_the_pool_it_leaves_the_queue(
    make_ours: MakeTransport,
) -> None:
    transport = make_ours(max_connections=1)
    async with playing(sends_then_stays(CHUNKED, chunk(b"part"))) as peer:
        first = await transport.handle_async_request(a_request(peer.url))
        waiting = [await opening(transport, peer.url) for _ in range(3)]
        await cancelled(waiting[0])
        await first.aclose()
        await cancelled(waiting[1])
        second = await waiting[2]
        assert isinstance(second, httpx.Response)
        await second.aclose()
        assert others() == set()
    await has_a_free_slot(transport)


async def test_cancelled_while_it_looks_a_name_up_it_frees_its_slot(
    make_ours: MakeTransport, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The look-up itself, shared by all who ask for the name, ends with the client."""
    asked = asyncio.Event()

    async def silent(*args: object, **kwargs: object) -> None:
        asked.set()
        await asyncio.Event().wait()

    transport = make_ours(max_connections=1)
    with monkeypatch.context() as patched:
        patched.setattr(asyncio.get_running_loop(), "getaddrinfo", silent)
        task = await opening(transport, "http://slow.invalid/")
        await asked.wait()
        await cancelled(task)
    await has_a_free_slot(transport)
    await transport.aclose()
    assert others() == set()


async def test_cancelled_while_it_connects_it_frees_its_slot(
    make_ours: MakeTransport,
) -> None:
    transport = make_ours(max_connections=1)
    with a_full_backlog() as port:
        task = await opening(transport, f"http://127.0.0.1:{port}/")
        for _ in range(5):
            await asyncio.sleep(0)
        await cancelled(task)
        assert others() == set()
    await has_a_free_slot(transport)


async def a_body_in_progress(
    transport: httpx.AsyncBaseTransport, peer: Peer
) -> "asyncio.Task[object]":
    """A task that has read the first piece and waits for the second."""
    first = asyncio.Event()

    async def reads() -> None:
        response = await transport.handle_async_request(a_request(peer.url))
        async for _ in raw(response):
            first.set()

    task: asyncio.Task[object] = asyncio.create_task(reads())
    await first.wait()
    await asyncio.sleep(0)
    return task


async def test_cancelled_within_the_body_it_closes_the_connection(
    make_ours: MakeTransport,
) -> None:
    transport = make_ours(max_connections=1)
    async with playing(sends_then_stays(CHUNKED, chunk(b"part"))) as peer:
        await cancelled(await a_body_in_progress(transport, peer))
        assert others() == set()
        assert await peer.ending() in GONE
    await has_a_free_slot(transport)


async def test_cancelled_within_a_body_over_tls_it_closes_without_farewell(
    make_ours: MakeTransport, server_tls: ssl.SSLContext, client_tls: ssl.SSLContext
) -> None:
    """A TLS farewell would wait for a peer that may be the one not responding."""
    transport = make_ours(client_tls, max_connections=1)
    script = sends_then_stays(CHUNKED, chunk(b"part"))
    async with playing(script, server_tls) as peer:
        await cancelled(await a_body_in_progress(transport, peer))
        assert others() == set()
        assert await peer.ending() in (*GONE, "cut")
    await has_a_free_slot(transport)


async def test_cancelled_while_a_kept_connection_waits_it_does_not_reuse_it(
    make_ours: MakeTransport,
) -> None:
    def answers_then_falls_silent(line: Line) -> None:
        line.take_request()
        line.send(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
        line.peer.reached.clear()
        line.take_request()
        line.await_end()

    transport = make_ours(max_connections=1)
    async with playing(answers_then_falls_silent) as peer:
        for _ in range(2):
            response = await transport.handle_async_request(a_request(peer.url))
            assert await body_of(response) == b"ok"
            task = await opening(transport, peer.url)
            await peer.was_reached()
            await cancelled(task)
            assert await peer.ending() in GONE
        assert peer.connections == 2


async def test_a_storm_of_cancellations_leaks_no_socket_and_no_slot(
    make_ours: MakeTransport,
) -> None:
    """Cancels after 0, 1, 2 … turns of the loop, so at every await on the way."""
    transport = make_ours(max_connections=2)
    async with playing(answers) as peer:
        for turns in range(60):
            task = await opening(transport, peer.url)
            for _ in range(turns):
                await asyncio.sleep(0)
            if task.done():
                response = task.result()
                assert isinstance(response, httpx.Response)
                await response.aclose()
                continue
            await cancelled(task)
        assert others() == set()
        for _ in range(2):
            response = await transport.handle_async_request(
                a_request(peer.url, pool=1.0)
            )
            assert await body_of(response) == b"ok"
