"""How breakers of several replicas see each other.

Theory. Every replica keeps a breaker of its own, and it alone decides on the request
path. In the background, some four times a second, a `Member` (`membership.py`)
exchanges one report and one view per target with a shared record of the fleet. So
nothing on the request path waits, and when the medium is gone every breaker simply
stays what it is: local.

What is shared, and the rule for each:

    transitions    The record is closed or open, and counts its transitions: the
                   *epoch*. A message of an earlier epoch is dropped, on both sides.
    a trip         One replica may be wrong about a target (its own network, say). The
                   record opens when two replicas are open by their own judgement; a
                   replica follows a single one if its own window agrees in part.
    windows        Outcomes travel as per-second deltas, so that many replicas with
                   little traffic trip together; that too needs local agreement or two
                   replicas whose windows agree.
    back-off       One open time for all, and one count of openings in a row.
    probes         Sent under leases of the record: fleet-wide at most `permitted`, at
                   most `concurrent` at once, and none after a first that failed. A
                   lease expires by itself.
    the verdict    Judged over the fleet's probes by whoever made one of them, or, if
                   that replica is gone, by any other; the first to say so is heard.

Times travel as seconds from now (or ago), never as readings of a clock: replicas have
nothing to agree on but how long a second is. Every message carries the whole stance of
its sender, so that one that is lost or repeated does no harm.

No I/O here: a medium implements `Fleet`; `memory_fleet.py` holds the record's rules and
is the reference. Ideas from interlock-style distributed breakers (leased probes),
sony/gobreaker (generations), and Finagle (back-off); the two-replica rule is ours.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from resilience.errors import ResilienceError
from resilience.outcome import Counts
from resilience.window import Totals

NOTHING = Totals(0, 0, 0)


@dataclass(frozen=True, slots=True)
class FleetTimes:
    """How long the record keeps what it is told, in seconds.

    A lease that is not renewed expires after `lease_s`; a replica that is silent for
    `forgotten_after_s` is forgotten; outcomes count for `pooled_s`.
    """

    lease_s: float = 5.0
    forgotten_after_s: float = 10.0
    pooled_s: float = 60.0


class Second(NamedTuple):
    """Outcomes of one second, `age_s` seconds ago."""

    age_s: float
    recorded: int
    failed: int
    slow: int


class Batch(NamedTuple):
    """Outcomes since the last batch; `number` grows, so that a repeat is known."""

    number: int
    seconds: tuple[Second, ...]


class ProbeResult(NamedTuple):
    """How a probe under the lease `lease` ended; a neutral one gives it back."""

    lease: int
    counts: Counts
    slow: bool


class Lease(NamedTuple):
    """Leave for one probe, which must begin within `for_s` seconds."""

    number: int
    for_s: float


@dataclass(frozen=True, slots=True)
class Report:
    """One replica's whole stance on one target.

    Args:
        target: whose breaker speaks.
        epoch: the fleet's epoch that the stance is based on.
        opened: whether this replica's breaker is open or half-open.
        open_for_s: how long it will still be open, in seconds.
        openings: how often in a row it has opened, for the next open time.
        agrees: whether its own window holds at least some evidence of failure.
        decided: whether `opened` is the verdict on this epoch's probes.
        batch: outcomes since the last exchange.
        results: how probes ended since the last exchange.
        probing: leases whose probes are under way.
        wants_probe: whether another lease would be used.
        permitted: how many probes decide, fleet-wide.
        concurrent: how many of them may be under way at once, fleet-wide.
    """

    target: str
    epoch: int
    opened: bool = False
    open_for_s: float = 0.0
    openings: int = 0
    agrees: bool = False
    decided: bool = False
    batch: Batch | None = None
    results: tuple[ProbeResult, ...] = ()
    probing: tuple[int, ...] = ()
    wants_probe: bool = False
    permitted: int = 1
    concurrent: int = 1


@dataclass(frozen=True, slots=True)
class View:
    """What the fleet's record says of one target to one replica.

    Args:
        epoch: how many transitions the record has seen.
        opened: whether the fleet's breaker is open; with nothing left of
            `open_for_s` it may be probed.
        open_for_s: how long the fleet's breaker stays open, in seconds; while it is
            closed, how long the `openers` hold theirs open.
        openings: how often in a row the fleet has opened (or the openers have).
        openers: other replicas that are open by their own judgement.
        agreeing: other replicas whose windows hold some evidence of failure.
        pooled: every replica's outcomes of the last minute or so in this epoch.
        probes: verdicts on this epoch's probes.
        leases: what this replica may probe, or is probing, with.
    """

    epoch: int
    opened: bool = False
    open_for_s: float = 0.0
    openings: int = 0
    openers: int = 0
    agreeing: int = 0
    pooled: Totals = NOTHING
    probes: Totals = NOTHING
    leases: tuple[Lease, ...] = ()


class FleetUnavailable(ResilienceError):
    """The medium did not answer: for the time being every breaker is alone."""


class Fleet(Protocol):
    """A medium that carries reports to the record and views back."""

    async def exchange(self, replica: str, reports: Sequence[Report]) -> Sequence[View]:
        """Hand in `replica`'s stance on its targets; return a view for each.

        Each report is taken at once or not at all, and may be handed in again when it
        is not known whether it was.

        Raises:
            FleetUnavailable: no answer, whether or not the reports were taken.
        """
        ...

    async def leave(self, replica: str) -> None:
        """Forget `replica`: its stance, its agreement and its leases.

        A replica that goes without a word is forgotten a few seconds later.

        Raises:
            FleetUnavailable: no answer.
        """
        ...
