"""How requests share a connection to the gateway."""

from collections.abc import AsyncIterator

import pytest

from loadtest.provider import StandIn
from tests.loadtest.provider.wire_client import connected, request
from tests.support.answers import chat
from tests.support.configs import gateway_yaml
from tests.support.gateway import RunningGateway
from tests.support.keys import KEY

AUTHORIZED = {"authorization": f"Bearer {KEY}"}
END = b"data: [DONE]\n\n"


@pytest.fixture
async def gateway() -> AsyncIterator[RunningGateway]:
    async with StandIn("alpha", tokens=3, first_token_s=0.05) as provider:
        config = gateway_yaml({"alpha": provider.base_url}, {"chat": ["alpha/m"]})
        async with RunningGateway(config) as running:
            yield running


async def test_streams_follow_each_other_on_one_connection(
    gateway: RunningGateway,
) -> None:
    async with connected(gateway.port) as wire:
        for _ in range(3):
            await wire.send(request(chat("chat", stream=True), headers=AUTHORIZED))
            answer = await wire.receive(b"0\r\n\r\n")

            assert answer.startswith(b"HTTP/1.1 200 OK")
            assert END in answer
            assert b"content-length" not in answer.partition(b"\r\n\r\n")[0]
            assert b"transfer-encoding: chunked" in answer


async def test_requests_sent_without_waiting_are_answered_in_order(
    gateway: RunningGateway,
) -> None:
    names = ("req_first", "req_second", "req_third")
    both = b"".join(
        request(chat("chat", stream=True), headers={**AUTHORIZED, "x-request-id": name})
        for name in names
    )
    async with connected(gateway.port) as wire:
        await wire.send(both)
        got = b""
        while got.count(END) < len(names):
            got += await wire.receive()

    assert got.count(b"HTTP/1.1 200 OK") == len(names)
    places = [got.index(name.encode()) for name in names]
    assert places == sorted(places)
    await gateway.quiet()
    gateway.assert_nothing_held()


async def test_an_error_leaves_the_connection_usable(gateway: RunningGateway) -> None:
    async with connected(gateway.port) as wire:
        await wire.send(request(b"{", headers=AUTHORIZED))
        refused = await wire.receive(b"requestId")
        await wire.send(request(chat("chat"), headers=AUTHORIZED))
        answered = await wire.receive(b"alpha-2")

    assert refused.startswith(b"HTTP/1.1 400")
    assert answered.startswith(b"HTTP/1.1 200")


async def test_a_key_that_is_wrong_is_told_before_the_body_has_been_sent(
    gateway: RunningGateway,
) -> None:
    async with connected(gateway.port) as wire:
        head = request(
            b"", headers={"authorization": "Bearer bw-no", "content-length": "1000"}
        )
        await wire.send(head)

        answer = await wire.receive(b"invalid_api_key")

    assert answer.startswith(b"HTTP/1.1 401")
