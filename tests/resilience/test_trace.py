"""The trace of a call: its decisions in order, bounded, and fit to be shown."""

import asyncio

import pytest

from resilience.breaker import BreakerState
from resilience.events import (
    BreakerRejected,
    BulkheadRejected,
    CooldownStarted,
    DeadlineForeseen,
    HedgeCancelled,
    HedgeLost,
    HedgeStarted,
    HedgeWon,
    Listeners,
    RetryBudgetExhausted,
    TargetSkipped,
)
from resilience.testing import LoopClock, ManualClock, ScriptedOperation
from resilience.trace import Decision, DecisionTrace, Step
from tests.resilience.racing import LATE_S, Track, answers_after
from tests.resilience.scenery import OVERLOADED, ProviderError, make_call, throttled


def story(trace: DecisionTrace) -> list[str]:
    """Each decision in a few words."""
    return [
        " ".join(filter(None, (one.step, one.target, one.other, one.reason)))
        for one in trace.decisions
    ]


async def trace_of(track: Track) -> DecisionTrace:
    trace = DecisionTrace(LoopClock())
    track.call = make_call(Listeners([trace]))
    try:
        await track.run()
    except Exception:
        return trace
    await track.call.close()
    return trace


async def test_it_tells_why_a_target_was_skipped_left_and_who_answered() -> None:
    track = Track(
        "abc",
        b=ScriptedOperation(ProviderError(OVERLOADED)),
        c=ScriptedOperation("answer"),
    )
    track["a"].breaker.force(BreakerState.FORCED_OPEN)

    assert story(await trace_of(track)) == [
        "skipped a breaker_open",
        "fell_back a b breaker_open",
        "sent b fallback",
        "failed b overloaded",
        "fell_back b c overloaded",
        "sent c fallback",
        "answered c",
    ]


async def test_it_tells_after_how_long_a_retry_was_made_and_what_came_when() -> None:
    track = Track(a=ScriptedOperation(0.1, ProviderError(throttled(1.0)), 0.1, "ok"))

    trace = await trace_of(track)

    assert story(trace) == [
        "sent a primary",
        "failed a throttled",
        "retried a throttled",
        "sent a retry",
        "answered a",
    ]
    _, failed, retried, again, answered = trace.decisions
    assert failed.after_s == pytest.approx(0.1, abs=0.02)
    assert retried.after_s == pytest.approx(1.005)
    assert again.at_s == pytest.approx(0.1 + 1.005, abs=0.02)
    assert answered.after_s == pytest.approx(0.1)


async def test_it_tells_of_a_hedge_and_of_the_loser() -> None:
    track = Track(a=answers_after(9.0, ""), b=answers_after(0.1, "answer"))

    trace = await trace_of(track)

    assert story(trace) == [
        "sent a primary",
        "hedged a b late",
        "sent b hedge",
        "failed a cancelled",
        "hedge_won a b",
        "answered b",
    ]
    assert trace.decisions[1].after_s == pytest.approx(LATE_S, rel=0.05)


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        (BreakerRejected("a", "half_open"), "refused a breaker_half_open"),
        (BulkheadRejected("a", True, 0.5), "refused a bulkhead_full"),
        (RetryBudgetExhausted("a", "hedge"), "not_repeated a hedge"),
        (HedgeStarted("a", "b", 0.2), "hedged a b late"),
        (HedgeWon("a", "b"), "hedge_won a b"),
        (HedgeLost("a", "b", "beaten"), "hedge_lost a b beaten"),
        (HedgeCancelled("a", "b"), "hedge_cancelled a b"),
        (DeadlineForeseen(0.5, 1.0), "given_up deadline_foreseen"),
    ],
)
def test_every_decision_has_a_step(
    clock: ManualClock, event: TargetSkipped, expected: str
) -> None:
    trace = DecisionTrace(clock)

    trace.on_event(event)

    assert story(trace) == [expected]


def test_what_is_no_decision_is_not_noted(clock: ManualClock) -> None:
    trace = DecisionTrace(clock)

    trace.on_event(CooldownStarted("a", 1.0))

    assert trace.decisions == ()


def test_it_keeps_the_first_decisions_and_the_latest(clock: ManualClock) -> None:
    trace = DecisionTrace(clock, limit=3)
    for number in range(10):
        clock.advance(1.0)
        trace.on_event(TargetSkipped(f"t{number}", "breaker_open"))

    assert [one.target for one in trace.decisions] == ["t0", "t1", "t9"]
    assert trace.left_out == 7
    assert trace.as_dicts()[2:] == [
        {"left_out": 7},
        {"at_s": 10.0, "step": "skipped", "target": "t9", "reason": "breaker_open"},
    ]


def test_a_decision_is_shown_without_what_does_not_apply() -> None:
    hedged = Decision(0.12345, Step.HEDGED, "a", "late", "b", 0.2)
    sent = Decision(0.0, Step.SENT, "a", "primary")

    assert hedged.as_dict() == {
        "at_s": 0.123,
        "step": "hedged",
        "target": "a",
        "reason": "late",
        "other": "b",
        "after_s": 0.2,
    }
    assert sent.as_dict() == {
        "at_s": 0.0,
        "step": "sent",
        "target": "a",
        "reason": "primary",
    }


def test_a_trace_has_room_for_two(clock: ManualClock) -> None:
    with pytest.raises(ValueError, match="latest"):
        DecisionTrace(clock, limit=1)


async def test_error_texts_are_not_in_it() -> None:
    class Talkative(ProviderError):
        def __str__(self) -> str:
            return "the prompt was: secret"

    track = Track("a", a=ScriptedOperation(Talkative(OVERLOADED)))

    trace = await trace_of(track)

    assert "secret" not in str(trace.as_dicts())
    assert asyncio.get_running_loop().time() > 1000.0, "it was retried in vain"
