"""A pipeline: layers outermost first, one attempt inside them, one settlement."""

import asyncio

import pytest

from resilience.call import Call
from resilience.events import AttemptSettled, AttemptStarted
from resilience.pipeline import Pipeline
from resilience.policy import Operation
from tests.resilience.scenery import (
    UNAVAILABLE,
    Cue,
    Place,
    ProviderError,
    Recorder,
    classify,
    make_call,
)


class Named:
    """A layer that notes when it is entered and left, and holds a lease."""

    def __init__(self, name: str, log: list[str]) -> None:
        self._name, self._log = name, log

    async def execute[T](self, operation: Operation[T], call: Call) -> T:
        self._log.append(f"{self._name} in")
        call.leases.callback(self._log.append, f"{self._name} released")
        try:
            return await operation(call)
        finally:
            self._log.append(f"{self._name} out")


async def answers(call: Call) -> str:
    return "answer"


async def fails(call: Call) -> str:
    raise ProviderError


async def test_layers_are_entered_outermost_first_and_released_innermost_first() -> (
    None
):
    log: list[str] = []
    pipeline = Pipeline([Named("outer", log), Named("inner", log)])
    call = make_call()

    assert await pipeline.execute(answers, call) == "answer"
    assert log == ["outer in", "inner in", "inner out", "outer out"]
    log.clear()
    await call.close()

    assert log == ["inner released", "outer released"]


async def test_without_layers_there_is_just_the_attempt() -> None:
    heard = Recorder()
    call = make_call(heard)

    assert await Pipeline([]).execute(answers, call) == "answer"
    await call.close()

    assert heard.kinds == ["AttemptStarted", "AttemptSettled"]


async def test_a_pipeline_that_fails_holds_nothing_even_without_retries() -> None:
    log: list[str] = []
    call = make_call()

    with pytest.raises(ProviderError):
        await Pipeline([Named("layer", log)], classify=classify).execute(fails, call)

    assert log == ["layer in", "layer out", "layer released"]
    assert len(call.leases) == 0


async def test_an_attempt_is_settled_when_its_reply_closes() -> None:
    heard = Recorder()
    pipeline = Pipeline([], is_slow=lambda attempt: attempt.duration_s == 3.0)
    call = make_call(heard)
    await pipeline.execute(answers, call)
    [started] = heard.of(AttemptStarted)
    assert heard.of(AttemptSettled) == []
    assert started.attempt.first_token_s == 0.0
    await asyncio.sleep(3.0)
    started.attempt.started_at_s = asyncio.get_running_loop().time() - 3.0

    await call.close()

    assert heard.of(AttemptSettled) == [
        AttemptSettled(started.attempt, None, None, slow=True)
    ]


async def test_an_attempt_that_fails_is_settled_at_once_with_its_verdict() -> None:
    heard = Recorder()
    call = make_call(heard)

    with pytest.raises(ProviderError) as caught:
        await Pipeline([], classify=classify).execute(fails, call)

    attempt = call.attempts[0]
    assert heard.of(AttemptSettled) == [
        AttemptSettled(attempt, UNAVAILABLE, caught.value, slow=False)
    ]
    assert attempt.first_token_at_s is None


async def test_a_whole_answer_has_no_first_token() -> None:
    async def whole(call: Call) -> str:
        call.expect_whole()
        return "answer"

    call = make_call()
    await Pipeline([]).execute(whole, call)

    assert call.attempt is not None
    assert call.attempt.first_token_at_s is None


async def test_what_ends_a_reply_is_told_to_the_operation_s_leases_too() -> None:
    cue, broke = Cue(), ProviderError()

    async def opens(call: Call) -> str:
        call.leases.push(cue)
        return "opened"

    place, call = Place("a"), make_call(target="a")
    await place.pipeline.execute(opens, call)
    await call.close(broke)

    assert cue.told == [broke]
    assert place.breaker.totals.failed == 1
