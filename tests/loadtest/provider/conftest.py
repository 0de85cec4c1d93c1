"""A stand-in without delays, over real sockets in the test's own loop."""

from collections.abc import AsyncIterator

import pytest

from loadtest.provider import StandIn


@pytest.fixture
async def provider() -> AsyncIterator[StandIn]:
    async with StandIn(name="alpha", tokens=8) as stand_in:
        yield stand_in


@pytest.fixture(params=[True, False], ids=["stream", "plain"])
def stream(request: pytest.FixtureRequest) -> bool:
    asked: bool = request.param
    return asked
