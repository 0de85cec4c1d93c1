"""From k6's samples to what happened in each second and in each phase.

The rule it keeps: it counts and sorts, it judges nothing; seconds are counted from the
judge's own zero, and a call counts in the second in which it began: one that hangs is
seen where it was sent, not where its caller gave up.
"""

import json
import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from .experiments import Phase

_USED = frozenset({"call_ms", "answered_by", "breaker_state"})


@dataclass(frozen=True, slots=True)
class Sample:
    """One value of one metric."""

    metric: str
    at_s: float
    value: float
    tags: dict[str, str]


@dataclass(slots=True)
class Second:
    """What the calls of one route that began in one second were like."""

    calls: int = 0
    answered: int = 0
    latencies_ms: list[float] = field(default_factory=list)

    @property
    def success_ratio(self) -> float:
        """Share of the calls that were answered."""
        return self.answered / self.calls

    @property
    def p95_ms(self) -> float:
        """The 95th percentile of the duration of its calls."""
        return percentile(self.latencies_ms, 0.95)


@dataclass(slots=True)
class PhaseCounts:
    """What the calls of one route in one phase came to."""

    calls: int = 0
    answered: int = 0
    by_provider: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    latencies_ms: list[float] = field(default_factory=list)

    @property
    def failed(self) -> int:
        """Calls without a complete answer."""
        return self.calls - self.answered


@dataclass(frozen=True, slots=True)
class Timeline:
    """A run by route and second, by route and phase, and the breaker's states."""

    seconds: dict[str, dict[int, Second]]
    counts: dict[tuple[str, Phase], PhaseCounts]
    # (seconds from the start, 0 closed | 1 half-open | 2 open), at each change
    breaker: list[tuple[float, int]]


def percentile(values: Sequence[float], quantile: float) -> float:
    """The nearest-rank percentile; NaN of nothing."""
    if not values:
        return math.nan
    ordered = sorted(values)
    return ordered[max(0, math.ceil(quantile * len(ordered)) - 1)]


def read_samples(points: Path, started_at_ms: float) -> Iterator[Sample]:
    """The samples of k6's `--out json` that the report is made from."""
    with points.open() as lines:
        for line in lines:
            # Most lines are metrics of k6's own: not worth parsing.
            if '"type":"Point"' not in line:
                continue
            document = json.loads(line)
            if document["metric"] not in _USED:
                continue
            data = document["data"]
            at_ms = datetime.fromisoformat(data["time"]).timestamp() * 1000
            yield Sample(
                metric=document["metric"],
                at_s=(at_ms - started_at_ms) / 1000,
                value=data["value"],
                tags=data.get("tags") or {},
            )


def build(samples: Iterator[Sample]) -> Timeline:
    """Sorts samples into a time line."""
    line = Timeline(defaultdict(lambda: defaultdict(Second)), {}, [])
    for sample in samples:
        if sample.metric == "breaker_state":
            _add_state(line, sample)
        else:
            _add_call(line, sample)
    return line


def _add_state(line: Timeline, sample: Sample) -> None:
    state = int(sample.value)
    if not line.breaker or line.breaker[-1][1] != state:
        line.breaker.append((sample.at_s, state))


def _add_call(line: Timeline, sample: Sample) -> None:
    route, phase = sample.tags["route"], _phase(sample.tags["phase"])
    counts = line.counts.setdefault((route, phase), PhaseCounts())
    if sample.metric == "answered_by":
        if sample.value:
            counts.by_provider[sample.tags["provider"]] += 1
        return
    began_at_s = sample.at_s - sample.value / 1000
    second = line.seconds[route][max(0, int(began_at_s))]
    answered = sample.tags["answered"] == "true"
    counts.calls += 1
    counts.answered += answered
    counts.latencies_ms.append(sample.value)
    second.calls += 1
    second.answered += answered
    second.latencies_ms.append(sample.value)


def _phase(text: str) -> Phase:
    match text:
        case "baseline" | "fault" | "recovery":
            return text
        case _:
            raise ValueError(f"no phase: {text}")
