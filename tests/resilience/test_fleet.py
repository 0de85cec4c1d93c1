"""Breakers that share: who follows whom, who probes, and what happens without."""

import asyncio

import pytest

from resilience.breaker import Breaker, BreakerConfig, BreakerState
from resilience.errors import BreakerOpen
from resilience.events import BreakerChanged, BreakerSharingChanged
from resilience.machine import NAMES
from resilience.membership import Member
from resilience.memory_fleet import MemoryFleet
from resilience.seat import Order
from resilience.shared import FleetUnavailable, View
from resilience.testing import LoopClock, ManualClock
from resilience.window import Totals
from tests.resilience.crew import Crew
from tests.resilience.scenery import Recorder, middle

ORDERS = [
    BreakerState.DISABLED,
    BreakerState.METRICS_ONLY,
    BreakerState.FORCED_OPEN,
]

# --- a trip


async def test_one_replica_that_is_wrong_about_a_target_opens_nobody_else() -> None:
    crew = Crew(3)
    await crew.meet()
    crew.breakers[1].admit().ok()
    crew.trip(0)

    await crew.meet(8)

    assert crew.states == ["open", "closed", "closed"]


async def test_a_replica_whose_last_attempt_failed_follows_a_single_one() -> None:
    crew = Crew(3)
    await crew.meet()
    crew.breakers[1].admit().fail()
    crew.trip(0)

    await crew.meet()

    assert crew.states[:2] == ["open", "open"]
    assert crew.breakers[1].open_for_s == pytest.approx(crew.breakers[0].open_for_s)


async def test_two_open_replicas_open_all_the_others() -> None:
    crew = Crew(4)
    await crew.opened()

    assert len({round(one.open_for_s, 6) for one in crew.breakers}) == 1


async def test_everybody_waits_as_long_as_the_longest_of_the_first_two() -> None:
    crew = Crew(3)
    await crew.meet()
    for _ in range(4):
        crew.breakers[0].admit().fail()
    crew.breakers[0].admit().fail(retry_after_s=120.0)
    crew.trip(1)

    await crew.meet(2, every_s=0.0)

    assert [one.open_for_s for one in crew.breakers] == [pytest.approx(120.0)] * 3


async def test_little_traffic_everywhere_trips_on_the_pooled_window() -> None:
    crew = Crew(5, consecutive=5, min_calls=10)
    await crew.meet()
    for _ in range(2):
        for breaker in crew.breakers:
            breaker.admit().fail()
    await crew.meet(2)

    assert crew.states == ["open"] * 5


async def test_a_pooled_window_convinces_nobody_without_evidence_of_his_own() -> None:
    crew = Crew(3, consecutive=1000, failure_ratio=0.5, min_calls=8)
    await crew.meet()
    for _ in range(7):
        crew.breakers[0].admit().fail()
    crew.breakers[1].admit().ok()
    await crew.meet(4)

    assert crew.states[1:] == ["closed", "closed"]


async def test_a_pooled_window_that_two_others_agree_with_is_believed() -> None:
    crew = Crew(3, consecutive=1000, failure_ratio=0.5, min_calls=8)
    await crew.meet()
    for breaker in crew.breakers[:2]:
        for _ in range(5):
            breaker.admit().fail()
    await crew.meet(2)

    assert crew.states == ["open"] * 3


async def test_slow_answers_are_pooled_too_and_neutral_ones_are_not() -> None:
    crew = Crew(2, min_calls=8, slow_ratio=0.8)
    await crew.meet()
    for breaker in crew.breakers:
        for _ in range(3):
            breaker.admit().ok(slow=True)
        breaker.admit().neutral(slow=True)
        breaker.admit().neutral()
    await crew.meet(1)

    assert (await crew.view()).pooled == Totals(8, 0, 8)


async def test_outcomes_reach_the_fleet_although_answers_get_lost() -> None:
    crew = Crew(2)
    await crew.meet()
    crew.breakers[0].admit().ok()
    crew.fleet.cut_off.add("r0")
    for _ in range(8):
        await crew.meet()
        crew.breakers[0].admit().ok()
    crew.fleet.cut_off.clear()
    await crew.meet(2)

    assert (await crew.view(1)).pooled == Totals(9, 0, 0)


async def test_of_a_long_silence_only_the_last_minute_is_told() -> None:
    crew = Crew(1)
    crew.breakers[0].admit().ok()
    await crew.meet()
    crew.fleet.down = True
    for _ in range(100):
        crew.breakers[0].admit().ok()
        await crew.meet(every_s=1.0)
    crew.fleet.down = False
    await crew.meet(2)

    assert 58 <= (await crew.view()).pooled.recorded <= 61


# --- probes


async def test_an_open_fleet_gives_one_probe_to_who_asks_first() -> None:
    crew = Crew(3, permitted=3)
    await crew.probing()

    for breaker in crew.breakers:
        assert breaker.refusal() is not None
    await crew.meet(4)
    assert crew.states == ["half_open", "open", "open"]
    for breaker in crew.breakers:
        assert breaker.refusal() is not None


async def test_it_closes_everywhere_when_the_fleet_s_probes_have_passed() -> None:
    crew = Crew(3, permitted=3)
    (await crew.probing()).ok()
    await crew.meet()
    (await crew.probe(1)).ok()
    await crew.meet()
    assert crew.states == ["half_open", "half_open", "open"]
    (await crew.probe(2)).ok()
    await crew.meet(3)

    assert crew.states == ["closed"] * 3
    changes = [e.to_state for e in crew.heard[2].of(BreakerChanged)]
    assert changes == ["open", "half_open", "closed"]


async def test_a_failed_probe_opens_everywhere_for_twice_as_long() -> None:
    crew = Crew(3)
    (await crew.probing()).fail()
    await crew.meet(2, every_s=0.0)

    assert crew.states == ["open"] * 3
    assert [one.open_for_s for one in crew.breakers] == [pytest.approx(20.0)] * 3


async def test_who_closes_with_the_fleet_keeps_the_ramp() -> None:
    crew = Crew(3, permitted=1, ramp_s=10.0)
    (await crew.probing()).ok()
    await crew.meet(3, every_s=0.0)
    bystander = crew.breakers[2]

    assert crew.states == ["closed"] * 3
    with pytest.raises(BreakerOpen):
        bystander.admit(lambda: True)
    crew.clock.advance(10.0)
    bystander.admit(lambda: True).ok()


async def test_openings_are_counted_by_the_fleet_not_by_each() -> None:
    crew = Crew(2, permitted=1)
    permit = await crew.probing()
    for n, open_s in ((1, 20.0), (0, 40.0), (1, 80.0)):
        permit.fail()
        await crew.meet(3, every_s=0.0)
        assert crew.breakers[0].open_for_s == pytest.approx(open_s)
        await crew.wait_out()
        permit = await crew.probe(n)


@pytest.mark.parametrize("how", ["cancel", "neutral"])
async def test_a_probe_without_a_verdict_gives_its_lease_back(how: str) -> None:
    crew = Crew(2, permitted=1)
    permit = await crew.probing()
    for n in (1, 0, 1):
        getattr(permit, how)()
        await crew.meet()
        permit = await crew.probe(n)

    permit.ok()
    await crew.meet(2)
    assert crew.states == ["closed"] * 2


async def test_a_lease_that_nobody_uses_goes_to_another_replica() -> None:
    crew = Crew(2, permitted=1)
    await crew.opened()
    crew.breakers[0].refusal()
    await crew.wait_out()
    await crew.meet()
    assert crew.breakers[1].refusal() is not None

    (await crew.probe(1)).ok()
    await crew.meet(3)

    assert crew.states == ["closed"] * 2


async def test_a_lease_that_has_run_out_is_not_used() -> None:
    crew = Crew(2, permitted=1)
    await crew.opened()
    await crew.wait_out()
    crew.breakers[0].refusal()
    await crew.meet()
    crew.fleet.cut_off.add("r0")
    crew.clock.advance(1.9)
    assert crew.breakers[0].ready
    seat = crew.seats[0]
    seat._heard_until_s += 60.0  # as if it were told nothing, yet not cut off

    crew.clock.advance(4.0)

    assert not crew.breakers[0].ready


async def test_a_wish_is_forgotten_when_it_was_long_ago() -> None:
    crew = Crew(2, open_s=40.0, jitter=0.0)
    await crew.opened()
    crew.breakers[0].refusal()
    crew.clock.advance(50.0)
    await crew.meet(2)

    assert (await crew.view()).leases == ()


async def test_a_lease_is_told_of_while_its_probe_is_already_under_way() -> None:
    crew = Crew(2, permitted=3)
    permit = await crew.probing()
    await crew.meet(10)
    assert not crew.breakers[0].ready, "its lease is in use"

    permit.ok()

    assert not crew.breakers[0].ready, "used, although the fleet has not heard yet"


async def test_several_probes_at_once_where_the_fleet_allows_them() -> None:
    crew = Crew(3, permitted=4, concurrent=2)
    first = await crew.probing()
    second = await crew.probe(1)
    await crew.meet(3)
    assert not crew.breakers[2].ready

    first.ok()
    second.ok()
    await crew.meet()
    for n in (2, 0):
        (await crew.probe(n)).ok()
    await crew.meet(3)
    assert crew.states == ["closed"] * 3


async def test_the_verdict_is_left_to_others_when_the_prober_is_gone() -> None:
    crew = Crew(3, permitted=1)
    (await crew.probing()).ok()
    await crew.members[0].exchange()  # its verdict is in; it says no more
    crew.fleet.cut_off.add("r0")
    await crew.meet(4)
    assert crew.states[1:] == ["open", "open"], "they leave it time to speak"

    await crew.meet(8)

    assert crew.states[1:] == ["closed", "closed"]


async def test_a_bystander_tells_of_every_state_it_goes_through() -> None:
    crew = Crew(2, permitted=1)
    permit = await crew.probing()
    permit.fail()
    await crew.members[0].exchange()
    crew.fleet.cut_off.add("r0")
    await crew.meet(12)

    changes = [e.to_state for e in crew.heard[1].of(BreakerChanged)]
    assert changes == ["open", "half_open", "open"]


async def test_a_silent_probe_reopens_the_fleet_after_a_while() -> None:
    crew = Crew(2, verdict_within_s=60.0)
    lost = await crew.probing()
    await crew.meet(239)
    assert crew.states == ["half_open", "open"]
    await crew.meet(4)

    assert crew.states == ["open", "open"]
    assert crew.breakers[1].open_for_s == pytest.approx(20.0, abs=1.5)
    lost.ok()
    assert crew.states == ["open", "open"]


async def test_a_probe_whose_stream_flows_passes_for_the_fleet_too() -> None:
    crew = Crew(2, permitted=1, verdict_within_s=10.0)
    streaming = await crew.probing()
    streaming.opened = True
    await crew.meet(45)

    assert crew.states == ["closed", "closed"]


# --- coming, going, and the medium


async def test_a_new_replica_learns_that_the_fleet_is_open() -> None:
    crew = Crew(2)
    await crew.opened()
    clock = crew.clock
    member = Member(crew.fleet, "new", clock)
    breaker = Breaker("a", BreakerConfig(), clock, seat=member.seat("a"))
    assert breaker.state == "closed"

    await member.exchange()

    assert breaker.state == "open"
    assert breaker.open_for_s == pytest.approx(crew.breakers[0].open_for_s)


async def test_a_breaker_says_whether_it_shares() -> None:
    crew = Crew(1)
    assert crew.shared == [False]
    await crew.meet()
    assert crew.shared == [True]
    crew.fleet.down = True
    await crew.meet(9)

    assert crew.shared == [False]
    crew.fleet.down = False
    await crew.meet()
    told = [event.shared for event in crew.heard[0].of(BreakerSharingChanged)]
    assert told == [True, False, True]


def test_a_breaker_without_a_fleet_does_not_share() -> None:
    assert not Breaker("a", BreakerConfig(), ManualClock()).shared


async def test_without_the_medium_every_breaker_is_as_if_it_were_alone() -> None:
    crew = Crew(2, permitted=1)
    await crew.opened()
    crew.fleet.down = True
    await crew.wait_out()
    for breaker in crew.breakers:
        breaker.admit().ok()

    assert crew.states == ["closed", "closed"]


async def test_probes_that_the_fleet_has_not_judged_count_when_it_is_gone() -> None:
    crew = Crew(2, permitted=2)
    (await crew.probing()).ok()
    await crew.meet()
    last = await crew.probe(0)
    crew.fleet.down = True
    crew.clock.advance(5.0)
    last.ok()

    assert crew.states == ["closed", "open"]


async def test_a_verdict_that_the_fleet_kept_to_itself_is_reached_alone() -> None:
    crew = Crew(2, permitted=1)
    probe = await crew.probing()
    probe.ok()
    assert crew.states == ["half_open", "open"], "the fleet is to judge"
    crew.fleet.down = True
    crew.clock.advance(5.0)

    assert crew.states == ["closed", "open"]


async def test_who_went_his_own_way_follows_again_when_the_medium_is_back() -> None:
    crew = Crew(2, permitted=1)
    await crew.opened()
    crew.fleet.down = True
    await crew.wait_out()
    crew.breakers[0].admit().ok()
    assert crew.states == ["closed", "open"]
    crew.fleet.down = False

    await crew.meet()

    assert crew.states == ["open", "open"], "the fleet's probes have not passed yet"


async def test_an_answer_that_comes_late_is_dropped() -> None:
    crew = Crew(2, permitted=1)
    await crew.opened()
    seat = crew.seats[0]
    report, late = seat.report(), await crew.view()
    await crew.wait_out()
    (await crew.probe(0)).ok()
    await crew.meet(3)
    assert crew.states == ["closed", "closed"]

    seat.receive(report, late, crew.clock.now())

    assert crew.states == ["closed", "closed"]


async def test_a_medium_that_lost_its_memory_lets_open_breakers_open() -> None:
    crew = Crew(3)
    await crew.opened()
    crew.fleet.lose_memory()
    await crew.meet(3)

    assert crew.states == ["open"] * 3
    assert (await crew.view()).opened


async def test_members_that_leave_are_forgotten() -> None:
    crew = Crew(2)
    await crew.meet()
    crew.trip(0)
    await crew.meet()
    assert (await crew.view(1)).openers == 1

    await crew.members[0].leave()

    assert (await crew.view(1)).openers == 0


# --- an operator's orders


@pytest.mark.parametrize(
    "order",
    [BreakerState.DISABLED, BreakerState.METRICS_ONLY, BreakerState.FORCED_OPEN],
)
async def test_an_operator_s_order_stands_above_the_fleet_and_is_not_spread(
    order: BreakerState,
) -> None:
    crew = Crew(4)
    await crew.meet()
    crew.breakers[3].force(order)
    crew.trip(0)
    await crew.meet(2)
    assert crew.states == ["open", "closed", "closed", order]
    crew.trip(1)
    await crew.meet(2)

    assert crew.states == ["open", "open", "open", order]
    assert not crew.breakers[3].shared
    crew.breakers[3].force(None)
    assert crew.states[3] == "closed"
    await crew.meet()
    assert crew.states[3] == "open"


async def test_a_trip_right_after_an_order_is_no_verdict_on_probes() -> None:
    crew = Crew(3)
    await crew.opened()
    opened_for_s = crew.breakers[1].open_for_s
    crew.breakers[0].force(None)
    crew.trip(0)
    await crew.members[0].exchange()

    assert crew.breakers[0].open_for_s == pytest.approx(opened_for_s)
    assert (await crew.view(1)).epoch == 1


async def test_an_order_that_comes_while_an_answer_is_under_way_wins() -> None:
    crew = Crew(3)
    await crew.meet()
    seat = crew.seats[2]
    report = seat.report()
    crew.breakers[2].force(BreakerState.METRICS_ONLY)
    seat.receive(report, View(5, opened=True, open_for_s=9.0), crew.clock.now())

    crew.breakers[2].admit().ok()

    assert crew.states[2] == "metrics_only"


# --- the member's rounds


class Sulking(MemoryFleet):
    """A medium that hangs, is unreachable or has a bug."""

    mood = "well"

    async def exchange(self, replica, reports):  # type: ignore[no-untyped-def]  # as its base
        match self.mood:
            case "hangs":
                await asyncio.sleep(1e6)
            case "broken":
                raise ZeroDivisionError
        return await super().exchange(replica, reports)

    async def leave(self, replica: str) -> None:
        if self.mood == "hangs":
            await asyncio.sleep(1e6)
        raise FleetUnavailable


async def test_rounds_go_on_whatever_happens_to_one(
    caplog: pytest.LogCaptureFixture,
) -> None:
    clock = LoopClock()
    fleet, heard = Sulking(clock), Recorder()
    member = Member(fleet, "r0", clock, listener=heard)
    breaker = Breaker("a", BreakerConfig(), clock, seat=member.seat("a"))
    rounds = asyncio.create_task(member.run())
    for mood, shared in (
        ("well", True),
        ("hangs", False),
        ("well", True),
        ("broken", False),
        ("well", True),
    ):
        fleet.mood = mood
        await asyncio.sleep(4.0)
        assert breaker.shared is shared, mood
    assert caplog.messages.count("a round of the fleet failed") == 1
    told = [event.shared for event in heard.of(BreakerSharingChanged)]
    assert told == [True, False, True, False, True]

    rounds.cancel()
    with pytest.raises(asyncio.CancelledError):
        await rounds


@pytest.mark.parametrize("mood", ["well", "hangs"])
async def test_leaving_ends_even_if_the_medium_does_not_answer(mood: str) -> None:
    clock = LoopClock()
    fleet = Sulking(clock)
    fleet.mood = mood

    await Member(fleet, "r0", clock).leave()


async def test_one_round_tells_of_all_targets() -> None:
    clock = LoopClock()
    fleet = MemoryFleet(clock)
    member, other = Member(fleet, "r0", clock), Member(fleet, "r1", clock)
    breakers = [
        Breaker(name, BreakerConfig(), clock, uniform=middle, seat=one.seat(name))
        for one in (member, other)
        for name in "ab"
    ]
    await member.exchange()
    for _ in range(5):
        breakers[1].admit().fail()
    breakers[3].admit().fail()
    await member.exchange()
    await other.exchange()

    assert [str(one.state) for one in breakers] == ["closed", "open"] * 2


async def test_the_storage_merges_what_the_fleet_has_decided() -> None:
    """Whoever asks in between sees it, and the next look acts on it."""
    crew = Crew(1)
    machine = crew.breakers[0]._machine
    for order, state in (
        (Order(crew.clock.now() + 7.0, 1), "open"),
        (Order(None), "closed"),
    ):
        machine.seat.order = order
        assert NAMES[machine.current_state] == state
        assert crew.states == [state]
        assert machine.seat.order is None
