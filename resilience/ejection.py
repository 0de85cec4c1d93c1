"""Leaves out, for a while, the targets of a group of equals that do badly.

Rule: an ejected target is asked last, not never: what refuses is its breaker. However
bad things are, no more than `max_ratio` of the group are out by their health alone, so
that the rest is not buried under the whole load; when the rest refuses, the least bad
of the ejected are asked, which is how they are probed.

After Envoy's outlier detection (`max_ejection_percent`, `base_ejection_time`): the time
out doubles with each ejection in a row, and a target that comes back is judged by what
it does from then on, not by why it went.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from resilience.backoff import doubled_s
from resilience.clock import Clock
from resilience.target import Target


@dataclass(slots=True)
class _Term:
    """One target's time out; `until_s` is when it ends, `in_a_row` how often so far."""

    until_s: float
    length_s: float
    in_a_row: int = 1


class Ejection:
    """Who of one group is out.

    Times out are seconds: `base_s`, doubled with each in a row, `cap_s` at the most.

    Raises:
        ValueError: `max_ratio` is not between 0 and 1.
    """

    def __init__(
        self,
        clock: Clock,
        *,
        max_ratio: float = 0.5,
        base_s: float = 30.0,
        cap_s: float = 300.0,
    ) -> None:
        if not 0 <= max_ratio <= 1:
            raise ValueError("a ratio of ejected targets lies between 0 and 1")
        self._clock = clock
        self._max_ratio = max_ratio
        self._base_s = base_s
        self._cap_s = cap_s
        self._terms: dict[str, _Term] = {}

    def split(
        self, targets: Sequence[Target]
    ) -> tuple[Sequence[Target], Sequence[Target]]:
        """Return who of the whole group is in, and who is out, the least bad first."""
        now_s = self._clock.now()
        if not self._terms and all(map(_well, targets)):
            return targets, ()
        out = [target for target in targets if self._is_out(target, now_s)]
        room = int(len(targets) * self._max_ratio) - len(out)
        if room > 0:
            bad = [target for target in targets if self._deserves(target, now_s)]
            for target in sorted(bad, key=_score)[:room]:
                self._eject(target.name, now_s)
                out.append(target)
        within = [target for target in targets if target not in out]
        return within, sorted(out, key=_score, reverse=True)

    def _is_out(self, target: Target, now_s: float) -> bool:
        term = self._terms.get(target.name)
        return term is not None and now_s < term.until_s

    def _deserves(self, target: Target, now_s: float) -> bool:
        """Whether it is in, does badly, and has done so since it last came back."""
        health = target.health
        if health is None or health.up:
            return False
        term = self._terms.get(target.name)
        if term is None:
            return True
        if now_s < term.until_s:
            return False
        return health.last_outcome_s is not None and health.last_outcome_s > (
            term.until_s
        )

    def _eject(self, name: str, now_s: float) -> None:
        before = self._terms.get(name)
        in_a_row = 0
        if before is not None and now_s - before.until_s <= before.length_s:
            in_a_row = before.in_a_row  # it has not stayed in for as long as it was out
        length_s = doubled_s(self._base_s, in_a_row, self._cap_s)
        self._terms[name] = _Term(now_s + length_s, length_s, in_a_row + 1)


def _well(target: Target) -> bool:
    return target.health is None or target.health.up


def _score(target: Target) -> float:
    return 1.0 if target.health is None else target.health.score
