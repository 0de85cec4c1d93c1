"""What a chain knows beforehand, and what its route allows it to go past."""

import asyncio

import pytest

from resilience.chain import Chain
from resilience.errors import ChainExhausted, DeadlineExceeded
from resilience.events import DeadlineForeseen, TargetSkipped
from resilience.outcome import Condition, Counts, Disposition, Verdict
from resilience.target import Target
from resilience.testing import ScriptedOperation
from tests.resilience.racing import warm
from tests.resilience.scenery import (
    AUTH_FAILED,
    CONTEXT_LENGTH,
    Place,
    ProviderError,
    Recorder,
    Routed,
    classify,
    make_call,
    spin,
)

FILTERED = Verdict(
    Counts.NEUTRAL,
    Disposition.NEXT_TARGET,
    "content_filter",
    condition=Condition.ANOTHER_FILTER,
)


def route(**typical_s: float | None) -> list[Place]:
    """Places with these typical times to a first token; None is not known."""
    places = []
    for name, first_s in typical_s.items():
        place = Place(name)
        if first_s is not None:
            warm(place, first_s)
        places.append(place)
    return places


def chain_of(places: list[Place]) -> Chain:
    return Chain([place.target for place in places], classify)


def trip(place: Place) -> None:
    for _ in range(5):
        place.breaker.admit().fail()


async def test_a_route_fails_on_a_content_filter_unless_it_says_otherwise() -> None:
    error = ProviderError(FILTERED)
    operation = Routed(a=ScriptedOperation(error), b=ScriptedOperation("from b"))

    with pytest.raises(ProviderError) as caught:
        await chain_of(route(a=None, b=None)).execute(operation, make_call())

    assert caught.value is error
    assert operation.sends == ["a"]


async def test_a_route_may_go_past_a_content_filter() -> None:
    operation = Routed(
        a=ScriptedOperation(ProviderError(FILTERED)), b=ScriptedOperation("from b")
    )
    chain = Chain(
        [place.target for place in route(a=None, b=None)],
        classify,
        goes_past={Condition.ANOTHER_FILTER},
    )

    assert await chain.execute(operation, make_call()) == "from b"
    assert operation.sends == ["a", "b"]


async def test_a_filter_on_every_target_is_every_target_s_cause() -> None:
    filtered = ScriptedOperation(ProviderError(FILTERED))
    chain = Chain(
        [place.target for place in route(a=None, b=None)],
        classify,
        goes_past={Condition.ANOTHER_FILTER},
    )

    with pytest.raises(ChainExhausted) as caught:
        await chain.execute(Routed(a=filtered, b=filtered), make_call())
    assert [name for name, _ in caught.value.causes] == ["a", "b"]


@pytest.mark.parametrize(
    ("goes_past", "sends"),
    [(set[Condition](), ["a"]), ({Condition.LARGER_CONTEXT}, ["a", "b"])],
)
async def test_a_route_may_refuse_to_look_for_a_larger_window(
    goes_past: set[Condition], sends: list[str]
) -> None:
    places = [Place("a", context_window=100), Place("b", context_window=200)]
    operation = Routed(
        a=ScriptedOperation(ProviderError(CONTEXT_LENGTH)),
        b=ScriptedOperation(ProviderError(CONTEXT_LENGTH)),
    )
    chain = Chain(
        [place.target for place in places], classify, goes_past=frozenset(goes_past)
    )

    with pytest.raises(ProviderError):
        await chain.execute(operation, make_call())
    assert operation.sends == sends


async def test_a_call_nobody_can_answer_in_time_is_given_up_without_a_send() -> None:
    heard = Recorder()
    operation = ScriptedOperation("never")
    call = make_call(heard, deadline_s=0.5)

    with pytest.raises(DeadlineExceeded) as caught:
        await chain_of(route(a=3.0, b=1.0)).execute(operation, call)

    assert operation.sends == []
    assert caught.value.__cause__ is None
    (foreseen,) = heard.of(DeadlineForeseen)
    assert foreseen.remaining_s == pytest.approx(0.5)
    assert foreseen.typical_s == pytest.approx(1.0, rel=0.05)


@pytest.mark.parametrize(
    ("a_s", "b_s"), [(0.3, None), (0.3, 1.0), (1.0, 0.3), (1.0, None), (None, 1.0)]
)
async def test_a_call_somebody_may_answer_in_time_is_made(
    a_s: float | None, b_s: float | None
) -> None:
    operation = ScriptedOperation("answer")

    answer = await chain_of(route(a=a_s, b=b_s)).execute(
        operation, make_call(deadline_s=0.5)
    )

    assert (answer, operation.sends) == ("answer", ["a"])


async def test_a_fast_target_that_would_refuse_does_not_count() -> None:
    places = route(a=1.0, b=0.1)
    trip(places[1])
    operation = ScriptedOperation("never")

    with pytest.raises(DeadlineExceeded):
        await chain_of(places).execute(operation, make_call(deadline_s=0.5))
    assert operation.sends == []


async def test_if_everybody_would_refuse_that_is_what_is_told() -> None:
    places = route(a=1.0)
    trip(places[0])

    with pytest.raises(ChainExhausted) as caught:
        await chain_of(places).execute(
            ScriptedOperation("never"), make_call(deadline_s=0.5)
        )
    assert [type(exc).__name__ for _, exc in caught.value.causes] == ["BreakerOpen"]


async def test_a_fallback_that_would_come_too_late_is_not_made() -> None:
    heard = Recorder()
    error = ProviderError(AUTH_FAILED)
    operation = Routed(a=ScriptedOperation(1.5, error), b=ScriptedOperation("never"))

    with pytest.raises(DeadlineExceeded) as caught:
        await chain_of(route(a=1.0, b=1.0)).execute(
            operation, make_call(heard, deadline_s=2.0)
        )

    assert operation.sends == ["a"]
    assert caught.value.__cause__ is error
    assert heard.of(TargetSkipped) == []


async def test_old_evidence_refuses_nobody() -> None:
    places = route(a=1.0)
    await asyncio.sleep(60.0)

    answer = await chain_of(places).execute(
        ScriptedOperation("answer"), make_call(deadline_s=0.5)
    )
    assert answer == "answer"


async def test_a_target_without_health_foresees_nothing() -> None:
    place = Place("a")
    bare = Target("a", place.pipeline, place)
    call = make_call(deadline_s=0.5)

    answer = await Chain([bare], classify).execute(ScriptedOperation("answer"), call)

    assert answer == "answer"
    await spin()
