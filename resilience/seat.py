"""A breaker's seat in a fleet: what its state machine asks, and what it tells.

Rule: everything here is a look at cached facts; nothing waits. `Seat` itself is the
seat of a breaker that is alone: it leads nothing, allows every probe and forgets what
it is told. `FleetSeat` in `follower.py` is the one that other replicas stand behind.
"""

from typing import TYPE_CHECKING, NamedTuple

from resilience.outcome import Counts
from resilience.permit import Permit

if TYPE_CHECKING:
    from resilience.machine import Machine


class Order(NamedTuple):
    """What the fleet has decided: open until a reading of our clock, or closed.

    `openings` is how often in a row the fleet has opened, for the next open time.
    """

    open_until_s: float | None
    openings: int = 0


class Seat:
    """The seat of a breaker without a fleet."""

    order: Order | None = None
    """A decision of the fleet that the breaker has not followed yet."""
    abstains = False
    """Whether an operator's order stands above the fleet's decisions."""

    def bind(self, machine: "Machine") -> None:
        """Learn whose seat it is."""

    @property
    def shared(self) -> bool:
        """Whether other replicas are heard: what happens there counts here."""
        return False

    @property
    def led(self) -> bool:
        """Whether probes need the fleet's leave, and their verdict is the fleet's."""
        return False

    def may_probe(self) -> bool:
        """Whether a probe may be sent now; if not, the wish is remembered."""
        return True

    def wanted(self) -> None:
        """Note that an attempt was refused: there is somebody to make a probe of."""

    def issued(self, permit: Permit) -> None:
        """Note that `permit` was given out for a probe."""

    def settled(self, permit: Permit, counts: Counts, slow: bool) -> None:
        """Note how an attempt ended; a neutral probe gives its leave back."""

    def decided(self) -> None:
        """Note that the breaker opened or closed by its own judgement."""

    def forget(self) -> None:
        """Start afresh: an operator has reset the breaker."""
