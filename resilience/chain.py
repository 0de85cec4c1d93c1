"""Tries the targets of a route, and gathers why each did not answer.

Rule: a target that would refuse is skipped without spending an attempt; an error that
another target cannot mend goes to the caller as itself; only when nothing is left to
try does the chain fail, with every target's cause. The operation learns from
`call.target` whom to ask.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from resilience.call import AttemptKind, Call
from resilience.errors import BudgetExhausted, ChainExhausted, Refused
from resilience.events import FallbackSelected, TargetSkipped
from resilience.outcome import Classify, Condition, Disposition, Verdict
from resilience.policy import Operation, Policy


class Readiness(Protocol):
    """Whether a target would take an attempt now."""

    def refusal(self) -> Refused | None:
        """Return why not, or None if it would."""
        ...


@dataclass(frozen=True, slots=True)
class Target:
    """One place that can answer: a name, its layers, and what it declares.

    `context_window` is in tokens; None when it is not declared.
    """

    name: str
    pipeline: Policy
    readiness: Readiness
    context_window: int | None = None


class Chain:
    """The targets of a route, in the order of preference."""

    def __init__(self, targets: Sequence[Target], classify: Classify) -> None:
        if not targets:
            raise ValueError("a chain has at least one target")
        self._targets = tuple(targets)
        self._classify = classify

    async def execute[T](self, operation: Operation[T], call: Call) -> T:
        """Run `operation` on the first target that answers.

        Raises:
            ChainExhausted: no target answered.
            Exception: an error that no further target could mend, unchanged.
        """
        causes: list[tuple[str, BaseException]] = []
        minimum_window = 0
        for position, target in enumerate(self._targets):
            if minimum_window and (target.context_window or 0) <= minimum_window:
                continue
            refusal = self._refusal(target, call)
            if refusal is not None:
                causes.append((target.name, refusal))
                call.emit(TargetSkipped(target.name, refusal.reason))
                continue
            self._select(target, position, call, causes)
            try:
                return await target.pipeline.execute(operation, call)
            except Exception as exc:
                causes.append((target.name, exc))
                verdict = self._classify(exc)
                if not self._worth_another(verdict, target, position):
                    raise
                if verdict.condition is Condition.LARGER_CONTEXT:
                    minimum_window = target.context_window or 0
        raise ChainExhausted(causes)

    def _select(
        self,
        target: Target,
        position: int,
        call: Call,
        causes: list[tuple[str, BaseException]],
    ) -> None:
        call.target = target.name
        call.kind = AttemptKind.PRIMARY if position == 0 else AttemptKind.FALLBACK
        later = self._targets[position + 1 :]
        call.alternative_ready = lambda: any(
            other.readiness.refusal() is None for other in later
        )
        if causes:
            name, cause = causes[-1]
            reason = self._classify(cause).reason
            call.emit(FallbackSelected(name, target.name, reason))

    def _refusal(self, target: Target, call: Call) -> Refused | None:
        if call.attempts_left <= 0:
            return BudgetExhausted(target.name)
        return target.readiness.refusal()

    def _worth_another(self, verdict: Verdict, target: Target, position: int) -> bool:
        if verdict.disposition is Disposition.GIVE_UP:
            return False
        if verdict.condition is not Condition.LARGER_CONTEXT:
            return True
        window = target.context_window or 0
        return any(
            (other.context_window or 0) > window
            for other in self._targets[position + 1 :]
        )
