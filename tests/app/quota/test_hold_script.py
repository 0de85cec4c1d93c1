"""`hold.lua` on a real server decides as the local limits do."""

import asyncio
import time
from collections.abc import AsyncIterator
from importlib.resources import files
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.quota.ledger import RunScript
from app.quota.local import MICRO, Decision, LocalLimits
from app.store.connection import Store
from resilience.clock import SystemClock
from resilience.testing import ManualClock
from tests.app.valkey import Server

SOURCE = files("app.quota.scripts").joinpath("hold.lua").read_text("utf-8")


def a_key() -> str:
    return f"test:{uuid4().hex}"


@pytest.fixture
async def hold(server: Server) -> AsyncIterator[RunScript]:
    store = Store(server.url, SystemClock(), timeout_s=5.0)
    yield store.script(SOURCE)
    await store.close()


def due_us(server: Server, key: str) -> int:
    """When the next request is due, in the server's microseconds."""
    return int(str(server.admin.get(key)))


def decided(answer: list[int]) -> Decision:
    admitted, remaining, wait_us, reset_us = answer
    return Decision(bool(admitted), remaining, wait_us / MICRO, reset_us / MICRO)


@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    interval_us=st.integers(200, 5000),
    burst=st.integers(1, 4),
    waits_ms=st.lists(st.integers(0, 3), min_size=1, max_size=8),
)
def test_it_decides_exactly_as_the_local_limits_would_at_its_time(
    server: Server, interval_us: int, burst: int, waits_ms: list[int]
) -> None:
    sha = str(server.admin.script_load(SOURCE))
    key, clock = a_key(), ManualClock(0.0)
    local = LocalLimits(clock)
    started_us = 0
    for wait_ms in waits_ms:
        time.sleep(wait_ms / 1000)
        answer = server.admin.evalsha(sha, 1, key, interval_us, burst)
        theirs = decided(answer)  # type: ignore[arg-type]  # redis types it loosely
        value = server.admin.get(key)
        if value is None:  # due by now: the key has ended, and its time is not known
            return
        # Whatever was decided, the answer tells the server's time to the microsecond.
        now_us = int(str(value)) - round(theirs.reset_after_s * MICRO)
        started_us = started_us or now_us
        clock.advance((now_us - started_us) / MICRO - clock.now())
        assert local.hold("k", interval_us=interval_us, burst=burst) == theirs


@settings(
    max_examples=10,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(interval_us=st.integers(500, 3000), burst=st.integers(1, 5))
def test_a_flood_gets_no_more_than_the_burst_and_what_the_time_has_earned(
    server: Server, interval_us: int, burst: int
) -> None:
    sha, key = str(server.admin.script_load(SOURCE)), a_key()
    before_s, before_us = server.admin.time()  # type: ignore[misc]  # redis types it loosely
    admitted = sum(
        server.admin.evalsha(sha, 1, key, interval_us, burst)[0]  # type: ignore[index]  # as above
        for _ in range(40)
    )
    after_s, after_us = server.admin.time()  # type: ignore[misc]  # as above
    passed_us = (after_s - before_s) * MICRO + after_us - before_us
    assert burst <= admitted <= burst + passed_us / interval_us


async def test_after_the_reset_the_whole_burst_is_free(hold: RunScript) -> None:
    key = a_key()
    for _ in range(5):
        _, _, _, reset_us = await hold([key], [20_000, 3])
    await asyncio.sleep(reset_us / MICRO + 0.001)
    answers = [await hold([key], [20_000, 3]) for _ in range(3)]
    assert [answer[0] for answer in answers] == [1, 1, 1]


async def test_concurrent_requests_get_exactly_the_burst(hold: RunScript) -> None:
    key = a_key()
    answers = await asyncio.gather(*(hold([key], [MICRO, 37]) for _ in range(200)))
    assert sum(answer[0] for answer in answers) == 37
    assert sorted(a[1] for a in answers if a[0]) == list(range(37))


async def test_a_key_ends_when_its_burst_is_free_again(
    hold: RunScript, server: Server
) -> None:
    key = a_key()
    _, _, _, reset_us = await hold([key], [10 * MICRO, 6])
    assert reset_us == 10 * MICRO
    assert 0 < int(str(server.admin.pttl(key))) <= 10_000


async def test_times_are_kept_to_the_microsecond(
    hold: RunScript, server: Server
) -> None:
    key = a_key()
    await hold([key], [7_000_001, 3])
    first_us = due_us(server, key)
    await hold([key], [7_000_001, 3])
    assert due_us(server, key) - first_us == 7_000_001
    assert str(server.admin.get(key)).isdecimal()


async def test_a_server_clock_that_was_set_back_does_not_lock_a_key_out(
    hold: RunScript, server: Server
) -> None:
    key = a_key()
    hour_ahead_us = int((time.time() + 3600) * MICRO)
    server.admin.set(key, hour_ahead_us)
    admitted, _, wait_us, reset_us = await hold([key], [20_000, 2])
    assert not admitted
    assert wait_us == 20_000
    assert reset_us == 40_000
    await asyncio.sleep(wait_us / MICRO + 0.001)
    assert (await hold([key], [20_000, 2]))[0] == 1
    assert due_us(server, key) < hour_ahead_us


async def test_a_key_of_another_kind_is_an_outage_and_no_crash(
    server: Server,
) -> None:
    from app.errors import StoreUnavailable

    store = Store(server.url, SystemClock(), timeout_s=5.0)
    key = a_key()
    server.admin.rpush(key, "not a time")
    with pytest.raises(StoreUnavailable):
        await store.script(SOURCE)([key], [MICRO, 1])
    await store.close()
