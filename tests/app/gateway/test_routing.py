"""Routes, and why a target would refuse."""

import pytest

from app.domain import Client
from app.errors import ModelNotAllowed, ModelNotFound, UpstreamThrottled
from app.gateway.routing import Guards, RouteTable
from resilience.bulkhead import Bulkhead
from resilience.call import Call
from resilience.deadline import Deadline
from resilience.errors import BreakerOpen, BulkheadFull, CoolingDown
from tests.app.gateway.scene import Gate, Scene

ANYBODY = Client("k", "p")
NARROW = Client("k", "p", routes=frozenset({"chat"}))


def gate(slots: int = 1, queue: int = 0) -> Gate:
    return Gate("alpha/m", slots=slots, queue=queue, context_window=None)


async def test_a_route_is_found_by_those_who_may_use_it() -> None:
    route = Scene().route
    table = RouteTable([route])
    assert table.find("chat", ANYBODY) is route
    assert table.find("chat", NARROW) is route


async def test_an_unknown_route_is_told_before_a_forbidden_one() -> None:
    table = RouteTable([Scene().route])
    nobody = Client("k", "p", routes=frozenset())
    with pytest.raises(ModelNotFound) as unknown:
        table.find("other", nobody)
    with pytest.raises(ModelNotAllowed) as forbidden:
        table.find("chat", nobody)
    assert unknown.value.param == forbidden.value.param == "model"


async def test_everybody_sees_the_routes_that_he_may_use() -> None:
    route = Scene().route
    table = RouteTable([route])
    assert table.visible_to(ANYBODY) == [route]
    assert table.visible_to(Client("k", "p", routes=frozenset({"x"}))) == []


async def test_a_target_at_rest_refuses_nobody() -> None:
    assert gate().guards.refusal() is None


async def test_a_target_that_cools_down_says_for_how_long() -> None:
    guards = gate().guards
    call = Call(Deadline.after(Scene().clock, 60))

    async def throttled(call: Call) -> None:
        raise UpstreamThrottled(retry_after_s=7.0)

    with pytest.raises(UpstreamThrottled):
        await guards.cooldown.execute(throttled, call)
    refusal = guards.refusal()
    assert isinstance(refusal, CoolingDown)
    assert refusal.retry_after_s == pytest.approx(7.0)


async def test_a_target_with_an_open_breaker_says_so() -> None:
    tried = gate()
    for _ in range(5):
        tried.breaker.admit().fail()
    refusal = tried.guards.refusal()
    assert isinstance(refusal, BreakerOpen)
    assert refusal.retry_after_s is not None
    assert refusal.retry_after_s > 1


async def test_a_probing_breaker_asks_to_come_back_soon() -> None:
    tried = gate()
    for _ in range(5):
        tried.breaker.admit().fail()
    await Scene().clock.sleep(60)
    tried.breaker.admit()
    refusal = tried.guards.refusal()
    assert isinstance(refusal, BreakerOpen)
    assert refusal.retry_after_s == 1.0


async def test_a_full_target_says_so() -> None:
    refusal = gate(slots=0).guards.refusal()
    assert isinstance(refusal, BulkheadFull)
    assert refusal.retry_after_s == 1.0


async def test_without_a_breaker_only_the_others_refuse() -> None:
    guards = gate().guards
    without = Guards(
        None, Bulkhead("a", limit=1), guards.cooldown, guards.budget, guards.health
    )
    assert without.refusal() is None
