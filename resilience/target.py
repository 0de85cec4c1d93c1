"""One place that can answer, as a chain, its strategy and its hedge see it.

Rule: values and references only; who is asked, and when, is decided elsewhere.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from resilience.budget import RetryBudget
from resilience.errors import Refused
from resilience.health import Health
from resilience.policy import Policy


class Readiness(Protocol):
    """Whether a target would take an attempt now."""

    def refusal(self) -> Refused | None:
        """Return why not, or None if it would."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Target:
    """One place that can answer: a name, its layers, and what it declares.

    `context_window` is in tokens; None when it is not declared. `weight` is its share
    of a weighted route, 0 for a target of last resort. `health` is what its pipeline
    records into, and `budget` the account that hedges onto it draw on; without them it
    is not chosen by latency, not ejected, not hedged, and its deadline not foreseen.
    """

    name: str
    pipeline: Policy
    readiness: Readiness
    context_window: int | None = None
    weight: float = 1.0
    health: Health | None = None
    budget: RetryBudget | None = None

    @property
    def typical_s(self) -> float | None:
        """The median time to the first token; None when it is not known."""
        return None if self.health is None else self.health.latency.typical_s

    @property
    def tail_s(self) -> float | None:
        """The time to the first token beyond which it is late; None if not known."""
        return None if self.health is None else self.health.latency.tail_s

    def holds_more_than(self, tokens: int | None) -> bool:
        """Whether the declared window is larger; None asks for nothing."""
        return tokens is None or (self.context_window or 0) > tokens


class Others:
    """Who could be asked instead, out of the targets that a call has not asked yet.

    `rest` is the chain's own list; `too_small` a context window that did not do.
    """

    __slots__ = ("_rest", "_too_small")

    def __init__(self, rest: list[Target], too_small: int | None) -> None:
        self._rest = rest
        self._too_small = too_small

    def __call__(self) -> bool:
        """Whether one of them is ready, whenever that is asked."""
        return self.next_ready() is not None

    def next_ready(self) -> Target | None:
        """Return the first that would take an attempt now, or None."""
        return next(ready(self._rest, self._too_small), None)

    def take(self, target: Target) -> None:
        """Ask `target` now, so that nobody else does for this call."""
        self._rest.remove(target)


def ready(targets: Sequence[Target], too_small: int | None) -> Iterator[Target]:
    """Yield those of `targets` that would take an attempt now."""
    for target in targets:
        if target.holds_more_than(too_small) and target.readiness.refusal() is None:
            yield target
