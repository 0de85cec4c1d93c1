"""A hedge: who is late, who else is asked, who wins, and what is left of the other."""

import asyncio

import pytest

from resilience.call import AttemptKind, Call
from resilience.chain import Chain
from resilience.errors import ChainExhausted, DeadlineExceeded
from resilience.events import (
    FallbackSelected,
    HedgeCancelled,
    HedgeLost,
    HedgeStarted,
    HedgeWon,
    RetryBudgetExhausted,
)
from resilience.hedge import Hedge
from resilience.target import Target
from resilience.testing import LoopClock, ScriptedOperation
from tests.resilience.racing import LATE_S, Track, answers_after, now_s, warm
from tests.resilience.scenery import (
    AUTH_FAILED,
    CONTEXT_LENGTH,
    REFUSED,
    Place,
    ProviderError,
    classify,
    make_call,
    spin,
)

NEVER = 1e9


def answers(answer: str) -> ScriptedOperation:
    return ScriptedOperation(answer)


async def test_a_target_that_is_not_late_is_asked_alone() -> None:
    track = Track(a=answers_after(0.15, "from a"))

    assert await track.run() == "from a"

    assert (track.sends, track.hedges()) == (["a"], [])
    assert (track.call.target, track.call.kind) == ("a", "primary")


async def test_a_late_target_is_hedged_and_the_first_answer_is_taken() -> None:
    track = Track(a=answers_after(5.0, "from a"), b=answers_after(0.1, "from b"))

    assert await track.run() == "from b"

    assert now_s() == pytest.approx(LATE_S + 0.1, rel=0.1)
    assert track.kinds == [("a", "primary"), ("b", "hedge")]
    call = track.call
    assert (call.target, call.kind, call.attempt) == ("b", "hedge", call.attempts[1])
    started, won = track.hedges()
    assert isinstance(started, HedgeStarted)
    assert started.after_s == pytest.approx(LATE_S, rel=0.05)
    assert won == HedgeWon("a", "b")


async def test_the_loser_is_cancelled_and_awaited_and_counts_for_nothing() -> None:
    track = Track(a=answers_after(5.0, "from a"), b=answers_after(0.1, "from b"))

    await track.run()

    (told,) = track.told("a")
    assert isinstance(told, asyncio.CancelledError)
    assert track.settled("a") == ["cancelled"]
    assert track["a"].at_rest and track["a"].breaker.totals.failed == 0
    assert track.told("b") == [], "the winner's leases are the call's now"
    assert track["b"].bulkhead.in_use == 1
    await track.call.close()
    assert (track.told("b"), track.settled("b")) == ([None], ["success"])
    track.assert_nothing_is_left()


async def test_the_late_target_may_still_win() -> None:
    track = Track(a=answers_after(0.5, "from a"), b=answers_after(5.0, "from b"))

    assert await track.run() == "from a"

    assert track.hedges()[-1] == HedgeLost("a", "b", "beaten")
    assert (track.call.target, track.call.kind) == ("a", "primary")
    assert track.settled("b") == ["cancelled"]
    await track.call.close()
    track.assert_nothing_is_left()


async def test_when_both_answer_in_one_moment_the_target_wins() -> None:
    both = asyncio.Event()

    async def operation(call: Call) -> str:
        call.leases.callback(left.append, call.target)
        await both.wait()
        return f"from {call.target}"

    left: list[str] = []
    track = Track()
    running = asyncio.create_task(track.chain.execute(operation, track.call))
    await asyncio.sleep(1.0)
    both.set()

    assert await running == "from a"
    assert left == ["b"]
    assert track.hedges()[-1] == HedgeLost("a", "b", "beaten")
    await track.call.close()
    track.assert_nothing_is_left()


async def test_a_loser_that_answers_in_spite_of_its_cancellation_is_closed() -> None:
    async def operation(call: Call) -> str:
        if call.target == "b":
            return "from b"
        call.leases.callback(left.append, call.target)
        try:
            await asyncio.sleep(NEVER)
        except asyncio.CancelledError:
            await asyncio.sleep(1.0)
        return "too late"

    left: list[str] = []
    track = Track()

    assert await track.chain.execute(operation, track.call) == "from b"
    assert left == ["a"]
    assert track.settled("a") == ["cancelled"]
    await track.call.close()
    track.assert_nothing_is_left()


async def test_an_error_of_the_target_never_wins_while_the_hedge_is_asked() -> None:
    broken = ScriptedOperation(0.5, ProviderError(AUTH_FAILED))
    track = Track(a=broken, b=answers_after(2.0, "from b"))

    assert await track.run() == "from b"

    assert track.hedges()[-1] == HedgeWon("a", "b")
    assert track.settled("a") == ["auth_failed"]


async def test_an_error_of_the_hedge_never_wins_while_the_target_is_asked() -> None:
    broken = ScriptedOperation(0.1, ProviderError(REFUSED))
    track = Track(a=answers_after(2.0, "from a"), b=broken)

    assert await track.run() == "from a"

    assert track.hedges()[-1] == HedgeLost("a", "b", "refused")


async def test_if_both_fail_the_chain_goes_on_and_asks_neither_again() -> None:
    first, second = ProviderError(AUTH_FAILED), ProviderError(AUTH_FAILED)
    track = Track(
        "abc",
        a=ScriptedOperation(1.0, first),
        b=ScriptedOperation(0.1, second),
        c=answers("from c"),
    )

    assert await track.run() == "from c"

    assert track.kinds == [("a", "primary"), ("b", "hedge"), ("c", "fallback")]
    assert track.hedges()[-1] == HedgeLost("a", "b", "auth_failed")
    assert track.heard.of(FallbackSelected) == [
        FallbackSelected("b", "c", "auth_failed")
    ]


async def test_if_nobody_is_left_every_cause_is_told_the_target_s_first() -> None:
    first, second = ProviderError(AUTH_FAILED), ProviderError(AUTH_FAILED)
    track = Track(a=ScriptedOperation(1.0, first), b=ScriptedOperation(0.1, second))

    with pytest.raises(ChainExhausted) as caught:
        await track.run()

    assert caught.value.causes == (("a", first), ("b", second))
    track.assert_nothing_is_left()


@pytest.mark.parametrize("by", ["a", "b"])
async def test_if_both_fail_an_error_nobody_can_mend_goes_on_as_itself(by: str) -> None:
    verdicts = {"a": AUTH_FAILED, "b": AUTH_FAILED} | {by: REFUSED}
    errors = {name: ProviderError(verdict) for name, verdict in verdicts.items()}
    track = Track(
        "abc",
        a=ScriptedOperation(1.0, errors["a"]),
        b=ScriptedOperation(0.1, errors["b"]),
        c=answers("never"),
    )

    with pytest.raises(ProviderError) as caught:
        await track.run()

    assert caught.value is errors[by]
    assert caught.value.__context__ is None
    assert track.sends == ["a", "b"]


async def test_if_both_windows_were_too_small_the_next_must_hold_more_than_either() -> (
    None
):
    too_long = ProviderError(CONTEXT_LENGTH)
    windows = {"a": 100, "b": 300, "c": 200, "d": 400}
    track = Track(
        "abcd",
        places=[Place(name, context_window=of) for name, of in windows.items()],
        a=ScriptedOperation(1.0, too_long),
        b=ScriptedOperation(0.1, too_long),
        d=answers("from d"),
    )

    assert await track.run() == "from d"
    assert track.sends == ["a", "b", "d"]


async def test_only_a_target_that_is_ready_is_asked_as_well() -> None:
    track = Track("abc", a=answers_after(5.0, "from a"), c=answers("from c"))
    for _ in range(5):
        track["b"].breaker.admit().fail()

    assert await track.run() == "from c"
    assert track.sends == ["a", "c"]


async def test_nobody_is_asked_as_well_if_nobody_is_ready_when_it_is_late() -> None:
    track = Track(a=answers_after(5.0, "from a"))
    loop = asyncio.get_running_loop()
    for _ in range(5):
        loop.call_later(0.1, lambda: track["b"].breaker.admit().fail())

    assert await track.run() == "from a"
    assert (track.sends, track.hedges()) == (["a"], [])


async def test_a_target_nobody_knows_is_not_hedged() -> None:
    places = [Place(name) for name in "ab"]
    hedge = Hedge(LoopClock(), classify, budget_ratio=1.0)
    hedge.share.deposit()
    targets = [place.target for place in places]
    operation = ScriptedOperation(5.0, "from a")
    chain = Chain(targets, classify, hedge=hedge)

    assert await chain.execute(operation, make_call()) == "from a"
    assert operation.sends == ["a"]


async def test_the_last_target_of_a_chain_is_not_hedged() -> None:
    track = Track("a", a=answers_after(5.0, "from a"))

    assert await track.run() == "from a"
    assert track.sends == ["a"]


async def test_a_fallback_is_hedged_like_a_first_attempt() -> None:
    track = Track(
        "abc",
        a=ScriptedOperation(ProviderError(AUTH_FAILED)),
        b=answers_after(5.0, "from b"),
        c=answers("from c"),
    )

    assert await track.run() == "from c"
    assert track.kinds == [("a", "primary"), ("b", "fallback"), ("c", "hedge")]


async def test_waiting_for_a_slot_is_not_being_late() -> None:
    a = Place("a", slots=1)
    track = Track(places=[a], a=answers_after(0.15, "from a"))
    blocker = a.bulkhead.try_acquire()
    assert blocker is not None
    asyncio.get_running_loop().call_later(
        0.5, lambda: blocker.__exit__(None, None, None)
    )

    assert await track.run() == "from a"
    assert track.hedges() == []


async def test_who_was_late_in_getting_a_slot_may_be_late_after_it() -> None:
    a = Place("a", slots=1)
    track = Track(places=[a], a=answers_after(9.0, "from a"), b=answers("from b"))
    blocker = a.bulkhead.try_acquire()
    assert blocker is not None
    asyncio.get_running_loop().call_later(
        0.1, lambda: blocker.__exit__(None, None, None)
    )

    assert await track.run() == "from b"
    assert now_s() == pytest.approx(0.1 + LATE_S, rel=0.1)


async def test_waiting_for_a_retry_is_not_being_late() -> None:
    track = Track(
        a=ScriptedOperation(ProviderError(), "from a"), b=answers_after(9.0, "b")
    )
    for _ in range(50):  # late after less time than a retry waits
        warm(track["a"], 0.02)

    assert await track.run() == "from a"
    assert (track.sends, track.hedges()) == (["a", "a"], [])


@pytest.mark.parametrize("how", ["marked", "whole"])
async def test_an_answer_that_is_on_its_way_is_not_late(how: str) -> None:
    async def operation(call: Call) -> str:
        if how == "marked":
            call.mark_first_token()
        else:
            call.expect_whole()
        await asyncio.sleep(5.0)
        return "answer"

    track = Track()

    assert await track.chain.execute(operation, track.call) == "answer"
    assert (len(track.call.attempts), track.hedges()) == (1, [])


async def test_a_retry_of_an_answer_that_broke_off_may_be_late() -> None:
    async def operation(call: Call) -> str:
        if call.target == "b":
            return "from b"
        if len(call.attempts) == 1:
            call.mark_first_token()
            await asyncio.sleep(1.0)
            raise ProviderError
        await asyncio.sleep(NEVER)
        return "never"

    track = Track()

    assert await track.chain.execute(operation, track.call) == "from b"
    assert track.kinds == [("a", "primary"), ("a", "retry"), ("b", "hedge")]


async def test_a_hedge_is_one_attempt_and_is_not_repeated() -> None:
    track = Track(a=answers_after(5.0, "from a"), b=ScriptedOperation(ProviderError()))

    assert await track.run() == "from a"
    assert track.sends == ["a", "b"]


async def test_a_hedge_that_is_not_sent_costs_nothing() -> None:
    track = Track(a=answers_after(5.0, "from a"), places=[Place("b", slots=1)])
    track["b"].bulkhead.try_acquire()

    assert await track.run() == "from a"

    assert track.hedges()[-1] == HedgeLost("a", "b", "bulkhead_full")
    assert track.hedge.share.remaining_ratio() == 1.0
    assert track["b"].budget.remaining_ratio() == 1.0


async def test_a_hedge_is_paid_for_by_the_share_and_by_the_other_s_budget() -> None:
    track = Track(a=answers_after(5.0, "from a"), b=answers("from b"))

    await track.run()

    assert track.hedge.share.remaining_ratio() == 0.5, "this call earned the other one"
    assert track["b"].budget.remaining_ratio() == pytest.approx(29 / 30)
    assert track["a"].budget.remaining_ratio() == 1.0


async def test_without_a_share_there_is_no_hedge() -> None:
    track = Track(a=answers_after(5.0, "from a"), b=answers("never"), paid=0)

    assert await track.run() == "from a"
    assert track.hedges() == []
    assert track.hedge.share.try_withdraw(), "but the next call's hedge is earned"


async def test_a_call_that_sends_nothing_earns_nothing() -> None:
    track = Track("a", paid=0, places=[Place("a", slots=0, queue=1)])

    with pytest.raises(ChainExhausted):
        await track.run()
    assert not track.hedge.share.try_withdraw()


async def test_if_the_other_s_budget_is_empty_there_is_no_hedge() -> None:
    empty = Place("b", floor_per_s=0.0)
    track = Track(places=[empty], a=answers_after(5.0, "from a"))

    assert await track.run() == "from a"

    assert track.sends == ["a"]
    assert track.heard.of(RetryBudgetExhausted) == [RetryBudgetExhausted("b", "hedge")]
    assert track.hedge.share.remaining_ratio() == 1.0, "the share is not spent"


async def test_a_target_without_a_budget_is_paid_for_by_the_share_alone() -> None:
    a, b = Place("a"), Place("b")
    warm(a)
    hedge = Hedge(LoopClock(), classify, budget_ratio=1.0)
    hedge.share.deposit()
    unlimited = Target("b", b.pipeline, b)
    chain = Chain([a.target, unlimited], classify, hedge=hedge)

    async def operation(call: Call) -> str:
        await asyncio.sleep(5.0 if call.target == "a" else 0.0)
        return f"from {call.target}"

    call = make_call()

    assert await chain.execute(operation, call) == "from b"


async def test_an_unsent_hedge_without_a_budget_gives_back_its_share() -> None:
    a, b = Place("a"), Place("b", slots=1)
    warm(a)
    b.bulkhead.try_acquire()
    hedge = Hedge(LoopClock(), classify, budget_ratio=1.0)
    hedge.share.deposit()
    unlimited = Target("b", b.pipeline, b)
    chain = Chain([a.target, unlimited], classify, hedge=hedge)

    answer = await chain.execute(answers_after(5.0, "from a"), make_call())

    assert answer == "from a"
    assert hedge.share.remaining_ratio() == 1.0


async def test_the_call_s_attempts_are_a_hard_limit() -> None:
    track = Track(a=answers_after(5.0, "from a"), max_attempts=1)

    assert await track.run() == "from a"
    assert track.sends == ["a"]


async def test_no_hedge_is_planned_for_after_the_deadline() -> None:
    track = Track(a=answers_after(5.0, "from a"), deadline_s=0.1)
    for _ in range(2):  # it is typically in time, and sometimes late
        warm(track["a"], 0.01)

    with pytest.raises(DeadlineExceeded):
        await track.run()
    assert track.hedges() == []


async def test_the_deadline_ends_both_and_is_the_error() -> None:
    silent = answers_after(NEVER, "never")
    track = Track(a=silent, b=answers_after(NEVER, "never"), deadline_s=3.0)

    with pytest.raises(DeadlineExceeded):
        await track.run()

    assert now_s() == pytest.approx(3.0, abs=0.1)
    assert track.sends == ["a", "b"]
    track.assert_nothing_is_left()


async def test_a_call_that_is_cancelled_cancels_and_awaits_both() -> None:
    track = Track(a=answers_after(NEVER, ""), b=answers_after(NEVER, ""))
    running = asyncio.create_task(track.run())
    await asyncio.sleep(1.0)

    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running

    assert track.hedges()[-1] == HedgeCancelled("a", "b")
    assert track.settled("a") == track.settled("b") == ["cancelled"]
    track.assert_nothing_is_left()


async def test_an_outer_timeout_ends_both_and_remains_a_timeout() -> None:
    track = Track(a=answers_after(NEVER, ""), b=answers_after(NEVER, ""))

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(1.0):
            await track.run()

    track.assert_nothing_is_left()


@pytest.mark.parametrize("winner", ["a", "b"])
async def test_a_call_cancelled_while_the_loser_is_awaited_closes_the_winner_too(
    winner: str,
) -> None:
    async def operation(call: Call) -> str:
        call.leases.callback(left.append, call.target)
        try:
            await asyncio.sleep(1.0 if call.target == winner else NEVER)
        except asyncio.CancelledError:
            await asyncio.sleep(1.0)
            raise
        return "too late"

    left: list[str] = []
    track = Track()
    running = asyncio.create_task(track.chain.execute(operation, track.call))
    await asyncio.sleep(1.7 if winner == "b" else 1.5)

    running.cancel()
    await spin()
    assert not running.done(), "the loser is awaited all the same"
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running

    assert sorted(left) == ["a", "b"]
    track.assert_nothing_is_left()


async def test_a_call_cancelled_while_the_loser_is_closed_waits_for_that() -> None:
    async def operation(call: Call) -> str:
        call.leases.callback(left.append, call.target)
        if call.target == "a":
            call.leases.push_async_callback(asyncio.sleep, 1.0)
        try:
            await asyncio.sleep(NEVER if call.target == "a" else 0.5)
        except asyncio.CancelledError:
            left.append("in spite of it")
        return "too late"

    left: list[str] = []
    track = Track()
    running = asyncio.create_task(track.chain.execute(operation, track.call))
    await asyncio.sleep(LATE_S + 1.0)
    assert left == ["in spite of it"], "a opened, and is being closed"

    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running

    assert left == ["in spite of it", "a", "b"]
    track.assert_nothing_is_left()


async def test_a_target_that_cancels_itself_does_not_cancel_the_hedge() -> None:
    async def operation(call: Call) -> str:
        if call.target == "a":
            await asyncio.sleep(0.5)
            raise asyncio.CancelledError
        await asyncio.sleep(1.0)
        return "from b"

    track = Track()

    assert await track.chain.execute(operation, track.call) == "from b"


async def test_if_both_cancel_themselves_the_call_is_cancelled() -> None:
    async def operation(call: Call) -> str:
        await asyncio.sleep(0.5)
        raise asyncio.CancelledError

    track = Track()

    with pytest.raises(asyncio.CancelledError):
        await track.chain.execute(operation, track.call)
    assert track.hedges()[-1] == HedgeCancelled("a", "b")


async def test_while_two_are_asked_each_is_the_other_s_alternative() -> None:
    seen: dict[str, list[bool]] = {"a": [], "b": []}

    async def operation(call: Call) -> str:
        for _ in range(4 if call.target == "a" else 2):
            seen[call.target].append(call.alternative_ready())
            await asyncio.sleep(LATE_S)
        if call.target == "b":
            raise ProviderError
        return "from a"

    track = Track()

    assert await track.chain.execute(operation, track.call) == "from a"
    # b can be asked; is being asked; is being asked; has failed and is not asked again
    assert seen == {"a": [True, True, True, False], "b": [True, True]}
    assert track.call.kind is AttemptKind.PRIMARY
