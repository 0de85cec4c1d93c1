"""The breaker's two layers: a look before the queue, a permit behind it.

Rule: `BreakerPeek` stands outside the bulkhead, so that nobody queues for a dead
target; `BreakerAdmit` inside it, so that no probe waits in a queue. The permit is a
lease, settled by how the reply closes.
"""

from collections.abc import Callable
from functools import partial
from types import TracebackType

from resilience.breaker import Breaker
from resilience.call import Attempt, Call
from resilience.errors import BreakerOpen
from resilience.events import BreakerRejected
from resilience.outcome import Classify, Counts
from resilience.permit import Permit
from resilience.policy import Operation


class BreakerPeek:
    """Turns calls away that the breaker would not admit; takes nothing."""

    def __init__(self, breaker: Breaker) -> None:
        self._breaker = breaker

    async def execute[T](self, operation: Operation[T], call: Call) -> T:
        """Run `operation` if the breaker would admit it.

        Raises:
            BreakerOpen: the operation was not run.
        """
        try:
            self._breaker.peek()
        except BreakerOpen:
            call.emit(BreakerRejected(self._breaker.target, self._breaker.state))
            raise
        return await operation(call)


class BreakerAdmit:
    """Runs an attempt under a permit that is settled when the reply closes."""

    def __init__(
        self,
        breaker: Breaker,
        classify: Classify,
        is_slow: Callable[[Attempt], bool],
    ) -> None:
        self._breaker = breaker
        self._classify = classify
        self._is_slow = is_slow

    async def execute[T](self, operation: Operation[T], call: Call) -> T:
        """Run `operation` with a permit.

        Raises:
            BreakerOpen: the operation was not run.
        """
        try:
            permit = self._breaker.admit(call.alternative_ready)
        except BreakerOpen:
            call.emit(BreakerRejected(self._breaker.target, self._breaker.state))
            raise
        call.leases.push(partial(self._settle, permit, call))
        opened = await operation(call)
        permit.opened = True
        return opened

    def _settle(
        self,
        permit: Permit,
        call: Call,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        attempt = call.attempt
        slow = attempt is not None and self._is_slow(attempt)
        if exc is None:
            permit.ok(slow=slow)
            return
        verdict = self._classify(exc)
        if verdict.counts is Counts.FAILURE:
            permit.fail(slow=slow, retry_after_s=verdict.retry_after_s)
        else:
            permit.neutral(slow=slow)
