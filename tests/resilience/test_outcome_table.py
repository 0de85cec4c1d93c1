"""The outcome table of the design, row by row, through the real pipeline.

Each row tells what target `a` does; target `b`, where there is one, always answers.
Asserted are the sends each target saw, what `a`'s breaker recorded, and who answered.
"""

import asyncio
from dataclasses import dataclass

import pytest

from resilience.chain import Chain
from resilience.errors import (
    ChainExhausted,
    ConnectTimeout,
    DeadlineExceeded,
    FirstTokenTimeout,
    IdleTimeout,
    TooSlow,
)
from resilience.events import AttemptSettled, FallbackSelected
from resilience.outcome import Counts
from resilience.testing import ScriptedOperation
from resilience.timeout import Limits
from tests.resilience.scenery import (
    AUTH_FAILED,
    CONTENT_FILTER,
    CONTEXT_LENGTH,
    OVERLOADED,
    POOL_FULL,
    REFUSED,
    Place,
    ProviderError,
    Recorder,
    Routed,
    Streaming,
    classify,
    make_call,
    stream,
    throttled,
)

SILENT = 1e9
"""A silence that outlasts every limit, in seconds."""


@dataclass(frozen=True)
class Row:
    """`sends`: to `a`; `failures`, `slow`: recorded by `a`'s breaker."""

    step: object
    sends: int
    failures: int = 0
    slow: int = 0
    answered: bool = True


BESIDE_A_READY_TARGET = {
    "unavailable": Row(ProviderError(), sends=2, failures=2),
    "an unknown error": Row(OSError("reset"), sends=2, failures=2),
    "connect timeout": Row(ConnectTimeout(2), sends=2, failures=2),
    "overloaded": Row(ProviderError(OVERLOADED), sends=1, failures=1),
    "silent": Row(SILENT, sends=1, failures=1, slow=1),
    "429, short pause": Row(ProviderError(throttled(1.0)), sends=2),
    "429, pause as long as we wait": Row(ProviderError(throttled(2.0)), sends=2),
    "429, long pause": Row(ProviderError(throttled(2.5)), sends=1),
    "429, no pause named": Row(ProviderError(throttled()), sends=1),
    "401": Row(ProviderError(AUTH_FAILED), sends=1),
    "400": Row(ProviderError(REFUSED), sends=1, answered=False),
    "content filter": Row(ProviderError(CONTENT_FILTER), sends=1, answered=False),
    "context length": Row(ProviderError(CONTEXT_LENGTH), sends=1, answered=False),
    "own pool is full": Row(ProviderError(POOL_FULL), sends=1),
}

ALONE = {
    "unavailable": Row(ProviderError(), sends=3, failures=3),
    "an unknown error": Row(OSError("reset"), sends=3, failures=3),
    "connect timeout": Row(ConnectTimeout(2), sends=3, failures=3),
    "overloaded": Row(ProviderError(OVERLOADED), sends=3, failures=3),
    "silent": Row(SILENT, sends=1, failures=1, slow=1),
    "429, short pause": Row(ProviderError(throttled(1.0)), sends=3),
    "429, pause that fits the deadline once": Row(
        ProviderError(throttled(70.0)), sends=2
    ),
    "429, pause beyond the deadline": Row(ProviderError(throttled(121.0)), sends=1),
    "429, no pause named": Row(ProviderError(throttled()), sends=3),
    "401": Row(ProviderError(AUTH_FAILED), sends=1),
    "400": Row(ProviderError(REFUSED), sends=1),
    "context length": Row(ProviderError(CONTEXT_LENGTH), sends=1),
    "own pool is full": Row(ProviderError(POOL_FULL), sends=1),
}


@pytest.mark.parametrize(
    "row", BESIDE_A_READY_TARGET.values(), ids=BESIDE_A_READY_TARGET.keys()
)
async def test_beside_a_ready_target(row: Row) -> None:
    heard = Recorder()
    a, b = Place("a", heard), Place("b", heard)
    operation = Routed(a=ScriptedOperation(row.step), b=ScriptedOperation("answer"))
    call = make_call(heard)
    chain = Chain([a.target, b.target], classify)

    if row.answered:
        assert await chain.execute(operation, call) == "answer"
        assert (call.target, call.attempt) == ("b", call.attempts[-1])
        assert [event.to_target for event in heard.of(FallbackSelected)] == ["b"]
    else:
        with pytest.raises(ProviderError) as caught:
            await chain.execute(operation, call)
        assert caught.value is row.step
    await call.close()

    assert operation.sends == ["a"] * row.sends + ["b"] * row.answered
    assert len(call.attempts) == len(operation.sends)
    assert_recorded(a, row, heard)
    assert (b.breaker.totals.recorded, b.breaker.totals.failed) == (row.answered, 0)
    assert a.at_rest and b.at_rest


@pytest.mark.parametrize("row", ALONE.values(), ids=ALONE.keys())
async def test_alone(row: Row) -> None:
    heard = Recorder()
    a = Place("a", heard)
    operation = Routed(a=ScriptedOperation(row.step))

    with pytest.raises(Exception) as caught:
        await a.pipeline.execute(operation, make_call(heard, target="a"))

    if isinstance(row.step, Exception):
        assert caught.value is row.step
    assert operation.sends == ["a"] * row.sends
    assert_recorded(a, row, heard)
    assert a.at_rest


def assert_recorded(place: Place, row: Row, heard: Recorder) -> None:
    """Neutral attempts are in no denominator."""
    totals = place.breaker.totals
    assert (totals.recorded, totals.failed) == (row.failures, row.failures)
    assert totals.slow == row.slow
    settled = [one for one in heard.of(AttemptSettled) if one.attempt.target == "a"]
    assert len(settled) == row.sends
    failed = [one for one in settled if one.verdict.counts is Counts.FAILURE]
    assert len(failed) == row.failures
    assert all(one.error is row.step for one in settled) or row.step is SILENT


async def test_context_length_goes_on_to_a_larger_window_only() -> None:
    a = Place("a", context_window=8_000)
    b = Place("b", context_window=8_000)
    undeclared = Place("undeclared")
    c = Place("c", context_window=32_000)
    places = {place.name: place for place in (a, b, undeclared, c)}
    operation = Routed(
        a=ScriptedOperation(ProviderError(CONTEXT_LENGTH)), c=ScriptedOperation("long")
    )
    chain = Chain([place.target for place in places.values()], classify)

    assert await chain.execute(operation, make_call()) == "long"
    assert operation.sends == ["a", "c"]


async def test_a_window_that_is_not_declared_is_smaller_than_any_declared_one() -> None:
    a, undeclared, c = Place("a"), Place("b"), Place("c", context_window=4_000)
    operation = Routed(
        a=ScriptedOperation(ProviderError(CONTEXT_LENGTH)), c=ScriptedOperation("long")
    )
    chain = Chain([a.target, undeclared.target, c.target], classify)

    assert await chain.execute(operation, make_call()) == "long"
    assert operation.sends == ["a", "c"]


@pytest.mark.parametrize(("after_s", "slow"), [(1.0, 0), (9.0, 1)])
async def test_a_client_that_leaves_is_neutral_and_slow_if_the_token_was_overdue(
    after_s: float, slow: int
) -> None:
    a, b = Place("a"), Place("b")
    operation = Routed(a=ScriptedOperation(SILENT))
    chain = Chain([a.target, b.target], classify)
    client = asyncio.create_task(chain.execute(operation, make_call()))
    await asyncio.sleep(after_s)

    client.cancel()
    with pytest.raises(asyncio.CancelledError):
        await client

    totals = a.breaker.totals
    assert (totals.recorded, totals.failed, totals.slow) == (slow, 0, slow)
    assert operation.sends == ["a"]
    assert a.at_rest


async def test_a_deadline_that_passes_is_neutral_and_the_end() -> None:
    a, b = Place("a"), Place("b")
    operation = Routed(a=ScriptedOperation(SILENT), b=ScriptedOperation("answer"))
    chain = Chain([a.target, b.target], classify)

    with pytest.raises(DeadlineExceeded):
        await chain.execute(operation, make_call(deadline_s=5.0))

    assert operation.sends == ["a"]
    assert a.breaker.totals.recorded == 0


async def test_a_silent_target_alone_fails_by_its_own_error() -> None:
    a = Place("a")

    with pytest.raises(ChainExhausted) as caught:
        await Chain([a.target], classify).execute(
            Routed(a=ScriptedOperation(SILENT)), make_call()
        )

    [(name, cause)] = caught.value.causes
    assert (name, type(cause)) == ("a", FirstTokenTimeout)


async def test_our_own_saturation_goes_on_and_is_nobodys_failure() -> None:
    heard = Recorder()
    a, b = Place("a", heard, slots=1, queue=0), Place("b", heard)
    taken = a.bulkhead.try_acquire()
    assert taken is not None
    operation = Routed(b=ScriptedOperation("answer"))
    call = make_call(heard)

    await Chain([a.target, b.target], classify).execute(operation, call)

    assert operation.sends == ["b"]
    assert a.breaker.totals.recorded == 0
    assert [(e.from_target, e.reason) for e in heard.of(FallbackSelected)] == [
        ("a", "bulkhead_full")
    ]


async def test_a_slow_first_token_is_slow_and_no_failure() -> None:
    a = Place("a")
    call = make_call(target="a")
    await a.pipeline.execute(Routed(a=ScriptedOperation(9.0, "late")), call)
    assert a.breaker.totals.recorded == 0, "an open reply is not settled yet"

    await call.close()

    totals = a.breaker.totals
    assert (totals.recorded, totals.failed, totals.slow) == (1, 0, 1)


@pytest.mark.parametrize(
    ("rest", "error"),
    [
        ((ProviderError(),), ProviderError),
        ((SILENT,), IdleTimeout),
        ((10.0, "x") * 4, TooSlow),
    ],
    ids=["truncated", "stalled", "dribbling"],
)
async def test_a_stream_that_started_well_and_broke_is_a_failure(
    rest: tuple[object, ...], error: type[Exception]
) -> None:
    a, b = Place("a", limits=Limits()), Place("b")
    call = make_call()
    operation = Streaming(a.limits, lambda: stream("first", *rest))
    items = await Chain([a.target, b.target], classify).execute(operation, call)
    assert a.bulkhead.in_use == 1

    with pytest.raises(error) as caught:
        async for _ in items:
            pass
    await call.close(caught.value)

    totals = a.breaker.totals
    assert (totals.recorded, totals.failed) == (1, 1)
    assert a.at_rest
    assert len(call.attempts) == 1, "after the commit point nothing is sent again"
