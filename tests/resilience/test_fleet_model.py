"""Breakers of a fleet against independent models, in any order of events.

First one breaker that hears arbitrary things of its fleet, on top of everything that
can befall a breaker that is alone. Then whole fleets on a bad medium: what must never
be seen, and what must have come about once everything is well again.
"""

import asyncio

from hypothesis import event, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    precondition,
    rule,
)

from resilience.breaker import Breaker, BreakerConfig, BreakerState
from resilience.errors import BreakerOpen
from resilience.follower import FleetSeat
from resilience.membership import Member
from resilience.memory_fleet import MemoryFleet
from resilience.permit import Permit
from resilience.shared import NOTHING, Lease, View
from resilience.testing import ManualClock
from resilience.window import Totals
from tests.resilience.scenery import Recorder, middle
from tests.resilience.test_breaker_model import (
    BreakerAgainstModel,
    Issued,
    Model,
    configs,
)

STALE_AFTER_S = 2.0


class FollowingModel(Model):
    """The model of a breaker, and the design's words about fleets."""

    fleet_epoch = 0
    fleet_open = False
    heard_until_s = -1e9
    in_line = False
    lease_until_s = -1e9
    """Until when the one lease that it may hold can still be used."""
    decided = False
    complete_since_s: float | None = None
    abstains = False

    @property
    def led(self) -> bool:
        heard = self.now_s < self.heard_until_s and not self.abstains
        return self.fleet_open and heard

    def admits(self) -> bool:
        self.look()
        if self.state == "half_open" and self.led:
            return self.now_s < self.lease_until_s
        if self.state == "open" and self.led:
            over = self.now_s >= self.open_until_s
            return over and self.now_s < self.lease_until_s
        return super().admits()

    def look(self) -> None:
        if self.state == "half_open":
            self.decide()  # what the fleet left to us
        super().look()

    def admit(self, permit: Permit) -> Issued:
        issued = super().admit(permit)
        if self.state == "half_open" and self.led:
            self.lease_until_s = -1e9
        return issued

    def decide(self) -> None:
        if not self.led and self.verdicts:
            super().decide()

    def open(self) -> None:
        self.went_its_way()
        super().open()

    def close(self) -> None:
        self.went_its_way()
        self.forget()
        self.enter("closed")

    def went_its_way(self) -> None:
        if self.led and self.in_line:
            self.decided = True
        else:
            self.in_line = False

    def hear(self, view: View) -> None:
        """The rules of `receive`: views of this model's tests hold no openers."""
        self.look()
        if view.epoch < self.fleet_epoch:
            return
        moved_on = view.epoch > self.fleet_epoch
        self.fleet_epoch = view.epoch
        self.heard_until_s = self.now_s + STALE_AFTER_S
        self.fleet_open = view.opened
        if moved_on:
            self.lease_until_s = -1e9
            self.decided, self.complete_since_s = False, None
        if self.abstains:
            self.in_line = False
        elif moved_on or (view.opened and not self.in_line):
            self.in_line = True
            self.follow(view)
        elif view.opened:
            leases = [lease.for_s for lease in view.leases]
            self.lease_until_s = self.now_s + leases[0] if leases else -1e9
            self.judge(view.probes)
        self.look()

    def judge(self, probes: Totals) -> None:
        """Nothing in these tests is slow."""
        permitted = self.config.permitted
        failed = probes.failed > 0 and (
            probes.failed == probes.recorded
            or probes.failed / permitted >= self.config.failure_ratio
        )
        if self.decided or not (failed or probes.recorded == permitted):
            return
        if self.complete_since_s is None:
            self.complete_since_s = self.now_s
        bystander = self.state == "open"
        if bystander and self.now_s - self.complete_since_s < STALE_AFTER_S:
            return
        if bystander:
            self.enter("half_open")
        if failed:
            self.open()
        elif self.state != "closed":
            self.close()

    def follow(self, view: View) -> None:
        if view.opened:
            self.open_until_s = self.now_s + view.open_for_s
            self.openings = view.openings
            if self.state != "open":
                self.enter("open")
        elif self.state != "closed":
            self.forget()
            self.enter("closed")


class FollowerAgainstModel(BreakerAgainstModel):
    """All that befalls a breaker alone, and messages of a fleet."""

    @initialize(config=configs)
    def start(self, config: BreakerConfig) -> None:
        self.clock = ManualClock()
        self.heard = Recorder()
        self.seat = FleetSeat("a", self.clock, STALE_AFTER_S)
        self.breaker = Breaker(
            "a",
            config,
            self.clock,
            listener=self.heard,
            uniform=lambda low, high: high,
            seat=self.seat,
        )
        self.model: FollowingModel = FollowingModel(config, self.clock.now())
        self.next_lease = 0

    def hears(
        self,
        epoch: int,
        opened: bool,
        left_s: float = 0.0,
        lease: bool = False,
        probes: Totals = NOTHING,
    ) -> None:
        report = self.seat.report()
        leases: tuple[Lease, ...] = ()
        if lease:
            self.next_lease += 1
            leases = (Lease(self.next_lease, 5.0),)
        view = View(
            epoch,
            opened=opened,
            open_for_s=left_s if opened else 0.0,
            openings=1 if opened else 0,
            probes=probes if opened else NOTHING,
            leases=leases if opened else (),
        )
        self.seat.receive(report, view, self.clock.now())
        self.model.hear(view)

    @rule(left_s=st.sampled_from([0.0, 5.0, 30.0]))
    def open_elsewhere(self, left_s: float) -> None:
        self.hears(self.model.fleet_epoch + 1, True, left_s)

    @rule()
    def close_elsewhere(self) -> None:
        self.hears(self.model.fleet_epoch + 1, False)

    @rule(lease=st.booleans())
    def nothing_new_elsewhere(self, lease: bool) -> None:
        model = self.model
        self.hears(model.fleet_epoch, model.fleet_open, lease=lease)

    @rule(target=BreakerAgainstModel.permits, failed=st.booleans())
    def the_fleet_goes_on(self, failed: bool) -> Issued | None:
        """Steer: into a probe of ours, and on to its verdict."""
        model = self.model
        if not model.led:
            self.open_elsewhere(0.0)
        elif model.state == "open":
            self.nothing_new_elsewhere(True)
            return self.admit()
        else:
            permitted = model.config.permitted
            probes = Totals(1, 1, 0) if failed else Totals(permitted, 0, 0)
            self.hears(model.fleet_epoch, True, probes=probes)
        return None

    @precondition(lambda self: self.model.fleet_epoch > 0)
    @rule(opened=st.booleans(), lease=st.booleans())
    def a_message_of_an_earlier_epoch(self, opened: bool, lease: bool) -> None:
        self.hears(self.model.fleet_epoch - 1, opened, 99.0, lease)

    @rule()
    def the_medium_is_lost(self) -> None:
        self.time_passes(STALE_AFTER_S + 0.5)
        assert not self.breaker.shared

    @rule(
        order=st.none()
        | st.sampled_from([BreakerState.DISABLED, BreakerState.METRICS_ONLY]),
        really=st.integers(0, 4),
    )
    def force(self, order: BreakerState | None, really: int) -> None:
        super().force(order, really)
        if really:
            return
        self.model.abstains = order is not None
        self.model.in_line = self.model.decided = False
        self.model.complete_since_s = None
        self.model.lease_until_s = -1e9

    @invariant()
    def it_says_whether_it_is_alone(self) -> None:
        model = self.model
        heard = model.now_s < model.heard_until_s and not model.abstains
        assert self.breaker.shared is heard
        if model.led and model.state == "half_open":
            event("half-open under the fleet's lead")


FollowerAgainstModel.TestCase.settings = settings(
    max_examples=100, stateful_step_count=40, deadline=None
)
TestFollowerAgainstModel = FollowerAgainstModel.TestCase


class Fleets(RuleBasedStateMachine):
    """Three replicas on a medium that fails; the target fails and recovers at will."""

    permits = Bundle("permits")

    @initialize(permitted=st.integers(1, 4), concurrent=st.integers(1, 3))
    def start(self, permitted: int, concurrent: int) -> None:
        self.runner = asyncio.Runner()
        self.clock = ManualClock()
        self.fleet = MemoryFleet(self.clock)
        self.config = BreakerConfig(
            consecutive=3, permitted=permitted, concurrent=concurrent, ramp_s=0.0
        )
        self.members = [Member(self.fleet, f"r{n}", self.clock) for n in range(3)]
        self.seats = [member.seat("a") for member in self.members]
        self.breakers = [
            Breaker("a", self.config, self.clock, uniform=middle, seat=seat)
            for seat in self.seats
        ]
        self.probes: dict[Permit, tuple[int, int]] = {}
        """Probes under the fleet's lead: replica and epoch."""
        self.met_at_s = [self.clock.now()] * 3

    def teardown(self) -> None:
        if not hasattr(self, "runner"):
            return
        self.all_is_well_in_the_end()
        self.runner.close()

    @rule(target=permits, n=st.integers(0, 2))
    def admit(self, n: int) -> Permit | None:
        led = self.seats[n].led
        try:
            permit = self.breakers[n].admit()
        except BreakerOpen:
            return None
        if led and self.breakers[n].state == "half_open":
            event("a probe under the fleet's lead")
            self.probes[permit] = (n, self.seats[n]._epoch)
        return permit

    @rule(permit=consumes(permits), how=st.sampled_from(["ok", "fail", "cancel"]))
    def settle(self, permit: Permit | None, how: str) -> None:
        if permit is not None:
            getattr(permit, how)()
            if how == "cancel":
                self.probes.pop(permit, None)

    @rule(n=st.integers(0, 2))
    def trip(self, n: int) -> None:
        for _ in range(self.config.consecutive):
            if self.breakers[n].state == "closed":
                self.breakers[n].admit().fail()

    @rule(times=st.sampled_from([1, 2, 4, 40, 100]))
    def meet(self, times: int) -> None:
        for _ in range(times):
            for n in range(3):
                self.round_of(n)
            self.clock.advance(0.25)

    def round_of(self, n: int) -> None:
        self.runner.run(self.members[n].exchange())
        if not self.fleet.down and f"r{n}" not in self.fleet.cut_off:
            self.met_at_s[n] = self.clock.now()

    @rule(n=st.integers(0, 2))
    def cut_off(self, n: int) -> None:
        self.fleet.cut_off.add(f"r{n}")

    @rule(down=st.booleans())
    def heal(self, down: bool) -> None:
        self.fleet.cut_off.clear()
        self.fleet.down = down

    @rule(really=st.integers(0, 9))
    def lose_memory(self, really: int) -> None:
        if really == 0:
            self.fleet.lose_memory()
            self.probes.clear()

    @invariant()
    def the_fleet_probes_no_more_than_it_may(self) -> None:
        now_s = self.clock.now()
        epoch = max(seat._epoch for seat in self.seats)
        # A probe of a replica that was out of touch for as long as a lease lasts is
        # lost to the fleet, which then may send another.
        sent = [
            permit
            for permit, (n, of) in self.probes.items()
            if of == epoch and now_s - self.met_at_s[n] < 1.0
        ]
        under_way = [permit for permit in sent if permit._settle is not None]
        assert len(sent) <= self.config.permitted
        assert len(under_way) <= self.config.concurrent

    def all_is_well_in_the_end(self) -> None:
        """Nothing that was said or lost keeps a breaker from closing."""
        self.heal(False)
        for _ in range(3000):
            for breaker in self.breakers:
                if breaker.refusal() is None:
                    breaker.admit().ok()
            self.meet(1)
            if all(one.state == "closed" and one.shared for one in self.breakers):
                return
        raise AssertionError([str(one.state) for one in self.breakers])


Fleets.TestCase.settings = settings(
    max_examples=60, stateful_step_count=30, deadline=None
)
TestFleets = Fleets.TestCase
