"""In which order the targets of a route are asked: by preference, weight or latency.

Rule: a strategy orders, and a chain asks: everyone is in the order exactly once, and
what a target refuses, or whether another is worth asking, is none of its business.
Between equals, those that would refuse come last, and before them those that are
ejected: a call is not spent on finding out what is known.
"""

import math
import random
from collections.abc import Callable, Sequence
from typing import Protocol

from resilience.ejection import Ejection
from resilience.target import Target


class Strategy(Protocol):
    """Orders the targets of a route for one call."""

    def order(self, targets: Sequence[Target]) -> Sequence[Target]:
        """Return every target once, in the order in which to ask."""
        ...


class Failover:
    """The order of the configuration: the first is preferred as long as it is ready."""

    def order(self, targets: Sequence[Target]) -> Sequence[Target]:
        """Return `targets` as they are."""
        return targets


class Weighted:
    """By lot: a target's chance to be next is its share of the weights that are left.

    Weighted sampling without replacement after Efraimidis and Spirakis ("Weighted
    random sampling with a reservoir", 2006): one exponential draw for each target. A
    weight of 0 is for last resorts. `draw` returns uniform numbers in [0, 1).
    """

    def __init__(
        self,
        ejection: Ejection | None = None,
        *,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self._ejection = ejection
        self._draw = draw

    def order(self, targets: Sequence[Target]) -> Sequence[Target]:
        """Return `targets` in the order of their lots."""
        return _between_equals(targets, self._ejection, self._by_lot)

    def _by_lot(self, targets: list[Target]) -> list[Target]:
        lots = [(self._lot(target.weight), target) for target in targets]
        lots.sort(key=_first)
        return [target for _, target in lots]

    def _lot(self, weight: float) -> float:
        if weight <= 0:
            return math.inf
        return -math.log(1.0 - self._draw()) / weight


class LeastLatency:
    """The less loaded of two at random, then again for whoever is asked next.

    The power of two choices (Mitzenmacher, 2001), compared by Finagle's peak-EWMA
    load: see `Health.load_s`. Choosing the least of all would send every call to one
    target until its estimate changes. `draw` returns uniform numbers in [0, 1).
    """

    def __init__(
        self,
        ejection: Ejection | None = None,
        *,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self._ejection = ejection
        self._draw = draw

    def order(self, targets: Sequence[Target]) -> Sequence[Target]:
        """Return `targets`, each the better of two drawn from those that are left."""
        return _between_equals(targets, self._ejection, self._by_pairs)

    def _by_pairs(self, targets: list[Target]) -> list[Target]:
        ordered = []
        while len(targets) > 1:
            one = int(self._draw() * len(targets))
            other = int(self._draw() * (len(targets) - 1))
            other += other >= one
            better = min(one, other, key=lambda at: _load_s(targets[at]))
            ordered.append(targets.pop(better))
        return ordered + targets


def _between_equals(
    targets: Sequence[Target],
    ejection: Ejection | None,
    arrange: Callable[[list[Target]], list[Target]],
) -> Sequence[Target]:
    within, out = (targets, ()) if ejection is None else ejection.split(targets)
    willing: list[Target] = []
    refusing: list[Target] = []
    for target in within:
        refusal = target.readiness.refusal()
        (willing if refusal is None else refusing).append(target)
    return [*arrange(willing), *out, *refusing]


def _first(lot: tuple[float, Target]) -> float:
    return lot[0]


def _load_s(target: Target) -> float:
    return 0.0 if target.health is None else target.health.load_s
