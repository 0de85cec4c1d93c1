"""Connections, and a stand-in that goes down and comes back."""

import asyncio

import pytest

from loadtest.provider import Fault, Outcome, StandIn
from tests.loadtest.provider.wire_client import ask, chat, connected, request


async def test_a_stopped_stand_in_refuses_and_keeps_its_port() -> None:
    async with StandIn() as provider:
        port = provider.port
        await provider.stop()
        with pytest.raises(ConnectionRefusedError):
            await ask(provider, chat())
        await provider.start()

        assert provider.port == port
        assert (await ask(provider, chat())).status == 200


async def test_stopping_cuts_what_is_under_way() -> None:
    async with StandIn() as provider:
        provider.fault = Fault("stall", after_tokens=2)
        async with connected(provider) as wire:
            await wire.send(request(chat(stream=True)))
            await wire.receive(least=b"alpha-1")
            await provider.stop()
            await wire.drain()

        [record] = await provider.settled(1)
        assert record.outcome is Outcome.STOPPED
        assert provider.connections_open == 0


async def test_stopping_while_clients_connect_leaves_nothing_open() -> None:
    async with StandIn() as provider:
        asking = [asyncio.create_task(ask(provider, chat())) for _ in range(20)]
        await provider.until(lambda p: p.connections_total > 0)
        await provider.stop()
        await asyncio.gather(*asking, return_exceptions=True)

        assert provider.connections_open == 0


async def test_starting_and_stopping_twice_changes_nothing() -> None:
    async with StandIn() as provider:
        await provider.start()
        await provider.stop()
        await provider.stop()
        await provider.start()

        assert (await ask(provider, chat())).status == 200
    await provider.aclose()


async def test_two_stand_ins_do_not_share_a_port(provider: StandIn) -> None:
    with pytest.raises(OSError, match="in use"):
        await StandIn(port=provider.port).start()


async def test_the_addresses_have_no_trailing_slash(provider: StandIn) -> None:
    assert provider.origin == f"http://127.0.0.1:{provider.port}"
    assert provider.base_url == f"{provider.origin}/v1"


async def test_an_answer_has_at_least_one_token() -> None:
    with pytest.raises(ValueError, match="at least one token"):
        StandIn(tokens=0)


async def test_requests_sent_ahead_are_answered_in_order(provider: StandIn) -> None:
    async with connected(provider) as wire:
        ahead = [request(chat(model=name)) for name in ("first", "second")]
        last = request(chat(model="third"), headers={"connection": "close"})
        await wire.send(b"".join([*ahead, last]))
        seen = await wire.drain()

    places = [seen.raw.index(f'"{n}"'.encode()) for n in ("first", "second", "third")]
    assert places == sorted(places)
    assert seen.raw.count(b"HTTP/1.1 200 OK") == 3


async def test_too_many_requests_sent_ahead_end_the_connection(
    provider: StandIn,
) -> None:
    provider.fault = Fault("silence")
    async with connected(provider) as wire:
        await wire.send(request(chat()) * 100)
        seen = await wire.drain()

    assert seen.raw.count(b"HTTP/1.1") <= 1
    assert provider.requests_in_flight == 0


async def test_the_connection_outlives_answers_that_end_cleanly(
    provider: StandIn,
) -> None:
    async with connected(provider) as wire:
        for kind in ("status", "no_done", "error_frame", "malformed", "empty"):
            provider.fault = Fault(kind)
            await wire.send(request(chat(stream=True)))
            least = b"server_is_overloaded" if kind == "status" else b"\r\n0\r\n\r\n"
            await wire.receive(least=least)

    await provider.settled(5)
    assert provider.connections_total == 1


async def test_a_request_in_pieces_is_one_request(provider: StandIn) -> None:
    whole = request(chat(), headers={"connection": "close"})
    async with connected(provider) as wire:
        for at in range(0, len(whole), 40):
            await wire.send(whole[at : at + 40])
            await asyncio.sleep(0)
        assert (await wire.drain()).status == 200


async def test_a_body_in_chunks_is_read(provider: StandIn) -> None:
    async with connected(provider) as wire:
        await wire.send(
            b"POST /v1/embeddings HTTP/1.1\r\nhost: provider\r\nconnection: close\r\n"
            b"transfer-encoding: chunked\r\n\r\n"
            b'5\r\n{"mod\r\n18\r\nel":"any","input":"one"}\r\n0\r\n\r\n'
        )
        assert (await wire.drain()).status == 200


async def test_a_client_that_waits_for_permission_gets_it(provider: StandIn) -> None:
    head, _, body = request(
        chat(), headers={"expect": "100-continue", "connection": "close"}
    ).partition(b"\r\n\r\n")
    async with connected(provider) as wire:
        await wire.send(head + b"\r\n\r\n")
        assert await wire.receive() == b"HTTP/1.1 100 Continue\r\n\r\n"
        await wire.send(body)
        assert (await wire.drain()).status == 200


@pytest.mark.parametrize(
    "sent",
    [
        b"\x16\x03\x01 this is no HTTP\r\n\r\n",
        b"GET /v1/models HTTP/1.1\r\nbroken header\r\n\r\n",
        b"GET /v1/models HTTP/1.1\r\nx: " + b"y" * 300_000 + b"\r\n\r\n",
    ],
)
async def test_what_is_no_http_for_it_ends_the_connection_with_an_error(
    provider: StandIn, sent: bytes
) -> None:
    async with connected(provider) as wire:
        await wire.send(sent)
        seen = await wire.drain()

    assert seen.status in (400, 431)


async def test_an_upgrade_it_does_not_know_is_ignored(provider: StandIn) -> None:
    asked = {"connection": "upgrade", "upgrade": "h2c"}
    seen = await ask(provider, method="GET", path="/v1/models", headers=asked)

    assert seen.status == 200


async def test_a_body_over_the_limit_gets_413(provider: StandIn) -> None:
    seen = await ask(provider, b" " * (64 * 2**20 + 1))

    assert seen.status == 413
