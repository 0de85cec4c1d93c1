from collections.abc import AsyncIterator, Iterator

import pytest

from app.store.connection import Store
from resilience.testing import ManualClock
from tests.app.valkey import Server, running


@pytest.fixture
def server() -> Iterator[Server]:
    """A server of one test's own: these tests mistreat it."""
    with running() as server:
        yield server


@pytest.fixture
def clock() -> ManualClock:
    """The breaker's time; the budgets run on the loop's."""
    return ManualClock()


@pytest.fixture
async def store(server: Server, clock: ManualClock) -> AsyncIterator[Store]:
    """The store as production has it, but patient: this machine may be busy."""
    store = Store(server.url, clock, timeout_s=2.0)
    yield store
    await store.close()


@pytest.fixture
async def hasty(server: Server, clock: ManualClock) -> AsyncIterator[Store]:
    """A store whose budget ends soon."""
    store = Store(server.url, clock, timeout_s=0.03)
    yield store
    await store.close()
