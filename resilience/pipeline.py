"""Folds the layers of one target, outermost first, around an operation.

Rule: the order is data, given by who composes; nothing here knows a layer. The last
step, inside every layer, records the attempt: only what got past every refusal is an
attempt.
"""

from collections.abc import Callable, Sequence
from functools import partial
from types import TracebackType

from resilience.call import Attempt, Call
from resilience.deadline import enter, leave
from resilience.errors import BudgetExhausted
from resilience.events import AttemptSettled
from resilience.health import Health
from resilience.outcome import Classify, Counts, classify
from resilience.policy import Operation, Policy


class Pipeline:
    """The layers of one target.

    Args:
        layers: outermost first.
        classify: how errors of the operation count.
        is_slow: whether a settled attempt counts as slow.
        health: where every attempt is recorded that was sent.
    """

    def __init__(
        self,
        layers: Sequence[Policy],
        *,
        classify: Classify = classify,
        is_slow: Callable[[Attempt], bool] | None = None,
        health: Health | None = None,
    ) -> None:
        self._innermost_first = tuple(reversed(layers))
        self._classify = classify
        self._is_slow = is_slow or _never_slow
        self._health = health

    async def execute[T](self, operation: Operation[T], call: Call) -> T:
        """Run `operation` inside every layer; if it fails, nothing stays held."""
        wrapped: Operation[T] = partial(self._send, operation)
        for layer in self._innermost_first:
            wrapped = partial(layer.execute, wrapped)
        held_before = len(call.leases)
        token = enter(call.deadline)
        try:
            return await wrapped(call)
        except BaseException as exc:  # cancelled too: leases are held
            await call.leases.release(exc, above=held_before)
            raise
        finally:
            leave(token)

    async def _send[T](self, operation: Operation[T], call: Call) -> T:
        if call.attempts_left <= 0:
            raise BudgetExhausted(call.target)  # two at once, and one was left
        attempt = call.begin_attempt()
        if self._health is not None:
            self._health.started()
        call.leases.push(partial(self._settle, call, attempt))
        opened = await operation(call)
        if attempt.first_token_at_s is None and not attempt.whole:
            attempt.first_token_at_s = call.deadline.clock.now()
        return opened

    def _settle(
        self,
        call: Call,
        attempt: Attempt,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Record how `attempt` ended: the innermost lease, which sees it first."""
        attempt.ended_at_s = call.deadline.clock.now()
        verdict = None if exc is None else self._classify(exc)
        if self._health is not None:
            counts = Counts.SUCCESS if verdict is None else verdict.counts
            self._health.settled(attempt, counts)
        call.emit(AttemptSettled(attempt, verdict, exc, self._is_slow(attempt)))


def _never_slow(attempt: Attempt) -> bool:
    return False
