"""The breaker's two layers: a look before the queue, a permit behind it.

Rule: `BreakerPeek` stands outside the bulkhead, so that nobody queues for a dead
target; `BreakerAdmit` inside it, so that no probe waits in a queue. The permit is a
lease, settled by how the reply closes.
"""

from collections.abc import Callable
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
        call.leases.push(_PermitLease(permit, call, self._classify, self._is_slow))
        opened = await operation(call)
        permit.opened = True
        return opened


class _PermitLease:
    __slots__ = ("_call", "_classify", "_is_slow", "_permit")

    def __init__(
        self,
        permit: Permit,
        call: Call,
        classify: Classify,
        is_slow: Callable[[Attempt], bool],
    ) -> None:
        self._permit = permit
        self._call = call
        self._classify = classify
        self._is_slow = is_slow

    def __enter__(self) -> None:
        """Nothing: the permit was taken when it was issued."""

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        attempt = self._call.attempt
        slow = attempt is not None and self._is_slow(attempt)
        if exc is None:
            self._permit.ok(slow=slow)
            return
        verdict = self._classify(exc)
        if verdict.counts is Counts.FAILURE:
            self._permit.fail(slow=slow, retry_after_s=verdict.retry_after_s)
        else:
            self._permit.neutral(slow=slow)
