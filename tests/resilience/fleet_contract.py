"""What every medium of a fleet does, whatever carries it.

Inherit from `FleetContract` and provide the fixture `medium`: a `Medium` around a fresh
fleet. Its times may be short where time is real. Messages in, views out: nothing here
knows how the record is kept.
"""

import asyncio
from dataclasses import dataclass, replace

import pytest

from resilience.outcome import Counts
from resilience.shared import (
    Batch,
    Fleet,
    FleetTimes,
    FleetUnavailable,
    ProbeResult,
    Report,
    Second,
    View,
)
from resilience.window import Totals

CLOSED = Report("a", 0, permitted=3)
OPEN = replace(CLOSED, opened=True, open_for_s=10.0, openings=1)
OK = Counts.SUCCESS
FAILED = Counts.FAILURE
SLACK_S = 0.3
"""How far times may be off where they are real."""


@dataclass
class Medium:
    """A fleet, how long it keeps what it is told, and a way to cut it off."""

    fleet: Fleet
    times: FleetTimes

    async def says(self, replica: str, report: Report) -> View:
        [view] = await self.fleet.exchange(replica, [report])
        return view

    async def open(self, *, for_s: float = 10.0, openings: int = 1) -> View:
        """Let two replicas open; return the second one's view."""
        stance = replace(OPEN, open_for_s=for_s, openings=openings)
        await self.says("r1", stance)
        return await self.says("r2", stance)

    async def probed(self) -> Report:
        """Open with nothing left to wait; return the stance of a replica since then."""
        opened = await self.open(for_s=0.0)
        return replace(OPEN, epoch=opened.epoch, open_for_s=0.0)

    async def cut_off(self) -> None:
        """Make the medium unreachable."""
        raise NotImplementedError


class FleetContract:
    """The contract."""

    # --- a trip

    async def test_nothing_is_known_at_first(self, medium: Medium) -> None:
        assert await medium.says("r1", CLOSED) == View(0)

    async def test_one_open_replica_is_told_of_and_opens_nothing(
        self, medium: Medium
    ) -> None:
        own = await medium.says("r1", replace(OPEN, openings=3))
        told = await medium.says("r2", CLOSED)

        assert (own.opened, own.openers, own.epoch) == (False, 0, 0)
        assert (told.opened, told.openers, told.openings) == (False, 1, 3)
        assert told.open_for_s == pytest.approx(10.0, abs=SLACK_S)

    async def test_two_open_replicas_open_the_fleet_until_the_later_of_their_times(
        self, medium: Medium
    ) -> None:
        await medium.says("r1", replace(OPEN, open_for_s=40.0, openings=3))
        await medium.says("r2", OPEN)
        told = await medium.says("r3", CLOSED)

        assert (told.epoch, told.opened, told.openings) == (1, True, 3)
        assert told.open_for_s == pytest.approx(40.0, abs=SLACK_S)

    async def test_a_replica_that_has_closed_meanwhile_holds_nothing_open(
        self, medium: Medium
    ) -> None:
        await medium.says("r1", OPEN)
        await medium.says("r1", CLOSED)
        await medium.says("r2", OPEN)

        assert (await medium.says("r3", CLOSED)).openers == 1

    async def test_targets_have_nothing_to_do_with_each_other(
        self, medium: Medium
    ) -> None:
        other = replace(OPEN, target="b")
        await medium.fleet.exchange("r1", [OPEN, other])
        views = await medium.fleet.exchange("r2", [CLOSED, other])

        assert [view.opened for view in views] == [False, True]

    async def test_who_agrees_is_told_to_the_others(self, medium: Medium) -> None:
        agreeing = replace(CLOSED, agrees=True)
        await medium.says("r1", agreeing)
        assert (await medium.says("r2", agreeing)).agreeing == 1
        assert (await medium.says("r3", CLOSED)).agreeing == 2

        await medium.says("r1", CLOSED)

        assert (await medium.says("r3", CLOSED)).agreeing == 1

    # --- windows

    async def test_outcomes_of_all_replicas_are_pooled(self, medium: Medium) -> None:
        seconds = (Second(1.2, 5, 2, 1), Second(0.2, 1, 1, 0))
        await medium.says("r1", replace(CLOSED, batch=Batch(1, seconds)))
        told = await medium.says("r2", replace(CLOSED, batch=Batch(1, seconds)))

        assert told.pooled == Totals(12, 6, 2)

    async def test_a_batch_that_comes_twice_counts_once(self, medium: Medium) -> None:
        batch = Batch(1, (Second(0.0, 5, 2, 0),))
        await medium.says("r1", replace(CLOSED, batch=batch))
        told = await medium.says("r1", replace(CLOSED, batch=batch))
        assert told.pooled == Totals(5, 2, 0)

        told = await medium.says("r1", replace(CLOSED, batch=replace_number(batch, 2)))
        assert told.pooled == Totals(10, 4, 0)

    async def test_old_outcomes_do_not_count(self, medium: Medium) -> None:
        span_s = medium.times.pooled_s
        seconds = (Second(span_s + 1.0, 5, 5, 0), Second(span_s - 2.0, 1, 1, 0))
        told = await medium.says("r1", replace(CLOSED, batch=Batch(1, seconds)))

        assert told.pooled == Totals(1, 1, 0)

    async def test_a_new_epoch_starts_with_an_empty_window(
        self, medium: Medium
    ) -> None:
        batch = Batch(1, (Second(0.0, 5, 2, 0),))
        await medium.says("r1", replace(OPEN, batch=batch))

        assert (await medium.says("r2", OPEN)).pooled == Totals(0, 0, 0)

    # --- epochs

    async def test_what_is_said_in_an_earlier_epoch_is_dropped(
        self, medium: Medium
    ) -> None:
        now = await medium.probed()
        await medium.says("r1", replace(now, opened=False, decided=True))
        late = replace(
            now,
            agrees=True,
            decided=True,
            batch=Batch(9, (Second(0.0, 5, 5, 0),)),
            wants_probe=True,
        )
        told = [await medium.says(replica, late) for replica in ("r2", "r3")]

        assert [(one.epoch, one.opened) for one in told] == [(2, False)] * 2
        assert told[1] == View(2, openings=told[1].openings)

    async def test_a_medium_without_memory_takes_over_the_replicas_epoch(
        self, medium: Medium
    ) -> None:
        told = await medium.says("r1", replace(CLOSED, epoch=7))
        assert (told.epoch, told.opened) == (7, False)

        assert (await medium.says("r2", CLOSED)).epoch == 7

    # --- probes

    async def test_an_open_fleet_leases_no_probe_before_its_time(
        self, medium: Medium
    ) -> None:
        opened = await medium.open(for_s=10.0)
        asks = replace(OPEN, epoch=opened.epoch, wants_probe=True)

        assert (await medium.says("r1", asks)).leases == ()

    async def test_a_closed_fleet_leases_no_probe(self, medium: Medium) -> None:
        asks = replace(CLOSED, wants_probe=True)

        assert (await medium.says("r1", asks)).leases == ()

    async def test_only_so_many_probes_are_leased_at_once(self, medium: Medium) -> None:
        now = await medium.probed()
        asks = replace(now, wants_probe=True, permitted=3, concurrent=2)
        told = [await medium.says(f"r{n}", asks) for n in range(4)]

        assert [len(one.leases) for one in told] == [1, 1, 0, 0]
        lease_s = medium.times.lease_s
        assert told[0].leases[0].for_s == pytest.approx(lease_s, abs=SLACK_S)

    async def test_only_so_many_probes_are_leased_in_all(self, medium: Medium) -> None:
        now = await medium.probed()
        for expected in (1, 1, 1, 0):
            told = await medium.says("r1", replace(now, wants_probe=True))
            assert len(told.leases) == expected
            results = tuple(ProbeResult(one.number, OK, False) for one in told.leases)
            told = await medium.says("r1", replace(now, results=results))

        assert told.probes == Totals(3, 0, 0)

    async def test_after_a_first_probe_that_failed_there_is_no_other(
        self, medium: Medium
    ) -> None:
        now = await medium.probed()
        asks = replace(now, wants_probe=True)
        [lease] = (await medium.says("r1", asks)).leases
        failed = (ProbeResult(lease.number, FAILED, False),)

        assert (await medium.says("r1", replace(asks, results=failed))).leases == ()
        assert (await medium.says("r2", asks)).leases == ()

    async def test_a_neutral_probe_gives_its_lease_back(self, medium: Medium) -> None:
        now = await medium.probed()
        for _ in range(5):
            told = await medium.says("r1", replace(now, wants_probe=True))
            [lease] = told.leases
            back = (ProbeResult(lease.number, Counts.NEUTRAL, False),)
            told = await medium.says("r1", replace(now, results=back))

        assert (told.probes, told.leases) == (Totals(0, 0, 0), ())

    async def test_a_verdict_that_comes_twice_counts_once(self, medium: Medium) -> None:
        now = await medium.probed()
        [lease] = (await medium.says("r1", replace(now, wants_probe=True))).leases
        said = replace(now, results=(ProbeResult(lease.number, FAILED, True),))
        await medium.says("r1", said)

        assert (await medium.says("r1", said)).probes == Totals(1, 1, 1)

    async def test_a_lease_whose_grant_was_not_heard_is_told_again(
        self, medium: Medium
    ) -> None:
        now = await medium.probed()
        first = await medium.says("r1", replace(now, wants_probe=True))
        again = await medium.says("r1", now)

        assert numbers(again) == numbers(first) != []

    async def test_a_lease_expires_by_itself(self, medium: Medium) -> None:
        now = await medium.probed()
        first = await medium.says("r1", replace(now, wants_probe=True))
        await asyncio.sleep(medium.times.lease_s + SLACK_S)

        second = await medium.says("r2", replace(now, wants_probe=True))
        late = replace(now, results=(ProbeResult(*numbers(first), FAILED, False),))

        assert len(second.leases) == 1
        assert numbers(second) != numbers(first)
        assert (await medium.says("r1", late)).probes == Totals(0, 0, 0)

    async def test_a_probe_under_way_keeps_its_lease(self, medium: Medium) -> None:
        now = await medium.probed()
        [lease] = (await medium.says("r1", replace(now, wants_probe=True))).leases
        for _ in range(3):
            await asyncio.sleep(medium.times.lease_s * 0.6)
            told = await medium.says("r1", replace(now, probing=(lease.number,)))
            assert numbers(told) == [lease.number]
            others = await medium.says("r2", replace(now, wants_probe=True))
            assert others.leases == ()

    async def test_an_unused_lease_is_kept_until_somebody_else_wants_it(
        self, medium: Medium
    ) -> None:
        now = await medium.probed()
        [lease] = (await medium.says("r1", replace(now, wants_probe=True))).leases
        for _ in range(3):
            await asyncio.sleep(medium.times.lease_s * 0.6)
            assert numbers(await medium.says("r1", now)) == [lease.number]
        for _ in range(2):
            asks = replace(now, wants_probe=True)
            assert (await medium.says("r2", asks)).leases == ()
            await asyncio.sleep(medium.times.lease_s * 0.6)
            await medium.says("r1", now)

        assert len((await medium.says("r2", asks)).leases) == 1
        assert (await medium.says("r1", now)).leases == ()

    # --- the verdict

    async def test_the_first_verdict_of_an_epoch_is_the_fleet_s(
        self, medium: Medium
    ) -> None:
        now = await medium.probed()
        await medium.says("r1", replace(now, opened=False, decided=True, openings=2))
        told = await medium.says("r2", replace(now, decided=True, open_for_s=80.0))

        assert (told.epoch, told.opened, told.openings) == (2, False, 0)

    async def test_a_fleet_that_opens_again_starts_its_probes_anew(
        self, medium: Medium
    ) -> None:
        now = await medium.probed()
        [lease] = (await medium.says("r1", replace(now, wants_probe=True))).leases
        failed = (ProbeResult(lease.number, FAILED, False),)
        await medium.says("r1", replace(now, results=failed))
        told = await medium.says(
            "r1", replace(now, decided=True, open_for_s=20.0, openings=2)
        )

        assert (told.epoch, told.opened, told.openings) == (2, True, 2)
        assert told.open_for_s == pytest.approx(20.0, abs=SLACK_S)
        assert (told.probes, told.leases) == (Totals(0, 0, 0), ())

    async def test_a_stance_alone_is_no_verdict(self, medium: Medium) -> None:
        now = await medium.probed()
        told = await medium.says("r3", replace(now, opened=False))

        assert (told.epoch, told.opened) == (1, True)

    # --- coming and going

    async def test_a_replica_that_leaves_is_forgotten(self, medium: Medium) -> None:
        await medium.says("r1", replace(OPEN, agrees=True))
        await medium.fleet.leave("r1")
        told = await medium.says("r2", OPEN)

        assert (told.opened, told.openers, told.agreeing) == (False, 0, 0)

    async def test_the_lease_of_a_replica_that_leaves_is_free(
        self, medium: Medium
    ) -> None:
        now = await medium.probed()
        await medium.says("r1", replace(now, wants_probe=True))
        await medium.fleet.leave("r1")

        asks = replace(now, wants_probe=True)
        assert len((await medium.says("r2", asks)).leases) == 1

    async def test_a_replica_that_dies_is_forgotten_after_a_while(
        self, medium: Medium
    ) -> None:
        await medium.says("r1", replace(OPEN, agrees=True))
        await asyncio.sleep(medium.times.forgotten_after_s + 1.0 + SLACK_S)
        told = await medium.says("r2", OPEN)

        assert (told.opened, told.openers, told.agreeing) == (False, 0, 0)

    async def test_who_was_never_there_may_leave(self, medium: Medium) -> None:
        await medium.fleet.leave("r9")

    async def test_a_medium_that_is_gone_says_so(self, medium: Medium) -> None:
        await medium.cut_off()

        with pytest.raises(FleetUnavailable):
            await medium.fleet.exchange("r1", [CLOSED])
        with pytest.raises(FleetUnavailable):
            await medium.fleet.leave("r1")


def numbers(view: View) -> list[int]:
    return [lease.number for lease in view.leases]


def replace_number(batch: Batch, number: int) -> Batch:
    return Batch(number, batch.seconds)
