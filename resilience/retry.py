"""Sends an attempt again to the same target: the only importer of tenacity.

Rule: the first attempt runs bare; tenacity is entered with the first failure
replayed, so that success costs nothing. A refusal is never retried; how often, how
soon and whether at all depends on the error's verdict, on whether another target
could answer instead, on the call's attempts and deadline, and last on the target's
budget. When a retry may not be made, the last real error goes on unchanged.

tenacity is handed verdicts, never the errors: it would re-raise those through frames
that hold them, a cycle that keeps whatever the error's traceback reaches alive.
"""

from dataclasses import dataclass

from tenacity import AsyncRetrying, RetryCallState, retry_if_result

from resilience.backoff import Backoff
from resilience.budget import RetryBudget
from resilience.call import AttemptKind, Call
from resilience.clock import Clock
from resilience.errors import Refused
from resilience.events import RetryBudgetExhausted, RetryScheduled
from resilience.outcome import Classify, Counts, Disposition, Pace, Verdict
from resilience.policy import Operation, run_attempt

_RETRIES_WITH_ALTERNATIVE = 1
_RETRIES_ALONE = 2
_NO_MORE = Verdict(Counts.NEUTRAL, Disposition.GIVE_UP, "no_more")


@dataclass(frozen=True, slots=True)
class _Answer[T]:
    opened: T


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
            sleep=clock.sleep,
            retry=retry_if_result(_may_be_sent_again),
            retry_error_callback=_last_outcome,
        )

    async def execute[T](self, operation: Operation[T], call: Call) -> T:
        """Run `operation`, again if its failure allows.

        Raises:
            Exception: the operation's last real error.
        """
        try:
            return await run_attempt(operation, call, call.kind)
        except Refused:
            raise
        except Exception as exc:  # judged by `classify`
            verdict = self._classify(exc)
            if verdict.disposition is not Disposition.RETRY or (
                call.kind is AttemptKind.HEDGE  # which is an extra attempt already
            ):
                raise
            retries = _Retries(self, operation, call, exc, verdict)
        return await retries.run()


class _Retries[T]:
    """The retries of one call on one target, after a first failure."""

    def __init__(
        self,
        rules: Retry,
        operation: Operation[T],
        call: Call,
        failure: BaseException,
        verdict: Verdict,
    ) -> None:
        self._rules = rules
        self._operation = operation
        self._call = call
        self._failure: BaseException | None = failure
        """The last real error; let go of before it is raised."""
        self._replay: Verdict | None = verdict
        self._booked = False
        """Whether the budget was charged for an attempt that is not sent yet."""

    async def run(self) -> T:
        """Return the answer of a retry, or raise the last real error."""
        retrying = self._rules._template.copy(
            wait=self._delay_s, stop=self._stop, before_sleep=self._announce
        )
        try:
            outcome: _Answer[T] | Verdict = await retrying(self._attempt)
            if isinstance(outcome, _Answer):
                return outcome.opened
            raise self._last_failure()
        finally:
            self._failure = None
            if self._booked:
                self._rules._budget.refund()
            retrying.iter_state.reset()  # it holds bound methods of its owner and ours

    async def _attempt(self) -> _Answer[T] | Verdict:
        if self._replay is not None:
            verdict, self._replay = self._replay, None
            return verdict
        sent_before = self._sent()
        try:
            opened = await run_attempt(self._operation, self._call, AttemptKind.RETRY)
        except Exception as exc:  # judged by `classify`
            if self._sent() == sent_before:
                return _NO_MORE  # refused or too late: the last real error stands
            self._booked, self._failure = False, exc
            return self._rules._classify(exc)
        except BaseException as exc:  # cancelled: raised outside of tenacity
            self._booked, self._failure = self._sent() == sent_before, exc
            return _NO_MORE
        self._booked = False
        return _Answer(opened)

    def _sent(self) -> int:
        """How often this target was asked: a hedge may be asking another meanwhile."""
        name = self._call.target
        return sum(attempt.target == name for attempt in self._call.attempts)

    def _last_failure(self) -> BaseException:
        assert self._failure is not None  # noqa: S101 - it ends only with an answer or a failure
        return self._failure

    def _delay_s(self, state: RetryCallState) -> float:
        return self._rules._backoff.delay_s(state.attempt_number, _verdict(state))

    def _announce(self, state: RetryCallState) -> None:
        call, reason = self._call, _verdict(state).reason
        call.emit(
            RetryScheduled(
                call.target, state.attempt_number, state.upcoming_sleep, reason
            )
        )

    def _stop(self, state: RetryCallState) -> bool:
        """Decide with the sleep already known; the budget is asked last."""
        call, verdict = self._call, _verdict(state)
        alternative = call.alternative_ready()
        allowed = _RETRIES_WITH_ALTERNATIVE if alternative else _RETRIES_ALONE
        if (
            state.attempt_number > allowed
            or call.attempts_left <= 0
            or state.upcoming_sleep >= call.deadline.remaining_s()
            or (alternative and not self._wait_rather(verdict))
        ):
            return True
        if self._rules._budget.try_withdraw():
            self._booked = True
            return False
        call.emit(RetryBudgetExhausted(call.target, verdict.reason))
        return True

    def _wait_rather(self, verdict: Verdict) -> bool:
        """Whether to ask the same target again although another could answer."""
        if verdict.pace is Pace.THROTTLED:
            named_s = verdict.retry_after_s
            return named_s is not None and named_s <= self._rules._wait_up_to_s
        return verdict.pace is Pace.TRANSIENT


def _may_be_sent_again(outcome: object) -> bool:
    return isinstance(outcome, Verdict) and outcome.disposition is Disposition.RETRY


def _verdict(state: RetryCallState) -> Verdict:
    outcome = _last_outcome(state)
    assert isinstance(outcome, Verdict)  # noqa: S101 - tenacity's hooks run after failures only
    return outcome


def _last_outcome(state: RetryCallState) -> object:
    return None if state.outcome is None else state.outcome.result()
