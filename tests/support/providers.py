"""Stand-in providers as the end-to-end tests need them."""

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

from loadtest.provider import Record, StandIn


@asynccontextmanager
async def refusing() -> AsyncIterator[StandIn]:
    """A provider that is down: its port refuses every connection."""
    async with StandIn(name="down") as provider:
        await provider.stop()
        yield provider


def sends_of(request_id: str, providers: Iterable[StandIn]) -> list[Record]:
    """What the providers saw of one client request, in order."""
    found = [
        record
        for provider in providers
        for record in provider.log
        if record.headers.get("x-request-id") == request_id
    ]
    return sorted(found, key=lambda record: record.at)
