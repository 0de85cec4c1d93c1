"""A client that leaves, or does not read, costs nobody anything.

What it waited for is given up at once: the provider's connection is closed, slot and
permit are free, and it counts neither for nor against the provider.
"""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import product
from typing import Any

import pytest
import pytest_asyncio

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


async def asking(wire: Wire, route: str = "chat", *, stream: bool) -> None:
    await wire.send(request(chat(route, stream=stream), headers=AUTHORIZED))


def leave_by_fin(wire: Wire) -> None:
    wire.close()


def leave_by_reset(wire: Wire) -> None:
    linger = b"\x01\x00\x00\x00\x00\x00\x00\x00"
    wire._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    wire.close()


WAITS = {
    "silence": "fault.silence",
    "role": "fault.role_only",
    "keepalives": "fault.keepalives?interval_s=0.01",
    "stall": "fault.stall?after_tokens=3",
    "dribble": "fault.dribble?interval_s=0.3",
}
LEAVING = {"fin": leave_by_fin, "reset": leave_by_reset}
CASES = list(product(WAITS, ("stream", "plain"), LEAVING))


@dataclass
class Scene:
    """A gateway with one route and one provider's name for each case."""

    gateway: RunningGateway
    provider: StandIn


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def scene() -> AsyncIterator[Scene]:
    names = {"-".join(case): WAITS[case[0]] for case in CASES}
    async with StandIn("alpha") as provider:
        config = gateway_yaml(
            dict.fromkeys(names, provider.base_url),
            {
                name: [f"{name}/{model}", f"{name}/next"]
                for name, model in names.items()
            },
            policy=PATIENT,
        )
        async with RunningGateway(config) as gateway:
            yield Scene(gateway, provider)


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize(("wait", "form", "leaving"), CASES)
async def test_a_client_that_leaves_frees_everything_and_blames_nobody(
    scene: Scene, wait: str, form: str, leaving: str
) -> None:
    gateway, provider = scene.gateway, scene.provider
    provider.clear()
    route, stream = f"{wait}-{form}-{leaving}", form == "stream"
    async with connected(gateway.port) as wire:
        await asking(wire, route, stream=stream)
        await provider.until(lambda seen: seen.requests_in_flight == 1)
        if stream and wait in ("stall", "dribble"):
            await wire.receive(b"alpha-0")
        LEAVING[leaving](wire)

    [record] = await provider.settled(1, timeout_s=2)
    assert record.outcome is Outcome.CLIENT_GONE
    await gateway.quiet()
    await provider.until(lambda seen: seen.connections_open == 0)
    gateway.assert_nothing_held()
    breaker = gateway.guards(f"{route}/{WAITS[wait]}").breaker
    assert breaker is not None
    assert breaker.state is BreakerState.CLOSED


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "plain"])
async def test_a_client_that_left_is_counted_as_just_that(
    provider: StandIn, stream: bool
) -> None:
    async with running(provider, "fault.stall?after_tokens=3", "next") as gateway:
        async with connected(gateway.port) as wire:
            await asking(wire, stream=stream)
            await provider.until(lambda seen: seen.requests_in_flight == 1)
        await gateway.quiet()
        told = await gateway.metrics()

    assert told.nonzero("requests_total", "outcome") == {("cancelled",): 1}
    assert told.nonzero("attempts_total", "outcome", "error_type") == {
        ("neutral", "cancelled"): 1
    }
    assert told.total("requests_in_flight") == 0
    assert told.total("errors_total") == 0


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
        while provider.open:
            await asyncio.sleep(0.005)


_IDLE = {"connect_s": 0.3, "first_token_s": 0.3, "idle_s": 0.3, "total_s": 60}
_SHORT = {"connect_s": 0.3, "first_token_s": 0.3, "idle_s": 0.3, "total_s": 0.8}


async def _until_steady(provider: EndlessProvider) -> None:
    """Wait until it has been unable to send for longer than the idle limit."""
    sent = -1
    while sent != provider.sent_bytes:
        sent = provider.sent_bytes
        await asyncio.sleep(0.5)
