"""Hedges beside every other layer: attempts made, and what was sent."""

import asyncio
import random
from collections import Counter
from collections.abc import Sequence

import pytest

from resilience.breaker import BreakerConfig
from resilience.call import Call
from resilience.chain import Chain
from resilience.errors import ChainExhausted
from resilience.events import HedgeLost, HedgeStarted, HedgeWon
from resilience.hedge import Hedge
from resilience.target import Target
from resilience.testing import LoopClock, ScriptedOperation
from resilience.timeout import GuardedStream, Limits
from tests.resilience.racing import LATE_S, Track, answers_after, warm
from tests.resilience.scenery import (
    OVERLOADED,
    Place,
    ProviderError,
    classify,
    make_call,
    one_each,
    stream,
    throttled,
)


async def test_hedge_and_retry_a_blip_of_the_target_is_retried_beside_the_hedge() -> (
    None
):
    track = Track(
        a=ScriptedOperation(0.5, ProviderError(), 1.0, "from a"),
        b=answers_after(9.0, "from b"),
    )

    assert await track.run() == "from a"
    assert track.kinds == [("a", "primary"), ("b", "hedge"), ("a", "retry")]
    assert track.sends == ["a", "b", "a"]


async def test_hedge_and_retry_an_overloaded_target_is_not_asked_again() -> None:
    track = Track(
        a=ScriptedOperation(0.5, ProviderError(OVERLOADED)),
        b=answers_after(2.0, "from b"),
    )

    assert await track.run() == "from b"
    assert (len(track.call.attempts), track.sends) == (2, ["a", "b"])


async def test_hedge_and_retry_together_keep_the_call_s_attempts() -> None:
    """The hedge queues for its slot, and is counted, while the retry takes the last."""
    b = Place("b", slots=1)
    track = Track(
        places=[b],
        a=ScriptedOperation(0.5, ProviderError()),
        b=answers_after(0.0, "never"),
        max_attempts=2,
    )
    slot = b.bulkhead.try_acquire()
    assert slot is not None
    asyncio.get_running_loop().call_later(0.8, lambda: slot.__exit__(None, None, None))

    with pytest.raises(ChainExhausted) as caught:
        await track.run()

    assert track.sends == ["a", "a"]
    (a, failed), (other, refused) = caught.value.causes
    assert (a, type(failed)) == ("a", ProviderError)
    assert (other, type(refused).__name__) == ("b", "BudgetExhausted")
    assert track.hedges()[-1] == HedgeLost("a", "b", "budget_exhausted")
    track.assert_nothing_is_left()


async def test_hedge_and_retry_a_retry_beyond_the_last_attempt_keeps_the_error() -> (
    None
):
    """The hedge takes the last attempt while the target's retry waits for its turn."""
    b = Place("b", slots=1)
    error = ProviderError()
    track = Track(
        places=[b],
        a=ScriptedOperation(0.5, error),
        b=ScriptedOperation(9.0, ProviderError()),
        max_attempts=2,
    )
    slot = b.bulkhead.try_acquire()
    assert slot is not None
    asyncio.get_running_loop().call_later(
        0.515, lambda: slot.__exit__(None, None, None)
    )

    with pytest.raises(ChainExhausted) as caught:
        await track.run()

    assert track.sends == ["a", "b"]
    assert caught.value.causes[0] == ("a", error), "not the refusal of its retry"
    assert track["a"].budget.remaining_ratio() == 1.0, "which costs nothing"
    track.assert_nothing_is_left()


async def test_hedge_and_breaker_being_cancelled_is_no_failure() -> None:
    track = Track(paid=20)
    for _ in range(10):
        track.call = make_call(track.heard)
        track.scripts = {
            "a": answers_after(1e9, ""),
            "b": answers_after(0.1, "from b"),
        }
        assert await track.run() == "from b"
        await track.call.close()

    assert track["a"].breaker.totals.failed == 0
    assert len(track.sends) == 20


async def test_hedge_and_breaker_a_hedge_s_failure_counts_against_its_target() -> None:
    broken = Place("b", config=BreakerConfig(consecutive=1))
    track = Track(
        places=[broken],
        a=answers_after(1.0, "from a"),
        b=ScriptedOperation(ProviderError()),
    )

    assert await track.run() == "from a"
    assert (broken.breaker.state, track.sends) == ("open", ["a", "b"])


@pytest.mark.parametrize(("probe_s", "winner"), [(0.1, "b"), (9.0, "a")])
async def test_hedge_and_half_open_breaker_the_probe_s_place_is_not_lost(
    probe_s: float, winner: str
) -> None:
    trial = Place("b", config=BreakerConfig(permitted=1))
    track = Track(
        places=[trial],
        a=answers_after(1.0, "from a"),
        b=answers_after(probe_s, "from b"),
    )
    for _ in range(5):
        trial.breaker.admit().fail()
    await asyncio.sleep(trial.breaker.open_for_s)
    warm(track["a"])

    assert await track.run() == f"from {winner}"
    await track.call.close()

    assert trial.breaker.state == ("closed" if winner == "b" else "half_open")
    assert trial.breaker.ready
    track.assert_nothing_is_left()


async def test_hedge_and_bulkhead_the_loser_gives_its_slot_back() -> None:
    track = Track(a=answers_after(9.0, "from a"), b=answers_after(1.0, "from b"))
    running = asyncio.create_task(track.run())
    await asyncio.sleep(0.5)
    assert [place.bulkhead.in_use for place in track.places.values()] == [1, 1]

    assert await running == "from b"
    assert [place.bulkhead.in_use for place in track.places.values()] == [0, 1]


async def test_hedge_and_bulkhead_a_full_one_is_not_asked_as_well() -> None:
    full = Place("b", slots=1, queue=0)
    track = Track(places=[full], a=answers_after(1.0, "from a"))
    full.bulkhead.try_acquire()

    assert await track.run() == "from a"
    assert (track.sends, track.hedges()) == (["a"], [])


async def test_hedge_and_bulkhead_a_beaten_hedge_leaves_the_queue() -> None:
    full = Place("b", slots=1)
    track = Track(places=[full], a=answers_after(0.5, "from a"))
    full.bulkhead.try_acquire()

    assert await track.run() == "from a"
    assert (full.bulkhead.in_use, full.bulkhead.queued) == (1, 0)
    assert full.budget.remaining_ratio() == 1.0, "nothing was sent"


async def test_hedge_and_cooldown_a_throttled_hedge_pauses_its_target_alone() -> None:
    track = Track(
        a=answers_after(1.0, "from a"), b=ScriptedOperation(ProviderError(throttled(9)))
    )

    assert await track.run() == "from a"

    assert track.sends == ["a", "b"]
    assert track["b"].cooldown.remaining_s > 5
    assert track["a"].cooldown.remaining_s == 0


async def test_hedge_and_timeouts_each_attempt_has_its_own_limit() -> None:
    limits = Limits(first_token_s=2.0)
    track = Track(
        places=[Place(name, limits=limits) for name in "ab"],
        a=answers_after(1e9, ""),
        b=answers_after(1.9, "from b"),
    )

    assert await track.run() == "from b"
    assert track.settled("a") == ["first_token_timeout"]


async def test_hedge_and_stream_what_the_winner_opened_is_read_after_the_race() -> None:
    limits = Limits(idle_s=1.0)

    async def opens(call: Call) -> GuardedStream[object]:
        if call.target == "a":
            await asyncio.sleep(1e9)
        items = GuardedStream(stream("first", 0.5, "second"), call, limits, one_each)
        await anext(items)
        return items

    track = Track()
    items = await track.chain.execute(opens, track.call)

    assert [item async for item in items] == ["second"]
    await track.call.close()
    assert track.settled("b") == ["success"]
    track.assert_nothing_is_left()


async def test_hedge_and_strategy_the_next_in_its_order_is_asked_as_well() -> None:
    track = Track("abc", c=answers_after(9.0, "from c"), b=answers_after(0.1, "from b"))
    route = [place.target for place in track.places.values()]
    a, b, c = route

    class Drawn:
        def order(self, targets: Sequence[Target]) -> Sequence[Target]:
            return [c, b, a]

    chain = Chain(route, classify, strategy=Drawn(), hedge=track.hedge)

    assert await chain.execute(track.attempt, track.call) == "from b"
    assert track.kinds == [("c", "primary"), ("b", "hedge")]


async def test_hedges_add_no_more_than_their_share_to_what_is_sent() -> None:
    """One call in ten is late: twice as many as there is a share for."""
    places = {name: Place(name) for name in "ab"}
    for place in places.values():
        warm(place)
    hedge = Hedge(LoopClock(), classify, budget_ratio=0.05)
    chain = Chain([place.target for place in places.values()], classify, hedge=hedge)
    sends: list[str] = []
    drawn = random.Random(7)

    async def sometimes_late(call: Call) -> str:
        sends.append(call.target)
        late = call.target == "a" and drawn.random() < 0.1
        await asyncio.sleep(5.0 if late else LATE_S / 2)
        return "answer"

    calls = 400
    for _ in range(calls):
        call = make_call()
        await chain.execute(sometimes_late, call)
        await call.close()

    extra = len(sends) - calls
    assert 0 < extra <= 0.05 * calls


@pytest.mark.parametrize("seed", range(3))
async def test_with_retries_beside_them_each_stays_within_its_budget(seed: int) -> None:
    """Half of what is sent fails, a third is late: an incident, and no storm."""
    drawn = random.Random(seed)
    lenient = BreakerConfig(consecutive=10**6, failure_ratio=1.1)
    a, b = Place("a", floor_per_s=0.0, config=lenient), Place("b", config=lenient)
    warm(a)
    warm(b)
    hedge = Hedge(LoopClock(), classify, budget_ratio=0.05)
    chain = Chain([a.target, b.target], classify, hedge=hedge)
    sent: Counter[str] = Counter()

    async def troubled(call: Call) -> str:
        await asyncio.sleep(drawn.choice([0.05, 0.05, 1.0]))
        if drawn.random() < 0.5:
            raise ProviderError
        return "answer"

    async def one(after_s: float) -> None:
        await asyncio.sleep(after_s)
        call = make_call()
        try:
            await chain.execute(troubled, call)
        except Exception as exc:
            await call.close(exc)
        else:
            await call.close()
        sent.update(f"{one.target} {one.kind}" for one in call.attempts)

    calls = 600
    await asyncio.gather(*(one(number * 0.02) for number in range(calls)))

    assert sent["a primary"] == calls
    assert 0 < sent["b hedge"] <= 0.05 * calls
    assert 0 < sent["a retry"] <= 0.2 * calls
    assert sent["b fallback"] <= calls
    assert sent["a hedge"] == sent["a fallback"] == 0, "nobody is asked twice"
    assert a.at_rest and b.at_rest


async def test_hedges_that_win_are_told_apart_from_those_that_do_not() -> None:
    track = Track(a=answers_after(9.0, ""), b=answers_after(0.1, "b"), paid=20)
    for delay_s in (9.0, LATE_S + 0.05):
        track.call = make_call(track.heard)
        track.scripts = {
            "a": answers_after(delay_s, "a"),
            "b": answers_after(0.1, "b"),
        }
        await track.run()
        await track.call.close()

    kinds = [type(event) for event in track.hedges()]
    assert kinds == [HedgeStarted, HedgeWon, HedgeStarted, HedgeLost]
