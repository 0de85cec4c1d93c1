"""Strategies: everyone once, in the order that was asked for."""

import random
from collections import Counter
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resilience.call import Attempt, AttemptKind
from resilience.chain import Chain
from resilience.choice import Failover, LeastLatency, Strategy, Weighted
from resilience.ejection import Ejection
from resilience.outcome import Counts
from resilience.pipeline import Pipeline
from resilience.target import Target
from resilience.testing import ManualClock, ScriptedOperation
from tests.resilience.equals import Stand, stands, targets
from tests.resilience.scenery import Place, classify, make_call


def seeded() -> Callable[[], float]:
    return random.Random(20261122).random


def order(strategy: Strategy, route: dict[str, Stand]) -> str:
    return "".join(target.name for target in strategy.order(targets(route)))


def firsts(strategy: Strategy, route: dict[str, Stand], times: int) -> Counter[str]:
    return Counter(order(strategy, route)[0] for _ in range(times))


def answered(stand: Stand, first_s: float, clock: ManualClock) -> None:
    now_s = clock.now()
    attempt = Attempt(
        stand.target.name,
        1,
        AttemptKind.PRIMARY,
        now_s - first_s,
        first_token_at_s=now_s,
        ended_at_s=now_s,
    )
    stand.health.started()
    stand.health.settled(attempt, Counts.SUCCESS)


def test_failover_keeps_the_order_of_the_route(clock: ManualClock) -> None:
    route = stands("cab", clock)
    route["c"].fail()
    route["a"].refuses = True

    assert order(Failover(), route) == "cab"


@given(
    size=st.integers(1, 5),
    refusing=st.sets(st.integers(0, 4)),
    failing=st.sets(st.integers(0, 4)),
    seed=st.integers(),
    make=st.sampled_from([Weighted, LeastLatency]),
)
def test_everyone_is_in_the_order_once_whoever_refuses_and_whoever_is_out(
    size: int,
    refusing: set[int],
    failing: set[int],
    seed: int,
    make: Callable[..., Strategy],
) -> None:
    clock = ManualClock()
    route = stands("abcde"[:size], clock)
    for position, stand in enumerate(route.values()):
        stand.refuses = position in refusing
        if position in failing:
            stand.fail()
    strategy = make(Ejection(clock), draw=random.Random(seed).random)

    ordered = order(strategy, route)

    assert sorted(ordered) == sorted(route)
    well = [route[name] for name in ordered if route[name].health.up]
    refused = [stand.refuses for stand in well]
    assert refused == sorted(refused), "the willing come first"


def test_lots_fall_by_weight(clock: ManualClock) -> None:
    route = {
        name: Stand(name, clock, weight)
        for name, weight in (("a", 6.0), ("b", 3.0), ("c", 1.0))
    }

    first = firsts(Weighted(draw=seeded()), route, 4000)

    assert first["a"] / 4000 == pytest.approx(0.6, abs=0.03)
    assert first["b"] / 4000 == pytest.approx(0.3, abs=0.03)
    assert first["c"] / 4000 == pytest.approx(0.1, abs=0.03)


def test_who_is_next_is_again_drawn_by_weight(clock: ManualClock) -> None:
    route = {
        name: Stand(name, clock, weight)
        for name, weight in (("a", 6.0), ("b", 3.0), ("c", 1.0))
    }
    strategy = Weighted(draw=seeded())

    orders = Counter(order(strategy, route)[:2] for _ in range(4000))

    after_a = orders["ab"] + orders["ac"]
    assert orders["ab"] / after_a == pytest.approx(0.75, abs=0.03)


def test_without_weight_a_target_is_a_last_resort(clock: ManualClock) -> None:
    route = {"a": Stand("a", clock, 0.0), "b": Stand("b", clock)}
    strategy = Weighted(draw=seeded())

    assert {order(strategy, route) for _ in range(50)} == {"ba"}


def test_with_the_same_draws_the_order_is_the_same(clock: ManualClock) -> None:
    route = stands("abcde", clock)
    for make in (Weighted, LeastLatency):
        one, other = make(draw=seeded()), make(draw=seeded())

        assert [order(one, route) for _ in range(20)] == [
            order(other, route) for _ in range(20)
        ]


def test_of_two_the_faster_is_asked_first(clock: ManualClock) -> None:
    route = stands("ab", clock)
    answered(route["a"], 0.9, clock)
    answered(route["b"], 0.3, clock)

    assert firsts(LeastLatency(draw=seeded()), route, 100) == {"b": 100}


def test_of_many_the_faster_are_preferred_and_the_slowest_never_first(
    clock: ManualClock,
) -> None:
    """Of two drawn from n, the k-th fastest is the better with 2(n-k)/(n(n-1))."""
    route = stands("abcd", clock)
    for name, first_s in zip("abcd", (0.1, 0.2, 0.3, 0.4), strict=True):
        answered(route[name], first_s, clock)

    first = firsts(LeastLatency(draw=seeded()), route, 6000)

    for name, share in zip("abcd", (1 / 2, 1 / 3, 1 / 6, 0.0), strict=True):
        assert first[name] / 6000 == pytest.approx(share, abs=0.03)


def test_who_has_much_to_do_is_passed_over_though_it_is_faster(
    clock: ManualClock,
) -> None:
    route = stands("ab", clock)
    answered(route["a"], 0.1, clock)
    answered(route["b"], 0.3, clock)
    strategy = LeastLatency(draw=seeded())
    assert order(strategy, route) == "ab"
    for _ in range(3):
        route["a"].health.started()

    assert order(strategy, route) == "ba"


def test_two_who_are_equally_fast_share_the_load(clock: ManualClock) -> None:
    route = stands("abc", clock)
    for stand in route.values():
        answered(stand, 0.2, clock)
    strategy = LeastLatency(draw=seeded())
    for _ in range(300):
        route[order(strategy, route)[0]].health.started()

    shares = [stand.health.in_flight for stand in route.values()]
    assert sum(shares) == 300
    assert max(shares) - min(shares) <= 12


def test_a_slow_one_is_tried_again_when_it_was_left_alone(clock: ManualClock) -> None:
    route = stands("ab", clock)
    answered(route["a"], 5.0, clock)
    strategy = LeastLatency(draw=seeded())
    tried = 0
    for _ in range(100):
        clock.advance(1.0)
        first = order(strategy, route)[0]
        tried += first == "a"
        answered(route[first], 0.2, clock)

    assert tried >= 1


def test_without_health_there_is_nothing_to_compare(clock: ManualClock) -> None:
    switch = Stand("x", clock)
    unknown = [Target(name, Pipeline([]), switch) for name in "ab"]
    strategy = LeastLatency(draw=seeded())

    drawn = Counter(strategy.order(unknown)[0].name for _ in range(200))

    assert set(drawn) == {"a", "b"}


@pytest.mark.parametrize("make", [Weighted, LeastLatency])
def test_who_would_refuse_comes_last_and_who_is_out_before(
    clock: ManualClock, make: Callable[..., Strategy]
) -> None:
    route = stands("abcd", clock)
    route["a"].refuses = True
    route["b"].fail()
    strategy = make(Ejection(clock), draw=seeded())

    assert {order(strategy, route)[2:] for _ in range(20)} == {"ba"}


@pytest.mark.parametrize("make", [Weighted, LeastLatency])
def test_when_the_rest_refuses_the_least_bad_are_asked(
    clock: ManualClock, make: Callable[..., Strategy]
) -> None:
    route = stands("abcd", clock)
    route["a"].refuses = route["b"].refuses = True
    route["c"].fail(100)
    route["d"].fail(60)

    assert order(make(Ejection(clock), draw=seeded()), route) == "dcab"


async def test_a_chain_asks_in_the_order_of_its_strategy() -> None:
    class Backwards:
        def order(self, targets: object) -> list[Target]:
            assert isinstance(targets, tuple)
            return list(reversed(targets))

    places = [Place(name) for name in "abc"]
    chain = Chain([place.target for place in places], classify, strategy=Backwards())
    call = make_call()

    assert await chain.execute(ScriptedOperation("answer"), call) == "answer"
    assert (call.target, call.kind) == ("c", "primary")
