"""The seat of a breaker that follows a fleet: local state and shared view, merged.

Rule: what was heard last is kept here and looked at; nothing waits, and nothing is
sent from here. `report()` says what this replica thinks, `receive()` takes in what the
fleet's record says (see `shared.py` for the rules). A view is heard for `stale_after_s`
seconds; after that the breaker is alone, as if there were no fleet.
"""

from resilience.clock import Clock
from resilience.machine import NAMES, Machine
from resilience.outcome import Counts
from resilience.permit import Permit
from resilience.seat import Order, Seat
from resilience.shared import Batch, ProbeResult, Report, Second, View
from resilience.states import BreakerState
from resilience.trip import judge_probes, ratios_trip

_QUORUM = 2
_WISH_KEPT_S = 30.0
_KEPT_SECONDS = 60


class FleetSeat(Seat):
    """One breaker's seat among those of the same target in other replicas."""

    def __init__(self, target: str, clock: Clock, stale_after_s: float) -> None:
        self.target = target
        self._clock = clock
        self._stale_after_s = stale_after_s
        self._machine: Machine | None = None
        self._heard_until_s = self._wanted_until_s = clock.now()
        self._fleet_opened = False
        self._in_line = False
        """Whether the breaker was put where the fleet's last decision wants it."""
        self._outcomes = _Outcomes()
        self._results: list[ProbeResult] = []
        self._start_epoch(0)

    def bind(self, machine: Machine) -> None:
        """Take `machine` as the breaker's."""
        self._machine = machine

    # --- asked on the request path

    @property
    def shared(self) -> bool:
        """Whether the fleet was heard lately."""
        return self._clock.now() < self._heard_until_s and not self.abstains

    @property
    def led(self) -> bool:
        """Whether the fleet's breaker is open, and heard."""
        return self._fleet_opened and self.shared

    def may_probe(self) -> bool:
        """Whether there is a lease to probe with, unless none is needed."""
        if not self.led or self._unused_lease() is not None:
            return True
        self.wanted()
        return False

    def wanted(self) -> None:
        """Note that somebody is there to make a probe of."""
        self._wanted_until_s = self._clock.now() + _WISH_KEPT_S

    def issued(self, permit: Permit) -> None:
        """Take the lease that the probe needs."""
        lease = self._unused_lease() if self.led else None
        if lease is not None:
            del self._unused[lease]
            self._probing[permit] = lease

    def settled(self, permit: Permit, counts: Counts, slow: bool) -> None:
        """Keep the outcome for the next report."""
        lease = self._probing.pop(permit, None)
        if lease is not None:
            self._results.append(ProbeResult(lease, counts, slow))
        elif not self._fleet_opened and (slow or counts is not Counts.NEUTRAL):
            self._outcomes.record(self._clock.now(), counts, slow)

    def decided(self) -> None:
        """Note a verdict on the fleet's probes, or a way of the breaker's own."""
        if self.led and self._in_line:
            self._decided = True
        else:
            self._in_line = False

    def forget(self) -> None:
        """Start afresh; what the fleet says next is followed."""
        self.order = None
        self._start_epoch(self._epoch)
        self._in_line = False

    # --- asked by the member, in the background

    def report(self) -> Report:
        """Return this replica's stance."""
        machine = self._bound
        machine.look()
        now_s = self._clock.now()
        opened = not self._is(BreakerState.CLOSED)
        open_for_s = max(0.0, machine.open_until_s - now_s) if opened else 0.0
        return Report(
            self.target,
            self._epoch,
            opened=opened,
            open_for_s=open_for_s,
            openings=machine.opened_in_a_row,
            agrees=not self.abstains and machine.storage.policy.agrees(now_s),
            decided=self._decided,
            batch=self._outcomes.batch(now_s),
            results=tuple(self._results),
            probing=tuple(self._probing.values()),
            wants_probe=self._wants_probe(now_s, open_for_s),
            permitted=machine.config.permitted,
            concurrent=machine.config.concurrent,
        )

    def receive(self, report: Report, view: View, sent_at_s: float) -> None:
        """Take in the answer to `report`, which was sent at `sent_at_s`.

        An answer of an earlier epoch than one that was heard before is dropped.
        """
        if view.epoch < self._epoch:
            return
        now_s = self._clock.now()
        self._heard_until_s = now_s + self._stale_after_s
        moved_on = view.epoch > self._epoch
        if moved_on:
            self._start_epoch(view.epoch)
        else:
            self._acknowledge(report)
        self._fleet_opened = view.opened
        if self.abstains:
            self._in_line = False
        elif moved_on or (view.opened and not self._in_line):
            self._in_line = True
            self._order(view, now_s)
        elif view.opened:
            self._take_leases(view, sent_at_s)
            self._judge(view, now_s)
        elif self._is(BreakerState.CLOSED):
            self._join_in(view, now_s)
        self._bound.look()

    # --- how

    @property
    def _bound(self) -> Machine:
        assert self._machine is not None  # noqa: S101 - a breaker binds its machine when it is made
        return self._machine

    def _is(self, state: BreakerState) -> bool:
        """Whether the breaker is in `state`, an operator's orders left aside."""
        return NAMES[self._bound.current_state] is state

    def _start_epoch(self, epoch: int) -> None:
        self._epoch = epoch
        self._decided = False
        self._complete_since_s: float | None = None
        self._unused: dict[int, float] = {}
        self._probing: dict[Permit, int] = {}
        self._results.clear()
        self._outcomes.clear()

    def _acknowledge(self, report: Report) -> None:
        del self._results[: len(report.results)]
        self._outcomes.acknowledge(report.batch)

    def _order(self, view: View, now_s: float) -> None:
        if view.opened:
            self._open_with(view, now_s)
        else:
            self.order = Order(None)

    def _open_with(self, view: View, now_s: float) -> None:
        self.order = Order(now_s + view.open_for_s, view.openings)

    def _unused_lease(self) -> int | None:
        now_s = self._clock.now()
        for number, until_s in self._unused.items():
            if now_s < until_s:
                return number
        return None

    def _wants_probe(self, now_s: float, open_for_s: float) -> bool:
        return (
            self.led
            and open_for_s == 0
            and now_s < self._wanted_until_s
            and self._unused_lease() is None
        )

    def _take_leases(self, view: View, sent_at_s: float) -> None:
        taken = {*self._probing.values(), *(one.lease for one in self._results)}
        # Counted from before it was granted: nobody else has it while we think we do.
        unused = {
            lease.number: sent_at_s + lease.for_s
            for lease in view.leases
            if lease.number not in taken
        }
        if unused.keys() - self._unused.keys():
            self._wanted_until_s = sent_at_s  # a wish is good for one lease
        self._unused = unused

    def _judge(self, view: View, now_s: float) -> None:
        """Say what the probes have shown, if that is for us to say."""
        machine = self._bound
        passed = judge_probes(machine.config, view.probes)
        if passed is None or self._decided:
            return
        if self._complete_since_s is None:
            self._complete_since_s = now_s
        # Who has probed speaks first; the others only if it is gone.
        bystander = self._is(BreakerState.OPEN)
        patience_s = self._stale_after_s if bystander else 0.0
        if now_s - self._complete_since_s < patience_s:
            return
        if bystander:
            machine.half_open()
        if passed:
            machine.close()
        else:
            machine.open()

    def _join_in(self, view: View, now_s: float) -> None:
        """Open with others if there is reason to: our own evidence, or two of them."""
        machine = self._bound
        agrees = machine.storage.policy.agrees(now_s)
        if agrees and view.openers:
            self._open_with(view, now_s)
        elif (agrees or view.agreeing >= _QUORUM) and ratios_trip(
            machine.config, view.pooled
        ):
            machine.open()


class _Outcomes:
    """Outcomes by second, until the record has taken them."""

    def __init__(self) -> None:
        self._number = 0
        self._fresh: dict[int, list[int]] = {}
        self._sent: dict[int, list[int]] = {}

    def record(self, now_s: float, counts: Counts, slow: bool) -> None:
        """Count one outcome."""
        second = int(now_s)
        tally = self._fresh.get(second)
        if tally is None:
            if len(self._fresh) >= _KEPT_SECONDS:
                del self._fresh[next(iter(self._fresh))]
            tally = self._fresh[second] = [0, 0, 0]
        tally[0] += 1
        tally[1] += counts is Counts.FAILURE
        tally[2] += slow

    def batch(self, now_s: float) -> Batch | None:
        """Return what is to be sent: the last batch again if it may have been lost."""
        if not self._sent:
            if not self._fresh:
                return None
            self._sent, self._fresh = self._fresh, {}
            self._number += 1
        return Batch(
            self._number,
            tuple(
                Second(max(0.0, now_s - second), *tally)
                for second, tally in self._sent.items()
            ),
        )

    def acknowledge(self, batch: Batch | None) -> None:
        """Let go of what the record has taken."""
        if batch is not None:
            self._sent = {}

    def clear(self) -> None:
        """Forget everything."""
        self._fresh, self._sent = {}, {}
