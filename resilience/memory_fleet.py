"""The fleet's record, and a medium that keeps it in memory.

Rule: `Record` holds the rules that every medium keeps, and is their reference; it
takes one report at once and answers with a view. It knows no thresholds: those are the
replicas' business. `MemoryFleet` is for tests and simulations; it may be slow, lose
messages, and be cut off from a replica.
"""

import random
from collections import defaultdict, deque
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from resilience.clock import Clock
from resilience.outcome import Counts
from resilience.shared import (
    NOTHING,
    Batch,
    FleetTimes,
    FleetUnavailable,
    Lease,
    ProbeResult,
    Report,
    View,
)
from resilience.window import Totals

_QUORUM = 2


@dataclass(slots=True)
class _Presence:
    """What one replica said last."""

    heard_at_s: float = 0.0
    last_batch: int = 0
    open_until_s: float = 0.0
    openings: int = 0


@dataclass(slots=True)
class _Lease:
    """A lease that was given out."""

    by: str
    until_s: float


class _Pool:
    """Outcomes of the last minute, by second."""

    def __init__(self, span_s: float) -> None:
        self._span_s = span_s
        self._seconds: deque[tuple[int, Totals]] = deque()
        self._sums = NOTHING

    def add(self, batch: Batch, now_s: float) -> None:
        """Count a batch, each second of it where it belongs."""
        for age_s, *tally in batch.seconds:
            self._seconds.append((int(now_s - age_s), Totals(*tally)))
            self._sums = _sum(self._sums, Totals(*tally), 1)

    def totals(self, now_s: float) -> Totals:
        """Return what is not too old."""
        while self._seconds and self._seconds[0][0] <= now_s - self._span_s:
            self._sums = _sum(self._sums, self._seconds.popleft()[1], -1)
        return self._sums


def _sum(a: Totals, b: Totals, sign: int) -> Totals:
    return Totals(
        a.recorded + sign * b.recorded,
        a.failed + sign * b.failed,
        a.slow + sign * b.slow,
    )


class Record:
    """What the fleet knows of one target; times are readings of the medium's clock."""

    def __init__(self, times: FleetTimes) -> None:
        self._times = times
        self._presences: dict[str, _Presence] = {}
        self._next_lease = 0
        self._swept_at_s = 0.0
        self._start(0, None, 0)

    def take(self, replica: str, report: Report, now_s: float) -> View:
        """Take `replica`'s stance; return the view for it."""
        self._sweep(now_s)
        presence = self._presences.setdefault(replica, _Presence())
        presence.heard_at_s = now_s
        if report.epoch > self._epoch:
            # The medium has lost its memory; the replicas have not.
            self._start(report.epoch, None, 0)
        if report.epoch == self._epoch:
            self._take_stance(replica, presence, report, now_s)
            self._take_outcomes(presence, report, now_s)
            self._renew(replica, report, now_s)
            self._decide(report, now_s)
        if report.epoch == self._epoch and report.wants_probe:
            self._grant(replica, report, now_s)
        return self._view(replica, now_s)

    def forget(self, replica: str) -> None:
        """Forget a replica; what it has seen still counts."""
        self._presences.pop(replica, None)
        self._openers.discard(replica)
        self._agreeing.discard(replica)
        for number in [n for n, held in self._leases.items() if held.by == replica]:
            del self._leases[number]

    def _start(self, epoch: int, open_until_s: float | None, openings: int) -> None:
        """Begin an epoch; nothing of the last one is left."""
        self._epoch = epoch
        self._open_until_s = open_until_s
        self._openings = openings
        self._openers: set[str] = set()
        self._agreeing: set[str] = set()
        self._pool = _Pool(self._times.pooled_s)
        self._probes = NOTHING
        self._leases: dict[int, _Lease] = {}
        self._contended_until_s = 0.0

    def _sweep(self, now_s: float) -> None:
        for number, held in tuple(self._leases.items()):
            if held.until_s <= now_s:
                del self._leases[number]
        if now_s - self._swept_at_s < 1.0:
            return
        self._swept_at_s = now_s
        for replica, presence in tuple(self._presences.items()):
            if now_s - presence.heard_at_s > self._times.forgotten_after_s:
                self.forget(replica)

    def _take_stance(
        self, replica: str, presence: _Presence, report: Report, now_s: float
    ) -> None:
        presence.open_until_s = now_s + report.open_for_s
        presence.openings = report.openings
        for said, those in (
            (report.opened, self._openers),
            (report.agrees, self._agreeing),
        ):
            if said:
                those.add(replica)
            else:
                those.discard(replica)

    def _take_outcomes(self, presence: _Presence, report: Report, now_s: float) -> None:
        batch = report.batch
        if batch is not None and batch.number > presence.last_batch:
            presence.last_batch = batch.number
            self._pool.add(batch, now_s)
        for result in report.results:
            # A lease that is gone has been counted, or has expired.
            if self._leases.pop(result.lease, None) is not None:
                self._count(result)

    def _count(self, result: ProbeResult) -> None:
        if result.counts is not Counts.NEUTRAL:
            failed = int(result.counts is Counts.FAILURE)
            one = Totals(1, failed, int(result.slow))
            self._probes = _sum(self._probes, one, 1)

    def _renew(self, replica: str, report: Report, now_s: float) -> None:
        """Extend leases; an unused one only while nobody waits for it."""
        for number, held in self._leases.items():
            if held.by == replica and (
                number in report.probing or now_s >= self._contended_until_s
            ):
                held.until_s = now_s + self._times.lease_s

    def _decide(self, report: Report, now_s: float) -> None:
        if self._open_until_s is not None:
            if report.decided:
                until_s = now_s + report.open_for_s if report.opened else None
                self._start(self._epoch + 1, until_s, report.openings)
        elif len(self._openers) >= _QUORUM:
            until_s, openings = self._openers_stance(self._openers)
            self._start(self._epoch + 1, until_s, openings)

    def _openers_stance(self, replicas: Collection[str]) -> tuple[float, int]:
        of = [self._presences[replica] for replica in replicas]
        return (
            max((one.open_until_s for one in of), default=0.0),
            max((one.openings for one in of), default=0),
        )

    def _grant(self, replica: str, report: Report, now_s: float) -> None:
        if self._open_until_s is None or now_s < self._open_until_s:
            return
        if 0 < self._probes.failed == self._probes.recorded:
            return  # that is a verdict, and on its way
        out = len(self._leases)
        left = report.permitted - self._probes.recorded - out
        if out < report.concurrent and left > 0:
            self._next_lease += 1
            self._leases[self._next_lease] = _Lease(
                replica, now_s + self._times.lease_s
            )
        else:
            self._contended_until_s = now_s + self._times.lease_s

    def _view(self, replica: str, now_s: float) -> View:
        others = self._openers - {replica}
        until_s, openings = self._open_until_s, self._openings
        if until_s is None:
            until_s, openings = self._openers_stance(others)
        return View(
            self._epoch,
            opened=self._open_until_s is not None,
            open_for_s=max(0.0, until_s - now_s),
            openings=openings,
            openers=len(others),
            agreeing=len(self._agreeing - {replica}),
            pooled=self._pool.totals(now_s),
            probes=self._probes,
            leases=tuple(
                Lease(number, held.until_s - now_s)
                for number, held in self._leases.items()
                if held.by == replica
            ),
        )


class MemoryFleet:
    """A medium in memory, as good or as bad as it is told to be.

    Args:
        clock: the medium's own clock.
        times: how long the record keeps what it is told.
        delay_s: how long a message takes, each way, in seconds.
        loss: the share of messages that get lost, each way.
        draw: draws a number from 0 to 1, for the loss.
    """

    def __init__(
        self,
        clock: Clock,
        *,
        times: FleetTimes | None = None,
        delay_s: float = 0.0,
        loss: float = 0.0,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self._clock = clock
        rules = times or FleetTimes()
        self._records: defaultdict[str, Record] = defaultdict(lambda: Record(rules))
        self._draw = draw
        self.delay_s = delay_s
        self.loss = loss
        self.cut_off: set[str] = set()
        """Replicas that cannot reach it."""
        self.down = False
        """Whether nobody can."""

    async def exchange(self, replica: str, reports: Sequence[Report]) -> Sequence[View]:
        """Hand in `replica`'s stance on its targets; return a view for each.

        Raises:
            FleetUnavailable: cut off, down, or a message was lost.
        """
        await self._carry(replica)
        views = [
            self._records[report.target].take(replica, report, self._clock.now())
            for report in reports
        ]
        await self._carry(replica)
        return views

    async def leave(self, replica: str) -> None:
        """Forget `replica`.

        Raises:
            FleetUnavailable: cut off, down, or the message was lost.
        """
        await self._carry(replica)
        for record in self._records.values():
            record.forget(replica)

    def lose_memory(self) -> None:
        """Start with empty records, as a store without persistence does."""
        self._records.clear()

    async def _carry(self, replica: str) -> None:
        if self.delay_s:
            await self._clock.sleep(self.delay_s)
        if self.down or replica in self.cut_off or self._draw() < self.loss:
            raise FleetUnavailable(f"{replica}: no answer")
