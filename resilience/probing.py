"""Asks an open target by itself, so that its recovery needs no user's call.

Rule: a probe takes the breaker's own half-open permits, no more of them than the
breaker gives and none before its open time is over, and its outcome counts like any
attempt's. A closed breaker is never probed, nor one that an operator has forced. The
task is the caller's: `await prober.run()`, cancelled when it is to end.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable

from resilience.breaker import Breaker, BreakerState
from resilience.call import Attempt, AttemptKind
from resilience.clock import Clock
from resilience.errors import FirstTokenTimeout
from resilience.events import (
    AttemptSettled,
    AttemptStarted,
    Listener,
    Silent,
    tell,
)
from resilience.outcome import Classify, Counts, Verdict
from resilience.outcome import classify as classify_own
from resilience.permit import Permit


class Prober:
    """Sends probes to one target while its breaker is open.

    Args:
        breaker: whose permits it takes.
        probe: asks the target something small; raises if there is no answer.
        clock: paces the probes.
        interval_s: seconds between looks, ± `jitter` so that replicas differ. After a
            probe that passed, the next follows at once, up to the breaker's verdict.
        within_s: seconds until a silent probe has failed.
        classify: how errors of `probe` count.
        is_slow: whether a probe, which has no first token, was slow by its duration.
        listener: is told of each probe as of an attempt, of kind PROBE.
        jitter: the share by which an interval varies.
        uniform: draws a number from a range.
    """

    def __init__(
        self,
        breaker: Breaker,
        probe: Callable[[], Awaitable[None]],
        clock: Clock,
        *,
        interval_s: float = 10.0,
        within_s: float = 10.0,
        classify: Classify = classify_own,
        is_slow: Callable[[Attempt], bool] = lambda attempt: False,
        listener: Listener | None = None,
        jitter: float = 0.2,
        uniform: Callable[[float, float], float] = random.uniform,
    ) -> None:
        self._breaker = breaker
        self._probe = probe
        self._clock = clock
        self._interval_s = interval_s
        self._within_s = within_s
        self._classify = classify
        self._is_slow = is_slow
        self._listener = listener or Silent()
        self._jitter = jitter
        self._uniform = uniform
        self._sent = 0

    async def run(self) -> None:
        """Probe until cancelled; a failing probe never ends it."""
        while True:
            spread = self._uniform(1 - self._jitter, 1 + self._jitter)
            await self._clock.sleep(self._interval_s * spread)
            while await self._passes():
                pass  # the breaker decides how many it wants to see

    async def _passes(self) -> bool:
        """Send one probe if the breaker wants one; whether it had an answer."""
        breaker = self._breaker
        open_or_half = (BreakerState.OPEN, BreakerState.HALF_OPEN)
        if breaker.state not in open_or_half or not breaker.ready:
            return False
        permit = breaker.admit()
        self._sent += 1
        attempt = Attempt(
            breaker.target, self._sent, AttemptKind.PROBE, self._clock.now()
        )
        tell(self._listener, AttemptStarted(attempt))
        try:
            await self._ask()
        except Exception as exc:  # whatever it is, it is the probe's verdict
            self._settle(permit, attempt, exc)
            return False
        except BaseException as exc:  # cancelled: the permit is held
            self._settle(permit, attempt, exc)
            raise
        self._settle(permit, attempt, None)
        return True

    async def _ask(self) -> None:
        try:
            async with asyncio.timeout(self._within_s) as scope:
                await self._probe()
        except TimeoutError:
            if not scope.expired():
                raise  # the probe's own
        else:
            return
        raise FirstTokenTimeout(self._within_s)

    def _settle(
        self, permit: Permit, attempt: Attempt, error: BaseException | None
    ) -> None:
        attempt.ended_at_s = self._clock.now()
        slow = self._is_slow(attempt)
        verdict: Verdict | None = None
        if error is None:
            permit.ok(slow=slow)
        else:
            verdict = self._classify(error)
            if verdict.counts is Counts.FAILURE:
                permit.fail(slow=slow, retry_after_s=verdict.retry_after_s)
            else:
                permit.neutral(slow=slow)
        tell(self._listener, AttemptSettled(attempt, verdict, error, slow))
