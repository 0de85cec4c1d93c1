"""The breaker's state machine: the only importer of aiobreaker.

Theory. Three states, CLOSED → OPEN → HALF_OPEN → CLOSED or OPEN. aiobreaker's state
machine carries them; what its 1.2.0 lacks or does differently is put in through its
extension points only (`_create_new_state`, the hooks of its states, a storage):

    its rule                              here
    fail_max consecutive failures         the storage's counter is 1 exactly when the
                                          window policy says *trip*, and fail_max is 1
    any success resets the count          `reset_counter` does nothing
    half-open admits everyone             probes are counted and bounded
    first success closes                  probes decide together: `judge_probes`
    late results act on the new state     a permit is bound to the state object that
                                          issued it, and dropped when that is gone
    wall clock, mixed UTC and local       monotonic clock, `open_until`
    its error replaces the caller's       hooks never raise
    listeners hear of a change before     events are sent by the machine, when the
    it has happened                       change is complete
    excluded errors count as success      neutral outcomes never reach it

No timers: time is looked at when somebody asks. Permits and forced states are the
business of `breaker.py`; when to trip, of `trip.py`.

Window and half-open rules after resilience4j, generations after sony/gobreaker,
exponential open time after Finagle's failure accrual.
"""

from collections.abc import Callable
from datetime import datetime
from typing import Any

from aiobreaker import CircuitBreaker, CircuitBreakerState
from aiobreaker.state import (
    CircuitBreakerBaseState,
    CircuitClosedState,
    CircuitHalfOpenState,
    CircuitOpenState,
)
from aiobreaker.storage.base import CircuitBreakerStorage

from resilience.backoff import doubled_s
from resilience.clock import Clock
from resilience.errors import BreakerOpen
from resilience.events import BreakerChanged, Listener, tell
from resilience.outcome import Counts
from resilience.permit import Permit
from resilience.seat import Order, Seat
from resilience.states import BreakerState
from resilience.trip import BreakerConfig, TripPolicy, judge_probes
from resilience.window import Totals

_RAMP_FLOOR = 0.1
_BUSY_PROBE_RETRY_S = _NO_LEASE_RETRY_S = 1.0


NAMES = {
    CircuitBreakerState.CLOSED: BreakerState.CLOSED,
    CircuitBreakerState.OPEN: BreakerState.OPEN,
    CircuitBreakerState.HALF_OPEN: BreakerState.HALF_OPEN,
}


class TargetFailed(Exception):
    """Handed to aiobreaker in place of the real error, which stays untouched."""


def _nothing() -> None:
    """Stands in for the guarded function, which aiobreaker never sees."""


class Storage(CircuitBreakerStorage):
    """Local state; `counter` is 1 exactly when the trip policy says so."""

    state = CircuitBreakerState.CLOSED

    def __init__(self, config: BreakerConfig, clock: Clock) -> None:
        super().__init__("window")
        self._clock = clock
        self.state = CircuitBreakerState.CLOSED
        self.policy = TripPolicy(config, clock.now())
        self.slow = False
        """Whether the outcome being handed to the machine was slow."""
        self.observe_only = False

    def increment_counter(self) -> None:
        """Record a failure."""
        if self.state is CircuitBreakerState.CLOSED:
            self.policy.record_failure(self._clock.now(), slow=self.slow)

    def reset_counter(self) -> None:
        """Nothing: a success does not undo the window."""

    @property
    def counter(self) -> int:
        return int(not self.observe_only and self.policy.trips(self._clock.now()))

    @property
    def opened_at(self) -> datetime:
        """aiobreaker's wall-clock view, which nothing here asks for."""
        return datetime.min

    @opened_at.setter
    def opened_at(self, _: datetime) -> None:
        """Nothing: wall-clock time plays no part here."""


class SharedStorage(Storage):
    """The local state, merged with a decision of the fleet not followed yet."""

    def __init__(self, config: BreakerConfig, clock: Clock, seat: Seat) -> None:
        self._seat = seat
        super().__init__(config, clock)

    @property
    def state(self) -> CircuitBreakerState:
        order = self._seat.order
        if order is None:
            return self._local
        if order.open_until_s is None:
            return CircuitBreakerState.CLOSED
        return CircuitBreakerState.OPEN

    @state.setter
    def state(self, state: CircuitBreakerState) -> None:
        self._local = state


class Machine(CircuitBreaker):
    """aiobreaker's machine with our states and a monotonic open time."""

    def __init__(
        self,
        target: str,
        config: BreakerConfig,
        clock: Clock,
        listener: Listener,
        uniform: Callable[[float, float], float],
        seat: Seat | None = None,
    ) -> None:
        self.target = target
        self.config = config
        self.clock = clock
        self.listener = listener
        self.uniform = uniform
        self.seat = seat or Seat()
        self.storage = (
            SharedStorage(config, clock, seat) if seat else Storage(config, clock)
        )
        self.open_until_s = self._paused_until_s = clock.now()
        self.opened_in_a_row = 0
        self._closed_at_s = clock.now()
        super().__init__(fail_max=1, state_storage=self.storage)
        self.seat.bind(self)

    _state: Any  # aiobreaker's base class, to the type checkers; `State` in fact

    def look(self) -> "State":
        """Let the fleet and time act; return the state that comes of it."""
        if self.seat.order is not None:
            self._follow(self.seat.order)
        current: Any = self.state
        current.judge_overdue()
        return self._state

    def _create_new_state(
        self,
        new_state: CircuitBreakerState,
        prev_state: CircuitBreakerBaseState | None = None,
        notify: bool = False,
    ) -> CircuitBreakerBaseState:
        return _STATES[new_state](self, prev_state=prev_state, notify=notify)

    @property
    def opens_at(self) -> None:
        """aiobreaker's wall-clock view; see `open_until_s`."""
        return None

    def fail(self, state: CircuitBreakerBaseState) -> None:
        """Tell `state` of a failure by the target's fault."""
        failed = TargetFailed()
        try:
            state._handle_error(_nothing, failed)
        except TargetFailed:
            # It re-raises what it is told; the traceback would hold every caller.
            failed.__traceback__ = None

    def note_pause(self, named_s: float) -> None:
        """Note that the failing target asked for a pause: opening will keep it."""
        until_s = self.clock.now() + min(named_s, self.config.open_cap_s)
        self._paused_until_s = max(self._paused_until_s, until_s)

    def open(self) -> None:
        """Open for the next open time; nothing if it is open already."""
        before = self.current_state
        if before is CircuitBreakerState.OPEN:
            return
        now_s, config = self.clock.now(), self.config
        held = now_s - self._closed_at_s > config.open_s
        if before is CircuitBreakerState.CLOSED and held:
            self.opened_in_a_row = 0  # what comes now is a new incident
        open_s = doubled_s(config.open_s, self.opened_in_a_row, config.open_cap_s)
        jitter = self.uniform(1 - config.jitter, 1 + config.jitter)
        self.opened_in_a_row += 1
        self.open_until_s = max(now_s + open_s * jitter, self._paused_until_s)
        self.seat.decided()
        self._enter(CircuitBreakerState.OPEN)

    def close(self) -> None:
        """Close with an empty window."""
        self._start_afresh()
        self.seat.decided()
        self._enter(CircuitBreakerState.CLOSED)

    def half_open(self) -> None:
        """Admit probes."""
        self._enter(CircuitBreakerState.HALF_OPEN)

    def reset(self) -> None:
        """Forget everything, as if made anew; who asks for it tells of it."""
        self.seat.forget()
        self._start_afresh()
        self.opened_in_a_row = 0
        self.storage.state = CircuitBreakerState.CLOSED
        self._state = _Closed(self)

    def _follow(self, order: Order) -> None:
        """Do what the fleet has decided."""
        self.seat.order = None
        to = CircuitBreakerState.CLOSED
        if order.open_until_s is not None:
            to, self.open_until_s = CircuitBreakerState.OPEN, order.open_until_s
            self.opened_in_a_row = order.openings
        elif self.current_state is not to:
            self._start_afresh()
        if self.current_state is not to:
            self._enter(to)

    def _start_afresh(self) -> None:
        self._closed_at_s = self._paused_until_s = self.clock.now()
        self.storage.policy.clear(self._closed_at_s)

    def _enter(self, to: CircuitBreakerState) -> None:
        """Enter a fresh state, and only then tell: who is told may ask the breaker."""
        before, after = NAMES[self.current_state], NAMES[to]
        self.storage.state = to
        self.state = to
        open_for_s = None
        if after is BreakerState.OPEN:
            open_for_s = self.open_until_s - self.clock.now()
        tell(self.listener, BreakerChanged(self.target, before, after, open_for_s))


class State:
    """What every state of ours answers besides aiobreaker's hooks."""

    _breaker: Machine

    def refuses(self) -> float | None:
        """None if an attempt may be made, else in how many seconds to ask again."""
        return None

    def judge_overdue(self) -> None:
        """Settle what time has decided."""

    def issue(self, permit: Permit, alternative_ready: Callable[[], bool]) -> None:
        """Note that `permit` was given out."""

    def take_back(self, permit: Permit) -> bool:
        """Note that `permit` is being settled; False if its verdict is in already."""
        return True

    def on_slow(self) -> None:
        """An inconclusive attempt was slow."""


class _Closed(State, CircuitClosedState):
    def __init__(
        self,
        machine: Machine,
        prev_state: CircuitBreakerBaseState | None = None,
        notify: bool = False,
    ) -> None:
        super().__init__(machine, prev_state, notify)
        recovered = prev_state is not None  # here, or elsewhere in the fleet
        now_s = machine.clock.now()
        self._ramp_ends_s = now_s + machine.config.ramp_s if recovered else now_s

    def issue(self, permit: Permit, alternative_ready: Callable[[], bool]) -> None:
        machine = self._breaker
        left_s = self._ramp_ends_s - permit.issued_at_s
        if left_s <= 0 or not alternative_ready():
            return
        share = _RAMP_FLOOR + (1 - _RAMP_FLOOR) * (1 - left_s / machine.config.ramp_s)
        if machine.uniform(0, 1) >= share:
            raise BreakerOpen(machine.target, left_s)

    def on_success(self) -> None:
        machine = self._breaker
        storage = machine.storage
        storage.policy.record_success(machine.clock.now(), slow=storage.slow)
        self._trip_if_due()

    def on_slow(self) -> None:
        machine = self._breaker
        machine.storage.policy.record_slow(machine.clock.now())
        self._trip_if_due()

    def on_failure(self, exception: Exception) -> None:
        # The base class raises CircuitBreakerError here, in place of the real error.
        self._trip_if_due()

    def _trip_if_due(self) -> None:
        if self._breaker.storage.counter:
            self._breaker.open()


class Open(State, CircuitOpenState):
    def refuses(self) -> float | None:
        seat = self._breaker.seat
        left_s = self._breaker.open_until_s - self._breaker.clock.now()
        if left_s > 0:
            seat.wanted()
            return left_s
        return None if seat.may_probe() else _NO_LEASE_RETRY_S


class _HalfOpen(State, CircuitHalfOpenState):
    def __init__(
        self,
        machine: Machine,
        prev_state: CircuitBreakerBaseState | None = None,
        notify: bool = False,
    ) -> None:
        super().__init__(machine, prev_state, notify)
        self._outstanding: dict[Permit, None] = {}
        self._passed = self._failed = self._slow = 0

    def refuses(self) -> float | None:
        config, seat = self._breaker.config, self._breaker.seat
        if seat.led:
            return None if seat.may_probe() else _NO_LEASE_RETRY_S
        out = len(self._outstanding)
        given_out = out + self._passed + self._failed
        if out >= config.concurrent or given_out >= config.permitted:
            return _BUSY_PROBE_RETRY_S
        return None

    def judge_overdue(self) -> None:
        self._decide()  # the fleet may have left that to us
        now_s = self._breaker.clock.now()
        within_s = self._breaker.config.verdict_within_s
        for permit in tuple(self._outstanding):
            if self._breaker._state is not self:
                return  # decided meanwhile
            if now_s - permit.issued_at_s < within_s:
                return  # the rest is younger
            if not permit.opened:
                self._breaker.open()
                return
            del self._outstanding[permit]
            self._breaker.seat.settled(permit, Counts.SUCCESS, False)
            self._passed += 1
            self._decide()

    def issue(self, permit: Permit, alternative_ready: Callable[[], bool]) -> None:
        self._outstanding[permit] = None
        self._breaker.seat.issued(permit)

    def take_back(self, permit: Permit) -> bool:
        if permit not in self._outstanding:
            return False
        del self._outstanding[permit]
        return True

    def on_success(self) -> None:
        self._passed += 1
        self._slow += self._breaker.storage.slow
        self._decide()

    def on_failure(self, exception: Exception) -> None:
        self._failed += 1
        self._slow += self._breaker.storage.slow
        self._decide()

    def _decide(self) -> None:
        if self._breaker._state is not self or self._breaker.seat.led:
            return
        probes = Totals(self._passed + self._failed, self._failed, self._slow)
        passed = judge_probes(self._breaker.config, probes)
        if passed:
            self._breaker.close()
        elif passed is not None:
            self._breaker.open()


_STATES = {
    CircuitBreakerState.CLOSED: _Closed,
    CircuitBreakerState.OPEN: Open,
    CircuitBreakerState.HALF_OPEN: _HalfOpen,
}
