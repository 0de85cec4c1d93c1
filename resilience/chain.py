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

    def holds_more_than(self, tokens: int | None) -> bool:
        """Whether the declared window is larger; None asks for nothing."""
        return tokens is None or (self.context_window or 0) > tokens


type _Causes = list[tuple[str, BaseException]]


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
        causes: _Causes = []
        try:
            return await self._first_answer(operation, call, causes)
        finally:
            # The errors' tracebacks hold these frames; the frames let go of them.
            causes.clear()

    async def _first_answer[T](
        self, operation: Operation[T], call: Call, causes: _Causes
    ) -> T:
        too_small: int | None = None
        for position, target in enumerate(self._targets):
            later = self._targets[position + 1 :]
            if not target.holds_more_than(too_small) or self._skips(
                target, call, causes
            ):
                continue
            call.target = target.name
            call.kind = AttemptKind.FALLBACK if position else AttemptKind.PRIMARY
            call.alternative_ready = _AnyReady(later, too_small)
            self._announce(target, call, causes)
            try:
                return await target.pipeline.execute(operation, call)
            except Exception as exc:
                causes.append((target.name, exc))
                verdict = self._classify(exc)
                if verdict.condition is Condition.LARGER_CONTEXT:
                    too_small = target.context_window or 0
                if not _worth_another(verdict, later, too_small):
                    raise
        raise ChainExhausted(causes)

    def _skips(self, target: Target, call: Call, causes: _Causes) -> bool:
        refusal: Refused | None = None
        if call.attempts_left <= 0:
            refusal = BudgetExhausted(target.name)
        else:
            refusal = target.readiness.refusal()
        if refusal is None:
            return False
        causes.append((target.name, refusal))
        call.emit(TargetSkipped(target.name, refusal.reason))
        return True

    def _announce(self, target: Target, call: Call, causes: _Causes) -> None:
        if causes:
            name, cause = causes[-1]
            reason = self._classify(cause).reason
            call.emit(FallbackSelected(name, target.name, reason))


class _AnyReady:
    """Whether one of `targets` could be asked instead, whenever that is asked."""

    __slots__ = ("_targets", "_too_small")

    def __init__(self, targets: Sequence[Target], too_small: int | None) -> None:
        self._targets = targets
        self._too_small = too_small

    def __call__(self) -> bool:
        return any(
            target.holds_more_than(self._too_small)
            and target.readiness.refusal() is None
            for target in self._targets
        )


def _worth_another(
    verdict: Verdict, later: Sequence[Target], too_small: int | None
) -> bool:
    if verdict.disposition is Disposition.GIVE_UP:
        return False
    if verdict.condition is not Condition.LARGER_CONTEXT:
        return True
    return any(target.holds_more_than(too_small) for target in later)
