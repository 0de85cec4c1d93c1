"""What happened in a run, and what can be read from it. Times: seconds since start."""

from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from math import inf
from typing import NamedTuple, Self


@dataclass(slots=True)
class Send:
    """One attempt that reached a provider, until it was answered or given up."""

    at_s: float
    call: int
    provider: str
    until_s: float = inf


class Request(NamedTuple):
    """One request of a client, at its end."""

    began_s: float
    took_s: float
    answered: bool


class Change(NamedTuple):
    """A breaker of one replica entered a state."""

    at_s: float
    replica: str
    state: str


@dataclass
class Diary:
    """A run, written down."""

    replicas: int
    sends: dict[str, list[Send]]
    """By provider."""
    requests: dict[tuple[str, ...], list[Request]]
    """By route."""
    changes: dict[str, list[Change]]
    """By provider."""
    sharing: list[tuple[float, bool]] = field(default_factory=list)

    @classmethod
    def of(
        cls,
        replicas: int,
        providers: Collection[str],
        routes: Collection[tuple[str, ...]],
    ) -> Self:
        """An empty one."""
        return cls(
            replicas,
            sends={one: [] for one in providers},
            requests={one: [] for one in routes},
            changes={one: [] for one in providers},
        )

    # --- requests

    def asked(
        self, route: tuple[str, ...], from_s: float, to_s: float
    ) -> list[Request]:
        """The route's requests that began in between."""
        return [one for one in self.requests[route] if from_s <= one.began_s < to_s]

    def success(self, route: tuple[str, ...], from_s: float, to_s: float) -> float:
        """The share that was answered."""
        asked = self.asked(route, from_s, to_s)
        return sum(one.answered for one in asked) / len(asked)

    def worst_success(
        self, route: tuple[str, ...], from_s: float, to_s: float, span_s: float = 10.0
    ) -> float:
        """The smallest share that was answered in any span."""
        spans = range(int(from_s), int(to_s - span_s) + 1)
        return min(self.success(route, at_s, at_s + span_s) for at_s in spans)

    def latency_s(
        self, route: tuple[str, ...], from_s: float, to_s: float, quantile: float
    ) -> float:
        """A quantile of how long answers took."""
        took = sorted(
            one.took_s for one in self.asked(route, from_s, to_s) if one.answered
        )
        return took[int(quantile * (len(took) - 1))]

    # --- attempts

    def sent(self, provider: str, from_s: float, to_s: float) -> list[Send]:
        """What the provider got."""
        return [one for one in self.sends[provider] if from_s <= one.at_s < to_s]

    def bursts(
        self, provider: str, from_s: float, to_s: float, apart_s: float
    ) -> list[list[Send]]:
        """What the provider got, in groups with at least `apart_s` in between."""
        groups: list[list[Send]] = []
        for one in self.sent(provider, from_s, to_s):
            if groups and one.at_s - groups[-1][-1].at_s < apart_s:
                groups[-1].append(one)
            else:
                groups.append([one])
        return groups

    # --- breakers

    def states(self, provider: str) -> Iterator[tuple[float, Counter[str]]]:
        """After each change, how many of the provider's breakers are in which state."""
        now = Counter({"closed": self.replicas})
        of: dict[str, str] = {}
        yield 0.0, now.copy()
        for change in self.changes[provider]:
            now[of.get(change.replica, "closed")] -= 1
            now[change.state] += 1
            of[change.replica] = change.state
            yield change.at_s, now.copy()

    def states_at(self, provider: str, at_s: float) -> Counter[str]:
        """How many of the provider's breakers were in which state."""
        seen = [states for since_s, states in self.states(provider) if since_s <= at_s]
        return seen[-1]

    def contained_s(self, provider: str, from_s: float) -> float | None:
        """When no breaker of the provider was closed, for the first time."""
        return self._first(provider, from_s, lambda closed: closed == 0)

    def reopened_to_some_s(self, provider: str, from_s: float) -> float | None:
        """When any breaker of the provider was closed, for the first time."""
        return self._first(provider, from_s, lambda closed: closed > 0)

    def recovered_s(self, provider: str, from_s: float) -> float | None:
        """When every breaker of the provider was closed, for the first time."""
        return self._first(provider, from_s, lambda closed: closed == self.replicas)

    def _first(self, provider, from_s, is_so):  # type: ignore[no-untyped-def]  # see callers
        steps = list(self.states(provider))
        ends = [since_s for since_s, _ in steps[1:]] + [inf]
        for (since_s, states), until_s in zip(steps, ends, strict=True):
            if until_s > from_s and is_so(states["closed"]):
                return max(since_s, from_s)
        return None


def most_at_once(sends: list[Send]) -> int:
    """How many were under way at the same time."""
    edges = [(one.at_s, 1) for one in sends] + [(one.until_s, -1) for one in sends]
    most = now = 0
    for _, step in sorted(edges):
        now += step
        most = max(most, now)
    return most
