"""A connection that is gone before its first request is begun."""

import asyncio
import socket
import struct

import pytest

from app.upstream.failures import PeerClosed, ReadFailed, WireFailure
from app.upstream.wire import Wire


async def connected() -> tuple[Wire, socket.socket]:
    loop = asyncio.get_running_loop()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        ours = socket.create_connection(listener.getsockname())
        theirs, _ = listener.accept()
    _, wire = await loop.create_connection(lambda: Wire(loop), sock=ours)
    return wire, theirs


async def lost(wire: Wire) -> None:
    closed = wire.closed
    assert closed is not None
    await closed


@pytest.mark.parametrize(
    ("linger", "told"),
    [(struct.pack("ii", 0, 0), PeerClosed), (struct.pack("ii", 1, 0), ReadFailed)],
    ids=["closed", "reset"],
)
async def test_a_request_on_a_lost_connection_fails_by_how_it_was_lost(
    linger: bytes, told: type[WireFailure]
) -> None:
    wire, theirs = await connected()
    theirs.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    theirs.close()
    await lost(wire)
    assert wire.is_stale()
    exchange = wire.begin(without_body=False)
    wire.write(b"into the void")
    with pytest.raises(told):
        await exchange.head_received(None)
    assert not wire.finish(exchange)


async def test_bytes_before_the_first_request_end_the_connection() -> None:
    wire, theirs = await connected()
    with theirs:
        theirs.send(b"220 hello\r\n")
        await lost(wire)
    assert wire.should_close


async def test_closing_twice_is_closing_once() -> None:
    wire, theirs = await connected()
    with theirs:
        wire.close()
        wire.close()
        assert not wire.is_connected()
        await lost(wire)


async def test_nobody_is_made_to_wait_for_what_is_lost_already() -> None:
    wire, theirs = await connected()
    theirs.close()
    while not wire.should_close or wire.transport is not None:
        await asyncio.sleep(0)
    assert wire.closed is None
