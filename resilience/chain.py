"""Asks the targets of a route, and gathers why each did not answer.

Rule: a target that would refuse is skipped without spending an attempt; an error that
another target cannot mend goes to the caller as itself; only when nothing is left to
try does the chain fail, with every target's cause. In which order they are asked is
the strategy's business, whether two at once the hedge's. The operation learns from
`call.target` whom to ask.
"""

import math
from collections.abc import Sequence, Set

from resilience.call import AttemptKind, Call
from resilience.choice import Failover, Strategy
from resilience.errors import (
    BudgetExhausted,
    ChainExhausted,
    DeadlineExceeded,
    Refused,
)
from resilience.events import DeadlineForeseen, FallbackSelected, TargetSkipped
from resilience.hedge import Failures, Hedge
from resilience.outcome import Classify, Condition, Disposition, Verdict
from resilience.policy import Operation
from resilience.target import Others, Readiness, Target, ready

__all__ = ["Chain", "Readiness", "Target"]

type _Causes = list[tuple[str, BaseException]]


class Chain:
    """The targets of a route, in the order of preference.

    Args:
        targets: who can answer.
        classify: what their errors mean.
        strategy: in which order they are asked; `Failover` if not given.
        hedge: asks a second one when one is late; None never does.
        goes_past: after which conditional errors this route may go on at all. Each of
            them still demands of the next target what the condition says.

    Raises:
        ValueError: there are no targets.
    """

    def __init__(
        self,
        targets: Sequence[Target],
        classify: Classify,
        *,
        strategy: Strategy | None = None,
        hedge: Hedge | None = None,
        goes_past: Set[Condition] = frozenset({Condition.LARGER_CONTEXT}),
    ) -> None:
        if not targets:
            raise ValueError("a chain has at least one target")
        self._targets = tuple(targets)
        self._classify = classify
        self._strategy = strategy or Failover()
        self._hedge = hedge
        self._goes_past = goes_past | {Condition.NONE}

    async def execute[T](self, operation: Operation[T], call: Call) -> T:
        """Run `operation` on the first target that answers.

        Raises:
            ChainExhausted: no target answered.
            DeadlineExceeded: the deadline came, or none can be expected to answer
                before it does.
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
        rest = list(self._strategy.order(self._targets))
        first, too_small = rest[0], None
        while rest:
            self._foresee(rest, too_small, call, causes)
            target = rest.pop(0)
            if not target.holds_more_than(too_small) or self._skips(
                target, call, causes
            ):
                continue
            call.target = target.name
            call.kind = AttemptKind.PRIMARY if target is first else AttemptKind.FALLBACK
            others = Others(rest, too_small)
            call.alternative_ready = others
            self._announce(target, call, causes)
            failed: Failures = []
            try:
                if self._hedge is None:
                    return await target.pipeline.execute(operation, call)
                return await self._hedge.execute(
                    operation, call, target, others, failed
                )
            except Exception as exc:  # judged by `classify`, and kept as a cause
                failed.insert(0, (target, exc))
                too_small, final = self._note(failed, rest, too_small, causes)
            finally:
                failed.clear()
            if final is not None:
                raise causes[final][1]
        raise ChainExhausted(causes)

    def _note(
        self,
        failed: Failures,
        rest: Sequence[Target],
        too_small: int | None,
        causes: _Causes,
    ) -> tuple[int | None, int | None]:
        """Note one failure after the other, as if each had been the only one asked.

        Returns the context window that is too small, and which of `causes` ends the
        chain, if one does.
        """
        for position, (target, exc) in enumerate(failed):
            causes.append((target.name, exc))
            verdict = self._classify(exc)
            if verdict.condition is Condition.LARGER_CONTEXT:
                too_small = max(too_small or 0, target.context_window or 0)
            later = [other for other, _ in failed[position + 1 :]]
            if not self._worth_another(verdict, [*later, *rest], too_small):
                return too_small, len(causes) - 1
        return too_small, None

    def _worth_another(
        self, verdict: Verdict, later: Sequence[Target], too_small: int | None
    ) -> bool:
        if verdict.disposition is Disposition.GIVE_UP:
            return False
        if verdict.condition not in self._goes_past:
            return False
        if verdict.condition is not Condition.LARGER_CONTEXT:
            return True
        return any(target.holds_more_than(too_small) for target in later)

    def _foresee(
        self,
        rest: Sequence[Target],
        too_small: int | None,
        call: Call,
        causes: _Causes,
    ) -> None:
        """Give up at once if not even the fastest can be expected to answer in time.

        One of whom nothing is known might. Since estimates end with their window,
        nobody is refused on old evidence for longer than that.
        """
        typical_s = rest[0].typical_s
        if typical_s is None:
            return
        remaining_s = call.deadline.remaining_s()
        if typical_s <= remaining_s:
            return
        fastest_s = math.inf
        for target in ready(rest, too_small):
            typical_s = target.typical_s
            if typical_s is None:
                return
            fastest_s = min(fastest_s, typical_s)
        if fastest_s <= remaining_s or fastest_s == math.inf:
            return
        call.emit(DeadlineForeseen(remaining_s, fastest_s))
        raise DeadlineExceeded(remaining_s) from (causes[-1][1] if causes else None)

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
