"""The adaptive limit against servers with a capacity, at three times their load.

Seeded and in virtual time: the same numbers on every machine.
"""

import random

import pytest

from tests.resilience.overloaded import (
    SERVICE_S,
    Dropping,
    Load,
    Queueing,
    Rejecting,
    Server,
    Thrashing,
)

CAPACITY = 20
CAN_DO_PER_S = CAPACITY / SERVICE_S
QUIET_S = 30
SETTLED_S = 130
"""The slowest to settle is told by 10 s timeouts only, one cut for each."""
KINDS = [Rejecting, Queueing, Thrashing, Dropping]


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("kind", KINDS)
async def test_at_three_times_the_load_the_limit_settles_near_the_capacity(
    kind: type[Server], seed: int
) -> None:
    draw = random.Random(seed)
    load = Load(kind(CAPACITY, draw), draw, ceiling=64)
    await load.run(0.2 * CAN_DO_PER_S, QUIET_S)

    await load.run(3 * CAN_DO_PER_S, 200)

    settled = load.observed.limits[QUIET_S + SETTLED_S :]
    assert min(settled) >= 0.7 * CAPACITY
    assert max(settled) <= 1.5 * CAPACITY
    assert load.observed.goodput_per_s(QUIET_S + SETTLED_S) >= 0.9 * CAN_DO_PER_S
    assert load.bulkhead.in_use == 0


@pytest.mark.parametrize("seed", [7])
@pytest.mark.parametrize("kind", KINDS)
async def test_without_a_quiet_time_to_learn_in_the_limit_is_less_exact_not_worse(
    kind: type[Server], seed: int
) -> None:
    draw = random.Random(seed)
    load = Load(kind(CAPACITY, draw), draw, ceiling=64)

    await load.run(3 * CAN_DO_PER_S, 200)

    settled = load.observed.limits[SETTLED_S:]
    assert 0.7 * CAPACITY <= min(settled) <= max(settled) <= 2 * CAPACITY
    assert load.observed.goodput_per_s(SETTLED_S) >= 0.9 * CAN_DO_PER_S


async def test_with_a_fixed_limit_a_thrashing_server_would_stay_down() -> None:
    draw = random.Random(1)
    load = Load(Thrashing(CAPACITY, draw), draw, ceiling=64, adaptive=False)

    await load.run(3 * CAN_DO_PER_S, 100)

    assert load.observed.goodput_per_s(50) < 0.3 * CAN_DO_PER_S


@pytest.mark.parametrize("kind", [Rejecting, Queueing])
async def test_after_an_overload_whatever_load_there_is_is_served_in_full(
    kind: type[Server],
) -> None:
    draw = random.Random(2)
    load = Load(kind(CAPACITY, draw), draw, ceiling=64)
    await load.run(3 * CAN_DO_PER_S, 60)

    await load.run(0.5 * CAN_DO_PER_S, 60)

    assert load.observed.goodput_per_s(70) >= 0.45 * CAN_DO_PER_S


async def test_the_limit_follows_a_capacity_that_comes_back() -> None:
    draw = random.Random(3)
    server = Rejecting(4, draw)
    load = Load(server, draw, ceiling=64)
    await load.run(2 * CAN_DO_PER_S, 60)
    assert load.bulkhead.limit <= 6

    server.capacity = CAPACITY
    await load.run(2 * CAN_DO_PER_S, 60)

    settled = load.observed.limits[90:]
    assert min(settled) >= 0.7 * CAPACITY
    assert load.observed.goodput_per_s(90) >= 0.9 * CAN_DO_PER_S
