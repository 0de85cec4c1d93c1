"""Both event loops, both transports, and certificates made for the run."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable

import httpx
import pytest
import trustme
import uvloop

from app.upstream import AiohttpTransport, tls_context


def pytest_asyncio_loop_factories() -> dict[
    str, Callable[[], asyncio.AbstractEventLoop]
]:
    """The gateway runs on uvloop where there is one, and must not depend on it."""
    return {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


type MakeTransport = Callable[..., httpx.AsyncBaseTransport]


@pytest.fixture(scope="session")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="session")
def server_tls(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    return context


@pytest.fixture(scope="session")
def wrong_name_tls(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("elsewhere.example").configure_cert(context)
    return context


@pytest.fixture(scope="session")
def client_tls(authority: trustme.CA) -> ssl.SSLContext:
    context = tls_context()
    authority.configure_trust(context)
    return context


_SYSTEM_ROOTS = tls_context()
"""Loading the system's roots takes longer than most tests: once is enough."""


def _make_ours(
    tls: ssl.SSLContext | None = None, max_connections: int | None = None
) -> httpx.AsyncBaseTransport:
    return AiohttpTransport(tls=tls or _SYSTEM_ROOTS, max_connections=max_connections)


def _make_stock(
    tls: ssl.SSLContext | None = None, max_connections: int | None = None
) -> httpx.AsyncBaseTransport:
    return httpx.AsyncHTTPTransport(
        verify=tls or _SYSTEM_ROOTS,
        trust_env=False,
        limits=httpx.Limits(max_connections=max_connections),
    )


@pytest.fixture(params=[_make_ours, _make_stock], ids=["ours", "stock"])
async def make(request: pytest.FixtureRequest) -> AsyncIterator[MakeTransport]:
    """Makes transports of one implementation and closes them after the test."""
    made: list[httpx.AsyncBaseTransport] = []

    def make(
        tls: ssl.SSLContext | None = None, max_connections: int | None = None
    ) -> httpx.AsyncBaseTransport:
        made.append(request.param(tls, max_connections))
        return made[-1]

    yield make
    for transport in made:
        await transport.aclose()


@pytest.fixture
async def make_ours() -> AsyncIterator[MakeTransport]:
    """Like `make`, for what only ours promises."""
    made: list[httpx.AsyncBaseTransport] = []

    def make(
        tls: ssl.SSLContext | None = None, max_connections: int | None = None
    ) -> httpx.AsyncBaseTransport:
        made.append(_make_ours(tls, max_connections))
        return made[-1]

    yield make
    for transport in made:
        await transport.aclose()
