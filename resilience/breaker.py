"""The circuit breaker of one target, as its users see it.

Rule: two steps, so that streams fit: `admit()` gives a `Permit`, which is settled
once, when the stream ends. An operator's orders (forced states) live here, outside
the state machine of `machine.py`. No timers: time is looked at when somebody asks.
"""

import random
from collections.abc import Callable
from contextlib import suppress

from resilience.clock import Clock
from resilience.errors import BreakerOpen
from resilience.events import BreakerChanged, Listener, Silent
from resilience.machine import NAMES, BreakerState, Machine, Open, TargetFailed
from resilience.outcome import Counts
from resilience.permit import Permit
from resilience.trip import BreakerConfig

__all__ = ["Breaker", "BreakerConfig", "BreakerState"]


class Breaker:
    """The circuit breaker of one target."""

    def __init__(
        self,
        target: str,
        config: BreakerConfig,
        clock: Clock,
        *,
        listener: Listener | None = None,
        uniform: Callable[[float, float], float] = random.uniform,
    ) -> None:
        self.target = target
        self._clock = clock
        self._listener = listener or Silent()
        self._machine = Machine(target, config, clock, self._listener, uniform)
        self._forced: BreakerState | None = None

    @property
    def state(self) -> BreakerState:
        """The state now; an open time that is over still shows as OPEN until asked."""
        if self._forced is not None:
            return self._forced
        self._refresh()
        return NAMES[self._machine.current_state]

    @property
    def ready(self) -> bool:
        """Whether an attempt would be admitted now."""
        return self._refusal() is None

    @property
    def open_for_s(self) -> float:
        """Seconds until an open breaker will admit a probe; 0 otherwise."""
        if not isinstance(self._machine.state, Open):
            return 0.0
        return max(0.0, self._machine.open_until_s - self._clock.now())

    def peek(self) -> None:
        """Raise `BreakerOpen` if an attempt would not be admitted; takes nothing."""
        refusal = self._refusal()
        if refusal is not None:
            raise refusal

    def admit(self, alternative_ready: Callable[[], bool] = lambda: False) -> Permit:
        """Return a permit for one attempt.

        `alternative_ready` tells whether another target could answer instead; only
        then is the ramp after closing kept.

        Raises:
            BreakerOpen: the attempt must not be made.
        """
        refusal = self._refusal()
        if refusal is not None:
            raise refusal
        now_s = self._clock.now()
        if self._forced is BreakerState.DISABLED:
            return Permit(None, now_s, self._settle)
        if isinstance(self._machine.state, Open):
            self._machine.half_open()
        state = self._machine.state
        permit = Permit(state, now_s, self._settle)
        state.issue(permit, alternative_ready)
        return permit

    def force(self, order: BreakerState | None) -> None:
        """Obey an operator: FORCED_OPEN, DISABLED or METRICS_ONLY; None to resume.

        Resuming starts from a closed breaker with an empty window.
        """
        previous, self._forced = self.state, order
        self._machine.storage.observe_only = order is BreakerState.METRICS_ONLY
        self._machine.close()
        if order is not None:
            self._listener.on_event(BreakerChanged(self.target, previous, order))

    def _settle(
        self, permit: Permit, counts: Counts, slow: bool, retry_after_s: float | None
    ) -> None:
        state = self._machine._state
        if permit.state is not state or not state.take_back(permit):
            return
        self._machine.storage.slow = slow
        if counts is Counts.SUCCESS:
            state._handle_success()
        elif counts is Counts.FAILURE:
            self._machine.named_pause_s = retry_after_s
            with suppress(TargetFailed):  # aiobreaker re-raises what it is told
                state._handle_error(None, TargetFailed())
        elif slow:
            state.on_slow()

    def _refusal(self) -> BreakerOpen | None:
        if self._forced is not None:
            if self._forced is BreakerState.FORCED_OPEN:
                return BreakerOpen(self.target)
            return None
        self._refresh()
        retry_after_s = self._machine.state.refuses()
        if retry_after_s is None:
            return None
        return BreakerOpen(self.target, retry_after_s)

    def _refresh(self) -> None:
        """Let time act: a probe that is overdue has a verdict now."""
        self._machine.state.judge_overdue(self._clock.now())
