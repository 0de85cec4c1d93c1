"""One replica's membership in a fleet: the rounds in which its seats report and hear.

Rule: the caller owns the rounds. `run()` is for a task that the caller starts, cancels
and awaits; nothing runs by itself, and no call ever waits for a round.
"""

import asyncio
import logging

from resilience.clock import Clock
from resilience.events import BreakerSharingChanged, Listener, Silent, tell
from resilience.follower import FleetSeat
from resilience.shared import Fleet, FleetUnavailable

_log = logging.getLogger("resilience")


class Member:
    """One replica in a fleet; gives out the seats of its breakers.

    Args:
        fleet: the medium.
        replica: a name that no other replica has, nor this one after a restart.
        clock: this replica's clock.
        listener: told when sharing begins and ends, per target.
        interval_s: seconds between rounds.
        within_s: how long a round may take.
        stale_after_s: how long what was heard holds; then the breakers are alone.
    """

    def __init__(
        self,
        fleet: Fleet,
        replica: str,
        clock: Clock,
        *,
        listener: Listener | None = None,
        interval_s: float = 0.25,
        within_s: float = 1.0,
        stale_after_s: float = 2.0,
    ) -> None:
        self.replica = replica
        self._fleet = fleet
        self._clock = clock
        self._listener = listener or Silent()
        self._interval_s = interval_s
        self._within_s = within_s
        self._stale_after_s = stale_after_s
        self._seats: list[FleetSeat] = []
        self._told: dict[FleetSeat, bool] = {}

    def seat(self, target: str) -> FleetSeat:
        """Return a seat for the breaker of `target`, which is given it when made."""
        seat = FleetSeat(target, self._clock, self._stale_after_s)
        self._seats.append(seat)
        self._told[seat] = False
        return seat

    async def exchange(self) -> None:
        """Go through one round: report, and hear."""
        reports = [seat.report() for seat in self._seats]
        sent_at_s = self._clock.now()
        try:
            async with asyncio.timeout(self._within_s):
                views = await self._fleet.exchange(self.replica, reports)
            for seat, report, view in zip(self._seats, reports, views, strict=True):
                seat.receive(report, view, sent_at_s)
        except (FleetUnavailable, TimeoutError):
            pass  # nothing is heard; what was heard before grows old
        finally:
            self._tell()

    async def run(self) -> None:
        """Go through rounds until cancelled; no failure of a round ends it."""
        well = True
        while True:
            try:
                await self.exchange()
                well = True
            except Exception:  # the next round may do better
                if well:  # once, not four times a second
                    _log.exception("a round of the fleet failed")
                well = False
            await self._clock.sleep(self._interval_s)

    async def leave(self) -> None:
        """Tell the fleet that this replica is gone; after `run()` has ended."""
        try:
            async with asyncio.timeout(self._within_s):
                await self._fleet.leave(self.replica)
        except (FleetUnavailable, TimeoutError):
            _log.info("left the fleet without a word: it was not to be reached")

    def _tell(self) -> None:
        for seat, told in self._told.items():
            if seat.shared is not told:
                self._told[seat] = seat.shared
                tell(
                    self._listener,
                    BreakerSharingChanged(seat.target, shared=seat.shared),
                )
