"""A guard: every layer of a target around plain functions and generators."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from resilience import Backoff, BreakerConfig, Guard, GuardedChain, Limits, RetryBudget
from resilience.errors import (
    BreakerOpen,
    BulkheadFull,
    ChainExhausted,
    CoolingDown,
    DeadlineExceeded,
    FirstTokenTimeout,
    IdleTimeout,
)
from resilience.events import AttemptSettled, BreakerChanged
from resilience.testing import LoopClock
from tests.resilience.scenery import (
    CONTENT_FILTER,
    ProviderError,
    Recorder,
    classify,
    middle,
    stream,
    throttled,
)

SOON_OPEN = BreakerConfig(consecutive=1)


def make_guard(name: str = "a", **options: Any) -> Guard:
    options = {"classify": classify, "backoff": Backoff(uniform=middle)} | options
    return Guard(name, clock=LoopClock(), **options)


class Function:
    """Does one step per call: raises it, or returns it; the last one repeats."""

    def __init__(self, *steps: object) -> None:
        self._steps = list(steps)
        self.calls = 0

    async def __call__(self) -> object:
        self.calls += 1
        step = self._steps.pop(0) if len(self._steps) > 1 else self._steps[0]
        if isinstance(step, BaseException):
            raise step
        if isinstance(step, float):
            await asyncio.sleep(step)
        return step


class Source:
    """Streams one script per call, the last one again, and counts what is open."""

    def __init__(self, *scripts: tuple[object, ...]) -> None:
        self._scripts = list(scripts)
        self.calls = 0
        self.open = 0

    async def __call__(self) -> AsyncIterator[Any]:
        self.calls += 1
        script = self._scripts.pop(0) if len(self._scripts) > 1 else self._scripts[0]
        self.open += 1
        try:
            async for item in stream(*script):
                yield item
        finally:
            self.open -= 1


def at_rest(guard: Guard) -> bool:
    return guard.bulkhead.in_use == 0 and guard.health.in_flight == 0


async def test_a_function_s_answer_is_returned_and_counted() -> None:
    guard, function = make_guard(), Function("answer")

    assert await guard.call(function) == "answer"

    assert guard.breaker.totals.recorded == 1
    assert guard.breaker.totals.failed == 0
    assert at_rest(guard)


async def test_a_function_that_fails_is_called_again() -> None:
    guard, function = make_guard(), Function(ProviderError(), "answer")

    assert await guard.call(function) == "answer"

    assert function.calls == 2
    assert guard.breaker.totals.failed == 1


async def test_a_guard_by_itself_needs_nothing_but_a_name() -> None:
    guard = Guard("a")

    assert await guard.call(Function("answer")) == "answer"
    with pytest.raises(ValueError, match="mine"):
        await guard.call(Function(ValueError("mine")))

    assert guard.breaker.totals.recorded == 4


async def test_what_a_function_raises_last_goes_to_the_caller_unchanged() -> None:
    error = ProviderError(CONTENT_FILTER)
    guard = make_guard()

    with pytest.raises(ProviderError) as caught:
        await guard.call(Function(error))

    assert caught.value is error
    assert at_rest(guard)


async def test_a_silent_function_is_ended_and_not_repeated() -> None:
    guard, function = make_guard(limits=Limits(first_token_s=3.0)), Function(60.0)

    with pytest.raises(FirstTokenTimeout):
        await guard.call(function)

    assert function.calls == 1
    assert guard.breaker.totals.failed == 1


async def test_an_answer_that_takes_long_counts_as_slow() -> None:
    guard = make_guard()

    await guard.call(Function(9.0))

    assert guard.breaker.totals.slow == 1


@pytest.mark.parametrize("of_guard_s, of_call_s", [(2.0, None), (60.0, 2.0)])
async def test_a_call_ends_with_its_deadline_or_the_guard_s(
    of_guard_s: float, of_call_s: float | None
) -> None:
    guard = make_guard(deadline_s=of_guard_s)

    with pytest.raises(DeadlineExceeded):
        await guard.call(Function(5.0), deadline_s=of_call_s)

    assert guard.breaker.totals.recorded == 0


async def test_attempts_are_bounded_by_the_guard() -> None:
    guard, function = make_guard(max_attempts=2), Function(ProviderError())

    with pytest.raises(ProviderError):
        await guard.call(function)

    assert function.calls == 2


async def test_guards_of_one_provider_can_share_their_budget() -> None:
    budget = RetryBudget(LoopClock(), floor_per_s=0.0)
    guard, function = make_guard(budget=budget), Function(ProviderError())

    with pytest.raises(ProviderError):
        await guard.call(function)

    assert guard.budget is budget
    assert function.calls == 1


async def test_an_open_breaker_refuses_and_the_health_knows() -> None:
    heard = Recorder()
    guard = make_guard(breaker=SOON_OPEN, listener=heard)
    function = Function(ProviderError(), "answer")
    with pytest.raises(ProviderError):
        await guard.call(function)

    with pytest.raises(BreakerOpen):
        await guard.call(function)

    assert function.calls == 1
    assert isinstance(guard.refusal(), BreakerOpen)
    assert guard.health.score == 0.0
    assert [event.to_state for event in heard.of(BreakerChanged)] == ["open"]


async def test_a_guard_tells_whether_it_would_refuse() -> None:
    guard = make_guard(slots=1, queue=0)
    assert guard.refusal() is None

    async with guard.stream(Source(("a",))):
        assert isinstance(guard.refusal(), BulkheadFull)
        with pytest.raises(BulkheadFull):
            await guard.call(Function("answer"))

    with pytest.raises(ProviderError):
        await guard.call(Function(ProviderError(throttled(60.0))))
    assert isinstance(guard.refusal(), CoolingDown)


async def test_the_guard_s_listener_and_the_call_s_hear_of_a_call() -> None:
    always, once = Recorder(), Recorder()
    guard = make_guard(listener=always)

    await guard.call(Function("answer"), listener=once)
    await guard.call(Function("answer"))

    assert once.kinds == ["AttemptStarted", "AttemptSettled"]
    assert always.kinds == once.kinds * 2


async def test_a_call_can_be_listened_to_although_its_guard_is_not() -> None:
    once = Recorder()

    await make_guard().call(Function("answer"), listener=once)

    assert once.kinds == ["AttemptStarted", "AttemptSettled"]


async def test_a_stream_holds_its_slot_until_it_is_left() -> None:
    guard, source = make_guard(), Source(("a", 1.0, "b", 1.0, "c"))

    async with guard.stream(source) as items:
        assert guard.bulkhead.in_use == 1
        assert [item async for item in items] == ["a", "b", "c"]
        assert guard.bulkhead.in_use == 1

    assert at_rest(guard)
    assert guard.breaker.totals.recorded == 1


async def test_a_stream_that_fails_before_its_first_item_is_opened_again() -> None:
    guard, source = make_guard(), Source((ProviderError(),), ("a", "b"))

    async with guard.stream(source) as items:
        assert [item async for item in items] == ["a", "b"]

    assert source.calls == 2
    assert source.open == 0


async def test_items_without_a_weight_do_not_open_a_stream_and_are_kept() -> None:
    guard = make_guard()
    source = Source(("", ProviderError()), ("", "", "a", "", "b"))

    async with guard.stream(source, weigh=len) as items:
        assert [item async for item in items] == ["", "", "a", "", "b"]

    assert source.calls == 2


async def test_a_stream_that_breaks_is_a_failure_and_says_so_each_time() -> None:
    guard, error = make_guard(), ProviderError()
    received = []

    async with guard.stream(Source(("a", "b", error))) as items:
        with pytest.raises(ProviderError) as caught:
            async for item in items:
                received.append(item)
        with pytest.raises(ProviderError):
            await anext(items)

    assert caught.value is error
    assert received == ["a", "b"]
    assert guard.breaker.totals.failed == 1
    assert at_rest(guard)


async def test_a_stream_that_falls_silent_is_a_failure() -> None:
    guard, source = make_guard(limits=Limits(idle_s=5.0)), Source(("a", 60.0, "b"))

    with pytest.raises(IdleTimeout):
        async with guard.stream(source) as items:
            async for _ in items:
                pass

    assert guard.breaker.totals.failed == 1
    assert source.open == 0


async def test_the_end_of_a_stream_is_told_each_time() -> None:
    async with make_guard().stream(Source(("a",))) as items:
        assert [item async for item in items] == ["a"]
        assert [item async for item in items] == []


async def test_an_empty_stream_is_complete() -> None:
    guard = make_guard()

    async with guard.stream(Source(())) as items:
        assert [item async for item in items] == []

    assert guard.breaker.totals.recorded == 1
    assert guard.breaker.totals.failed == 0


async def test_a_reader_who_leaves_says_nothing_about_the_target() -> None:
    heard, source = Recorder(), Source(("a", 1.0, "b"))
    guard = make_guard(listener=heard)

    async with guard.stream(source) as items:
        assert await anext(items) == "a"
    with pytest.raises(KeyError):
        async with guard.stream(source) as items:
            async for _ in items:
                raise KeyError("the reader's own")

    assert guard.breaker.totals.recorded == 0
    verdicts = [event.verdict for event in heard.of(AttemptSettled)]
    assert [verdict.reason for verdict in verdicts if verdict] == ["cancelled"] * 2
    assert at_rest(guard)
    assert source.open == 0


async def test_a_stream_that_was_left_is_not_read_on() -> None:
    async with make_guard().stream(Source(("a", "b"))) as items:
        await anext(items)

    with pytest.raises(RuntimeError, match="left"):
        await anext(items)


async def test_a_reader_who_is_cancelled_holds_nothing() -> None:
    guard, source = make_guard(), Source(("a", 60.0))

    async def read() -> None:
        async with guard.stream(source) as items:
            async for _ in items:
                pass

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(1.0):
            await read()

    assert guard.breaker.totals.recorded == 0
    assert at_rest(guard)
    assert source.open == 0


async def test_a_source_that_cannot_be_closed_may_be_streamed() -> None:
    class Countdown:
        def __init__(self) -> None:
            self._left = 2

        def __aiter__(self) -> "Countdown":
            return self

        async def __anext__(self) -> int:
            if self._left == 0:
                raise StopAsyncIteration
            self._left -= 1
            return self._left

    async with make_guard().stream(Countdown) as items:
        assert [item async for item in items] == [1, 0]


async def test_a_chain_calls_the_next_function_when_the_first_fails() -> None:
    functions = {"a": Function(ProviderError()), "b": Function("answer")}
    a, b = make_guard("a"), make_guard("b")
    chain = GuardedChain(a, b)

    assert await chain.call(lambda target: functions[target]()) == "answer"

    assert [functions["a"].calls, functions["b"].calls] == [2, 1]
    assert a.breaker.totals.failed == 2
    assert at_rest(a)
    assert at_rest(b)


async def test_a_chain_streams_from_whoever_opens() -> None:
    sources = {
        "a": Source((ProviderError(),)),
        "b": Source(("x", 4.0, "y")),
    }
    heard = Recorder()
    b = make_guard("b", limits=Limits(idle_s=3.0))
    chain = GuardedChain(make_guard("a"), b, listener=heard)
    received = []

    with pytest.raises(IdleTimeout):  # by the limits of whoever was asked
        async with chain.stream(lambda target: sources[target]()) as items:
            async for item in items:
                received.append(item)

    assert received == ["x"]
    assert "FallbackSelected" in heard.kinds
    assert b.breaker.totals.failed == 1


async def test_a_chain_that_is_exhausted_tells_every_cause() -> None:
    functions = {"a": Function(ProviderError()), "b": Function(ProviderError())}
    chain = GuardedChain(make_guard("a"), make_guard("b"), max_attempts=3)

    with pytest.raises(ChainExhausted) as caught:
        await chain.call(lambda target: functions[target]())

    assert [name for name, _ in caught.value.causes] == ["a", "b"]
    assert [functions["a"].calls, functions["b"].calls] == [2, 1]


async def test_a_chain_needs_targets_of_different_names() -> None:
    with pytest.raises(ValueError, match="at least one"):
        GuardedChain()
    with pytest.raises(ValueError, match="each once"):
        GuardedChain(make_guard("a"), make_guard("a"))
