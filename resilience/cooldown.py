"""Keeps the pause that a throttling target asked for.

Rule: a pause belongs to one (key, model) of a provider, so to one target; it is no
failure and the breaker never hears of it. A later, shorter pause never cuts a longer
one short. Without a Retry-After the pause is our guess: it doubles with each throttled
answer in a row, up to a cap; it keeps new calls away, but not a retry, which has waited
its own backoff and is how we learn whether the guess was right.
"""

from resilience.backoff import doubled_s
from resilience.call import AttemptKind, Call
from resilience.clock import Clock
from resilience.errors import CoolingDown
from resilience.events import CooldownStarted
from resilience.outcome import Classify, Pace
from resilience.policy import Operation


class CooldownGate:
    """Refuses attempts until the target's pause is over.

    `base_s` and `cap_s` bound the pause when the target names none, in seconds;
    a named pause is kept up to `named_cap_s`, so that a broken header cannot switch
    a target off for good.
    """

    def __init__(
        self,
        target: str,
        clock: Clock,
        classify: Classify,
        *,
        base_s: float = 1.0,
        cap_s: float = 30.0,
        named_cap_s: float = 3600.0,
    ) -> None:
        self.target = target
        self._clock = clock
        self._classify = classify
        self._base_s = base_s
        self._cap_s = cap_s
        self._named_cap_s = named_cap_s
        self._named_until_s = self._guessed_until_s = clock.now()
        self._in_a_row = 0

    @property
    def remaining_s(self) -> float:
        """Seconds until the pause ends; 0 when there is none."""
        until_s = max(self._named_until_s, self._guessed_until_s)
        return max(0.0, until_s - self._clock.now())

    async def execute[T](self, operation: Operation[T], call: Call) -> T:
        """Run `operation` unless the target is cooling down.

        Raises:
            CoolingDown: the operation was not run.
        """
        remaining_s = self.remaining_s
        if remaining_s > 0 and not self._lets_through(call):
            raise CoolingDown(self.target, remaining_s)
        try:
            opened = await operation(call)
        except Exception as exc:  # only classified, and raised again
            verdict = self._classify(exc)
            if verdict.pace is Pace.THROTTLED:
                self._start(verdict.retry_after_s, call)
            raise
        self._in_a_row = 0
        return opened

    def clear(self) -> None:
        """End the pause."""
        self._named_until_s = self._guessed_until_s = self._clock.now()
        self._in_a_row = 0

    def _lets_through(self, call: Call) -> bool:
        named = self._named_until_s > self._clock.now()
        return call.kind is AttemptKind.RETRY and not named

    def _start(self, named_s: float | None, call: Call) -> None:
        # Answers that were under way together count once.
        if self.remaining_s == 0 or self._in_a_row == 0:
            self._in_a_row += 1
        now_s = self._clock.now()
        if named_s is None:
            pause_s = doubled_s(self._base_s, self._in_a_row - 1, self._cap_s)
            self._guessed_until_s = max(self._guessed_until_s, now_s + pause_s)
        else:
            pause_s = min(self._named_cap_s, named_s)
            self._named_until_s = max(self._named_until_s, now_s + pause_s)
        call.emit(CooldownStarted(self.target, pause_s))
