"""A chain: who is asked, in which order, and what comes back."""

import asyncio

import pytest

from resilience.call import Call
from resilience.chain import Chain
from resilience.errors import BreakerOpen, BudgetExhausted, ChainExhausted, CoolingDown
from resilience.events import FallbackSelected, TargetSkipped
from resilience.testing import ScriptedOperation
from tests.resilience.scenery import (
    AUTH_FAILED,
    CONTEXT_LENGTH,
    REFUSED,
    Place,
    ProviderError,
    Recorder,
    Routed,
    classify,
    make_call,
    throttled,
)

DEAD = ScriptedOperation(ProviderError())


def places(names: str, heard: Recorder | None = None) -> dict[str, Place]:
    return {name: Place(name, heard) for name in names}


def chain_of(route: dict[str, Place]) -> Chain:
    return Chain([place.target for place in route.values()], classify)


def trip(place: Place) -> None:
    for _ in range(5):
        place.breaker.admit().fail()


def test_a_chain_without_targets_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one"):
        Chain([], classify)


async def test_the_first_target_that_answers_is_the_last_one_asked() -> None:
    operation = Routed(a=ScriptedOperation("from a"))
    call = make_call()

    assert await chain_of(places("ab")).execute(operation, call) == "from a"
    assert (operation.sends, call.target, call.kind) == (["a"], "a", "primary")


async def test_an_open_breaker_is_skipped_without_an_attempt() -> None:
    heard = Recorder()
    route = places("ab", heard)
    trip(route["a"])
    heard.events.clear()
    operation = Routed(b=ScriptedOperation("from b"))
    call = make_call(heard)

    assert await chain_of(route).execute(operation, call) == "from b"

    assert (operation.sends, len(call.attempts)) == (["b"], 1)
    assert heard.of(TargetSkipped) == [TargetSkipped("a", "breaker_open")]
    assert heard.of(FallbackSelected) == [FallbackSelected("a", "b", "breaker_open")]
    assert call.kind == "fallback"


async def test_when_all_fail_every_cause_is_told_in_order_of_trial() -> None:
    route = places("abc")
    trip(route["b"])
    last = ProviderError(AUTH_FAILED)
    operation = Routed(a=DEAD, c=ScriptedOperation(last))

    with pytest.raises(ChainExhausted) as caught:
        await chain_of(route).execute(operation, make_call())

    (a, first), (b, second), (c, third) = caught.value.causes
    assert (a, b, c) == ("a", "b", "c")
    assert isinstance(first, ProviderError)
    assert isinstance(second, BreakerOpen)
    assert third is last
    assert caught.value.__context__ is None


async def test_an_error_nobody_can_mend_goes_on_as_itself_at_once() -> None:
    error = ProviderError(REFUSED)
    operation = Routed(a=DEAD, b=ScriptedOperation(error))

    with pytest.raises(ProviderError) as caught:
        await chain_of(places("abc")).execute(operation, make_call())

    assert caught.value is error
    assert operation.sends == ["a", "a", "b"]


async def test_attempts_are_limited_over_all_targets() -> None:
    heard = Recorder()
    operation = Routed(a=DEAD, b=DEAD, c=DEAD)
    call = make_call(heard, max_attempts=4)

    with pytest.raises(ChainExhausted) as caught:
        await chain_of(places("abc")).execute(operation, call)

    assert operation.sends == ["a", "a", "b", "b"]
    assert isinstance(caught.value.causes[2][1], BudgetExhausted)
    assert heard.of(TargetSkipped) == [TargetSkipped("c", "budget_exhausted")]


async def test_the_last_target_is_retried_more_often_than_those_before_it() -> None:
    operation = Routed(a=DEAD, b=DEAD)

    with pytest.raises(ChainExhausted):
        await chain_of(places("ab")).execute(operation, make_call(max_attempts=9))

    assert operation.sends == ["a", "a", "b", "b", "b"]


async def test_an_alternative_counts_only_while_it_is_ready() -> None:
    route = places("ab")
    trip(route["b"])
    operation = Routed(a=DEAD)

    with pytest.raises(ChainExhausted):
        await chain_of(route).execute(operation, make_call())

    assert operation.sends == ["a", "a", "a"]


async def test_a_target_too_small_for_the_prompt_is_no_alternative() -> None:
    a = Place("a", context_window=8_000)
    b = Place("b", context_window=32_000)
    small = Place("small", context_window=4_000)
    operation = Routed(
        a=ScriptedOperation(ProviderError(CONTEXT_LENGTH)), b=DEAD, small=DEAD
    )

    with pytest.raises(ChainExhausted):
        await Chain([a.target, b.target, small.target], classify).execute(
            operation, make_call(max_attempts=9)
        )

    assert operation.sends == ["a", "b", "b", "b"]


async def test_a_target_that_was_throttled_is_skipped_by_the_next_call() -> None:
    heard = Recorder()
    route = places("ab", heard)
    operation = Routed(
        a=ScriptedOperation(ProviderError(throttled(30.0))), b=ScriptedOperation("b")
    )
    chain = chain_of(route)

    await chain.execute(operation, make_call(heard))
    await chain.execute(operation, make_call(heard))

    assert operation.sends == ["a", "b", "b"]
    assert heard.of(TargetSkipped) == [TargetSkipped("a", "cooling_down")]
    refusal = route["a"].refusal()
    assert isinstance(refusal, CoolingDown)


async def test_a_target_that_fails_holds_nothing_while_the_next_is_asked() -> None:
    route = places("ab")
    seen = []

    async def operation(call: Call) -> str:
        if call.target == "a":
            raise ProviderError(AUTH_FAILED)
        seen.append((route["a"].bulkhead.in_use, route["b"].bulkhead.in_use))
        return "answer"

    call = make_call()
    await chain_of(route).execute(operation, call)

    assert seen == [(0, 1)]
    assert len(call.leases) == 1, "those of b's attempt, adopted"
    await call.close()
    assert route["b"].at_rest


async def test_a_cancelled_chain_asks_nobody_else() -> None:
    operation = Routed(a=ScriptedOperation(1e9), b=ScriptedOperation("b"))
    running = asyncio.create_task(
        chain_of(places("ab")).execute(operation, make_call())
    )
    await asyncio.sleep(1.0)

    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running

    assert operation.sends == ["a"]
