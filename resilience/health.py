"""The health of one target, from the same outcomes that feed its breaker.

Rule: it observes and never refuses: what refuses is the breaker. Choices between equals
(`choice.py`, `ejection.py`) and hedges (`hedge.py`) read it. Means are weighted by
time, so that the score of a quiet target does not depend on how often it is asked.
"""

from resilience.call import Attempt
from resilience.clock import Clock
from resilience.events import BreakerChanged, Event, HealthChanged, Listener, tell
from resilience.latency import Ewma, TargetLatency
from resilience.outcome import Counts
from resilience.slowness import SlownessRule
from resilience.states import BreakerState

_BY_STATE = {
    BreakerState.OPEN: 0.0,
    BreakerState.FORCED_OPEN: 0.0,
    BreakerState.HALF_OPEN: 0.5,
}


class Health:
    """How well a target does, as one score and the parts it is made of.

    The score is the product of three, each from 0 (bad) to 1 (well): the weighted share
    of successes over the last half minute or so; how far the mean times to the first
    token and per token keep to the thresholds (twice the threshold is 0.5); and what
    the breaker does.

    Args:
        clock: where the time comes from.
        target: the name for events.
        slow: the thresholds; None judges no speed.
        latency: the target's latency, recorded here.
        listener: who is told when the target goes down or comes up.
        down_below: the score below which it is down.
        up_from: the score from which a target that was down is up again.

    It hears of the breaker as the breaker's listener, which it should be one of.
    """

    def __init__(
        self,
        clock: Clock,
        target: str = "",
        *,
        slow: SlownessRule | None = None,
        latency: TargetLatency | None = None,
        listener: Listener | None = None,
        down_below: float = 0.5,
        up_from: float = 0.7,
    ) -> None:
        self.target = target
        self.latency = latency or TargetLatency(clock)
        self.in_flight = 0
        """Attempts sent and not yet settled."""
        self.up = True
        """Whether the target is well, by the thresholds."""
        self.last_success_s: float | None = None
        self.last_outcome_s: float | None = None
        """When an attempt last said something about the target; clock reading."""
        self._clock = clock
        self._slow = slow
        self._listener = listener
        self._down_below = down_below
        self._up_from = up_from
        self._availability = Ewma(clock.now(), 1.0)
        self._state = 1.0

    @property
    def availability(self) -> float:
        """Weighted share of successes."""
        return self._availability.value or 0.0

    @property
    def speed(self) -> float:
        """1 within the thresholds, less in proportion beyond."""
        if self._slow is None:
            return 1.0
        return min(
            _kept(self._slow.first_token_s, self.latency.first_token.value),
            _kept(self._slow.per_token_s, self.latency.per_token.value),
        )

    @property
    def score(self) -> float:
        """From 0 (dead) to 1 (well)."""
        return self.availability * self.speed * self._state

    @property
    def load_s(self) -> float:
        """What one more attempt would cost: peak latency times (in flight + 1), in s.

        A target nobody knows is free for the first, and out of reach for the next ones
        until that has answered (both from Finagle's PeakEwma).
        """
        peak_s = self.latency.peak_s
        if peak_s == 0 and self.in_flight:
            return _UNKNOWN_S + self.in_flight
        return peak_s * (self.in_flight + 1)

    def started(self) -> None:
        """Note that an attempt was sent."""
        self.in_flight += 1

    def settled(self, attempt: Attempt, counts: Counts) -> None:
        """Note how an attempt that was sent ended."""
        self.in_flight -= 1
        self.latency.record(attempt)
        self.record(counts)

    def record(self, counts: Counts) -> None:
        """Record how an attempt counted; neutral ones leave availability alone."""
        if counts is not Counts.NEUTRAL:
            now_s = self.last_outcome_s = self._clock.now()
            if counts is Counts.SUCCESS:
                self.last_success_s = now_s
            self._availability.record(float(counts is Counts.SUCCESS), now_s)
        self._judge()

    def on_event(self, event: Event) -> None:
        """Hear of the target's breaker."""
        if isinstance(event, BreakerChanged) and event.target == self.target:
            self._state = _BY_STATE.get(BreakerState(event.to_state), 1.0)
            self._judge()

    def _judge(self) -> None:
        score = self.score
        up = score >= (self._down_below if self.up else self._up_from)
        if up is self.up:
            return
        self.up = up
        if self._listener is not None:
            tell(self._listener, HealthChanged(self.target, up, score))


_UNKNOWN_S = 1e6


def _kept(threshold_s: float | None, mean_s: float | None) -> float:
    if threshold_s is None or mean_s is None or mean_s <= threshold_s:
        return 1.0
    return threshold_s / mean_s
