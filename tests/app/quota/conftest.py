from collections.abc import Iterator

import pytest

from tests.app.valkey import Server, running


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    """One server for all of these tests: each uses keys of its own."""
    with running() as server:
        yield server
