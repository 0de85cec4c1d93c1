"""Everything here runs in virtual time: nothing in it does real I/O."""

from asyncio import AbstractEventLoop
from collections.abc import Callable, Mapping

import pytest

from resilience.testing import VirtualTimeLoop


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], AbstractEventLoop]]:
    return {"virtual": VirtualTimeLoop}
