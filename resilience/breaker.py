"""The circuit breaker of one target, as its users see it.

Rule: two steps, so that streams fit: `admit()` gives a `Permit`, which is settled
once, when the stream ends. An operator's orders (forced states) live here, outside
the state machine of `machine.py`. No timers: time is looked at when somebody asks.
"""

import random
from collections.abc import Callable

from resilience.clock import Clock
from resilience.errors import BreakerOpen
from resilience.events import BreakerChanged, Listener, Silent, tell
from resilience.machine import NAMES, Machine, Open
from resilience.outcome import Counts
from resilience.permit import Permit
from resilience.seat import Seat
from resilience.states import BreakerState
from resilience.trip import BreakerConfig
from resilience.window import Totals

__all__ = ["Breaker", "BreakerConfig", "BreakerState"]

_ORDERS = (
    BreakerState.FORCED_OPEN,
    BreakerState.DISABLED,
    BreakerState.METRICS_ONLY,
)


class Breaker:
    """The circuit breaker of one target.

    With a `seat` (from `Member.seat`) it is one of a fleet; else it is alone.
    """

    def __init__(
        self,
        target: str,
        config: BreakerConfig,
        clock: Clock,
        *,
        listener: Listener | None = None,
        uniform: Callable[[float, float], float] = random.uniform,
        seat: Seat | None = None,
    ) -> None:
        self.target = target
        self._clock = clock
        self._listener = listener or Silent()
        self._machine = Machine(target, config, clock, self._listener, uniform, seat)
        self._forced: BreakerState | None = None

    @property
    def state(self) -> BreakerState:
        """The state now; an open time that is over still shows as OPEN until asked."""
        if self._forced is not None:
            return self._forced
        self._machine.look()
        return NAMES[self._machine.current_state]

    @property
    def ready(self) -> bool:
        """Whether an attempt would be admitted now."""
        if self._forced is not None:
            return self._forced is not BreakerState.FORCED_OPEN
        return self._machine.look().refuses() is None

    @property
    def shared(self) -> bool:
        """Whether breakers of other replicas are heard, and followed."""
        return self._machine.seat.shared

    @property
    def totals(self) -> Totals:
        """What the window holds now; for observation."""
        return self._machine.storage.policy.totals(self._clock.now())

    @property
    def open_for_s(self) -> float:
        """Seconds until an open breaker will admit a probe; 0 otherwise."""
        if not isinstance(self._machine.look(), Open):
            return 0.0
        return max(0.0, self._machine.open_until_s - self._clock.now())

    def peek(self) -> None:
        """Raise `BreakerOpen` if an attempt would not be admitted; takes nothing."""
        if not self.ready:
            raise self._refused()  # no local name: its traceback would hold it

    def refusal(self) -> BreakerOpen | None:
        """Return why an attempt would not be admitted, or None if it would be."""
        return None if self.ready else self._refused()

    def admit(self, alternative_ready: Callable[[], bool] = lambda: False) -> Permit:
        """Return a permit for one attempt.

        `alternative_ready` tells whether another target could answer instead; only
        then is the ramp after closing kept.

        Raises:
            BreakerOpen: the attempt must not be made.
        """
        now_s = self._clock.now()
        if self._forced is BreakerState.DISABLED:
            return Permit(None, now_s, self._settle)
        self.peek()
        state = self._machine._state
        if isinstance(state, Open):
            self._machine.half_open()
            state = self._machine._state
        permit = Permit(state, now_s, self._settle)
        state.issue(permit, alternative_ready)
        return permit

    def force(self, order: BreakerState | None) -> None:
        """Obey an operator: FORCED_OPEN, DISABLED or METRICS_ONLY; None to resume.

        Each order, resuming too, starts from a closed breaker that remembers nothing.

        Raises:
            ValueError: not an operator's order.
        """
        if order is not None and order not in _ORDERS:
            raise ValueError(f"a breaker cannot be ordered to be {order}")
        before = self.state
        self._forced = order
        self._machine.seat.abstains = order is not None
        self._machine.storage.observe_only = order is BreakerState.METRICS_ONLY
        self._machine.reset()
        after = self.state
        if after is not before:
            tell(self._listener, BreakerChanged(self.target, before, after))

    def _settle(
        self, permit: Permit, counts: Counts, slow: bool, retry_after_s: float | None
    ) -> None:
        state = self._machine._state
        if permit.state is not state or not state.take_back(permit):
            return
        self._machine.seat.settled(permit, counts, slow)
        self._machine.storage.slow = slow
        if counts is Counts.SUCCESS:
            state._handle_success()
        elif counts is Counts.FAILURE:
            if retry_after_s is not None:
                self._machine.note_pause(retry_after_s)
            self._machine.fail(state)
        elif slow:
            state.on_slow()

    def _refused(self) -> BreakerOpen:
        if self._forced is not None:
            return BreakerOpen(self.target)
        return BreakerOpen(self.target, self._machine.state.refuses())
