"""Everything here runs in virtual time: no test of the library sleeps for real."""

from asyncio import AbstractEventLoop
from collections.abc import Callable, Mapping

import pytest

from resilience.testing import ManualClock, VirtualTimeLoop


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], AbstractEventLoop]]:
    return {"virtual": VirtualTimeLoop}


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()
