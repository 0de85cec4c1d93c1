"""Sends an attempt again to the same target: the only importer of tenacity.

Rule: the first attempt runs bare; tenacity is entered with the first failure
replayed, so that success costs nothing. A refusal is never retried; how often, how
soon and whether at all depends on the error's verdict, on whether another target
could answer instead, on the call's attempts and deadline, and last on the target's
budget. When a retry may not be made, the last real error goes on unchanged.
"""

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception

from resilience.backoff import Backoff
from resilience.budget import RetryBudget
from resilience.call import AttemptKind, Call
from resilience.clock import Clock
from resilience.errors import Refused
from resilience.events import RetryBudgetExhausted, RetryScheduled
from resilience.outcome import Classify, Disposition, Pace, Verdict
from resilience.policy import Operation, run_attempt

_RETRIES_WITH_ALTERNATIVE = 1
_RETRIES_ALONE = 2


class Retry:
    """Retries on one target.

    `wait_up_to_s`: how long a pause named by a throttling target is sat out although
    another target could answer.
    """

    def __init__(
        self,
        clock: Clock,
        backoff: Backoff,
        budget: RetryBudget,
        classify: Classify,
        *,
        wait_up_to_s: float = 2.0,
    ) -> None:
        self._backoff = backoff
        self._budget = budget
        self._classify = classify
        self._wait_up_to_s = wait_up_to_s
        # Copied for every use: a shared instance is unsafe under concurrency.
        self._template = AsyncRetrying(
            sleep=clock.sleep, retry=retry_if_exception(self._worth_it), reraise=True
        )

    async def execute[T](self, operation: Operation[T], call: Call) -> T:
        """Run `operation`, again if its failure allows.

        Raises:
            Exception: the operation's last real error.
        """
        try:
            return await run_attempt(operation, call, call.kind)
        except Exception as exc:
            if not self._worth_it(exc):
                raise
            first = exc
        return await self._retry(operation, call, first)

    async def _retry[T](
        self, operation: Operation[T], call: Call, first: Exception
    ) -> T:
        replay: Exception | None = first
        last_real = first

        async def attempt() -> T:
            nonlocal replay, last_real
            if replay is not None:
                failure, replay = replay, None
                raise failure
            sent_before = len(call.attempts)
            try:
                return await run_attempt(operation, call, AttemptKind.RETRY)
            except Refused:
                if len(call.attempts) == sent_before:
                    self._budget.refund()
                raise last_real from None
            except Exception as exc:
                last_real = exc
                raise

        def delay_s(state: RetryCallState) -> float:
            return self._backoff.delay_s(state.attempt_number, self._verdict(state))

        def stop(state: RetryCallState) -> bool:
            return not self._may_retry(call, self._verdict(state), state)

        def announce(state: RetryCallState) -> None:
            reason = self._verdict(state).reason
            call.emit(
                RetryScheduled(
                    call.target, state.attempt_number, state.upcoming_sleep, reason
                )
            )

        retrying = self._template.copy(wait=delay_s, stop=stop, before_sleep=announce)
        result: T = await retrying(attempt)
        return result

    def _worth_it(self, exc: BaseException) -> bool:
        if not isinstance(exc, Exception):
            return False
        return self._classify(exc).disposition is Disposition.RETRY

    def _verdict(self, state: RetryCallState) -> Verdict:
        exc = state.outcome.exception() if state.outcome else None
        if exc is None:
            raise RuntimeError("tenacity asked about an attempt that did not fail")
        return self._classify(exc)

    def _may_retry(self, call: Call, verdict: Verdict, state: RetryCallState) -> bool:
        """Decide with the sleep already known; the budget is asked last."""
        alternative = call.alternative_ready()
        allowed = _RETRIES_WITH_ALTERNATIVE if alternative else _RETRIES_ALONE
        if (
            state.attempt_number > allowed
            or call.attempts_left <= 0
            or state.upcoming_sleep >= call.deadline.remaining_s()
            or (alternative and not self._wait_rather(verdict))
        ):
            return False
        if self._budget.try_withdraw():
            return True
        call.emit(RetryBudgetExhausted(call.target, verdict.reason))
        return False

    def _wait_rather(self, verdict: Verdict) -> bool:
        """Whether to ask the same target again although another could answer."""
        match verdict.pace:
            case Pace.TRANSIENT:
                return True
            case Pace.OVERLOADED:
                return False
            case Pace.THROTTLED:
                named_s = verdict.retry_after_s
                return named_s is not None and named_s <= self._wait_up_to_s
