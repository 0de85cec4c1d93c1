"""A client that leaves, or does not read, costs nobody anything.

What it waited for is given up at once: the provider's connection is closed, slot and
permit are free, and it counts neither for nor against the provider.
"""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from loadtest.provider import Outcome, StandIn
from resilience.breaker import BreakerState
from tests.loadtest.provider.wire_client import Wire, connected, request
from tests.support.answers import chat
from tests.support.configs import QUICK, gateway_yaml
from tests.support.endless import EndlessProvider
from tests.support.gateway import RunningGateway
from tests.support.keys import KEY

PATIENT = {
    **QUICK,
    "deadline_s": 60,
    "timeouts": {"first_token_s": 50, "idle_s": 50, "total_s": 60},
    "breaker": {"consecutive": 1, "min_calls": 1},
}
"""Limits far away: what ends here ends because the client has left."""

AUTHORIZED = {"authorization": f"Bearer {KEY}"}


@pytest.fixture
async def provider() -> AsyncIterator[StandIn]:
    async with StandIn("alpha") as stand_in:
        yield stand_in


@asynccontextmanager
async def running(
    provider: StandIn | EndlessProvider, *models: str, **sections: Any
) -> AsyncIterator[RunningGateway]:
    chain = [f"alpha/{model}" for model in models]
    config = gateway_yaml(
        {"alpha": provider.base_url},
        {"chat": chain},
        **{"policy": PATIENT, **sections},
    )
    async with RunningGateway(config) as gateway:
        yield gateway


async def asking(wire: Wire, *, stream: bool) -> None:
    await wire.send(request(chat("chat", stream=stream), headers=AUTHORIZED))


def leave_by_fin(wire: Wire) -> None:
    wire.close()


def leave_by_reset(wire: Wire) -> None:
    linger = b"\x01\x00\x00\x00\x00\x00\x00\x00"
    wire._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    wire.close()


@pytest.mark.parametrize("leave", [leave_by_fin, leave_by_reset], ids=["fin", "reset"])
@pytest.mark.parametrize("stream", [True, False], ids=["stream", "plain"])
@pytest.mark.parametrize(
    "model",
    [
        "fault.silence",
        "fault.role_only",
        "fault.keepalives?interval_s=0.01",
        "fault.stall?after_tokens=3",
        "fault.dribble?interval_s=0.3",
    ],
)
async def test_a_client_that_leaves_frees_everything_and_blames_nobody(
    provider: StandIn, model: str, stream: bool, leave: Callable[[Wire], None]
) -> None:
    async with running(provider, model, "next") as gateway:
        async with connected(gateway.port) as wire:
            await asking(wire, stream=stream)
            await provider.until(lambda seen: seen.requests_in_flight == 1)
            if stream and model.startswith(("fault.stall", "fault.dribble")):
                await wire.receive(b"alpha-0")
            leave(wire)

        [record] = await provider.settled(1, timeout_s=2)
        assert record.outcome is Outcome.CLIENT_GONE
        await gateway.quiet()
        await provider.until(lambda seen: seen.connections_open == 0)
        gateway.assert_nothing_held()
        breaker = gateway.guards(f"alpha/{model}").breaker
        assert breaker is not None
        assert breaker.state is BreakerState.CLOSED
        metrics = await gateway.metrics()

    assert metrics.nonzero("requests_total", "outcome") == {("cancelled",): 1}
    assert metrics.nonzero("attempts_total", "outcome", "error_type") == {
        ("neutral", "cancelled"): 1
    }
    assert metrics.total("requests_in_flight") == 0
    assert metrics.total("errors_total") == 0


async def test_a_client_that_leaves_during_the_pause_before_a_retry_ends_it(
    provider: StandIn,
) -> None:
    policy = {**PATIENT, "breaker": {"enabled": False}}
    model = "fault.status?code=429&retry_after_s=30"
    async with running(provider, model, policy=policy) as gateway:
        async with connected(gateway.port) as wire:
            await asking(wire, stream=True)
            await provider.settled(1)
            leave_by_fin(wire)

        await gateway.quiet()
        gateway.assert_nothing_held()
        assert len(provider.log) == 1


async def test_a_client_that_leaves_the_queue_of_a_full_target_leaves_no_gap(
    provider: StandIn,
) -> None:
    policy = {**PATIENT, "bulkhead": {"limit": 1, "queue": 5, "wait_s": 50}}
    model = "fault.stall?after_tokens=1"
    async with running(provider, model, policy=policy) as gateway:
        bulkhead = gateway.guards(f"alpha/{model}").bulkhead
        async with connected(gateway.port) as holder:
            await asking(holder, stream=True)
            await holder.receive(b"alpha-0")
            async with connected(gateway.port) as waiter:
                await asking(waiter, stream=True)
                while not bulkhead.queued:
                    await asyncio.sleep(0.005)
            while bulkhead.queued:
                await asyncio.sleep(0.005)
            assert bulkhead.in_use == 1
        await gateway.quiet()
        gateway.assert_nothing_held()


async def test_a_client_that_leaves_while_it_uploads_is_no_error_of_ours(
    provider: StandIn, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    async with running(provider, "m") as gateway:
        async with connected(gateway.port) as wire:
            whole = request(chat("chat"), headers=AUTHORIZED)
            await wire.send(whole[:-10])
            while not gateway._server.server_state.tasks:
                await asyncio.sleep(0.005)
        await gateway.quiet()

    lines = capsysbinary.readouterr().out
    assert b"unexpected error" not in lines
    assert b"Exception" not in lines
    assert b'"status":499' in lines
    assert provider.log == []


async def test_a_client_that_reads_nothing_is_not_buffered_for_without_bound() -> None:
    async with (
        EndlessProvider() as provider,
        running(provider, "m", policy={**PATIENT, "timeouts": _IDLE}) as gateway,
        connected(gateway.port) as wire,
    ):
        await asking(wire, stream=True)
        await _until_steady(provider)

        # The client's and the provider's sockets hold some MB; the gateway nearly none.
        assert provider.sent_bytes < 32 * 2**20
        # Its silence is not the provider's: nothing has been given up.
        assert gateway.core.in_flight == 1
        assert provider.open == 1

        before = provider.sent_bytes
        while provider.sent_bytes < before + 2**20:
            await wire.receive()
        wire.close()
        await gateway.quiet()
        gateway.assert_nothing_held()


async def test_a_client_that_reads_nothing_holds_a_slot_until_the_deadline_only() -> (
    None
):
    policy = {**PATIENT, "deadline_s": 0.8, "timeouts": _SHORT}
    async with (
        EndlessProvider() as provider,
        running(provider, "m", policy=policy) as gateway,
        connected(gateway.port) as wire,
    ):
        await asking(wire, stream=True)
        while not gateway.core.in_flight:
            await asyncio.sleep(0.005)

        await gateway.quiet()

        gateway.assert_nothing_held()
        assert provider.open == 0


_IDLE = {"connect_s": 0.3, "first_token_s": 0.3, "idle_s": 0.3, "total_s": 60}
_SHORT = {"connect_s": 0.3, "first_token_s": 0.3, "idle_s": 0.3, "total_s": 0.8}


async def _until_steady(provider: EndlessProvider) -> None:
    """Wait until it has been unable to send for longer than the idle limit."""
    sent = -1
    while sent != provider.sent_bytes:
        sent = provider.sent_bytes
        await asyncio.sleep(0.5)
