"""Gauges of each target's state, read from the live objects when Prometheus asks.

Rule: reading a breaker lets time act on its state machine, so the objects are read in
the event loop's thread only, wherever the exposition is rendered; what crosses
threads is a frozen reading.
"""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as Late
from dataclasses import dataclass
from typing import Protocol

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from app.telemetry.families import PREFIX
from resilience.breaker import Breaker, BreakerState
from resilience.budget import RetryBudget
from resilience.bulkhead import Bulkhead
from resilience.health import Health

_HEALTHY_ABOVE = 0.5
_DOWN = frozenset({BreakerState.OPEN, BreakerState.HALF_OPEN, BreakerState.FORCED_OPEN})


class TargetState(Protocol):
    """The live objects of one target; `breaker` is None where it is switched off."""

    @property
    def provider(self) -> str: ...
    @property
    def model(self) -> str: ...
    @property
    def breaker(self) -> Breaker | None: ...
    @property
    def bulkhead(self) -> Bulkhead: ...
    @property
    def health(self) -> Health: ...
    @property
    def budget(self) -> RetryBudget: ...


@dataclass(frozen=True, slots=True)
class Reading:
    """The state of one target at one moment."""

    labels: tuple[str, str]
    breaker: BreakerState | None
    shared: bool
    score: float
    in_use: int
    limit: int
    queued: int
    budget_ratio: float

    @property
    def up(self) -> bool:
        """Whether the target can be relied on: breaker not open, and in health."""
        return self.breaker not in _DOWN and self.score >= _HEALTHY_ABOVE


def read_target(state: TargetState) -> Reading:
    """Read one target, here and now."""
    return Reading(
        labels=(state.provider, state.model),
        breaker=state.breaker.state if state.breaker is not None else None,
        shared=state.breaker is not None and state.breaker.shared,
        score=state.health.score,
        in_use=state.bulkhead.in_use,
        limit=state.bulkhead.limit,
        queued=state.bulkhead.queued,
        budget_ratio=state.budget.remaining_ratio(),
    )


class TargetCollector(Collector):
    """Turns the states of `targets` into gauges at scrape time.

    A scrape in another thread asks the loop for the reading; if the loop does not
    answer within `loop_answers_within_s` seconds, the reading before is given.
    """

    def __init__(self, loop_answers_within_s: float = 1.0) -> None:
        self._within_s = loop_answers_within_s
        self._states: tuple[TargetState, ...] = ()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._last: tuple[Reading, ...] = ()

    def track(self, states: Sequence[TargetState]) -> None:
        """Read `states` from now on, instead of any before.

        Raises:
            ValueError: two of them have the same labels; Prometheus would refuse
                the whole exposition.
        """
        names = [(state.provider, state.model) for state in states]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"targets with the same provider and model: {twice}")
        self._states = tuple(states)

    def bind(self, loop: asyncio.AbstractEventLoop | None) -> None:
        """Name the loop in whose thread the targets live; None: any thread reads."""
        self._loop = loop

    def describe(self) -> Iterable[Metric]:
        """Name the families, for the registry."""
        return _families(())

    def collect(self) -> Iterable[Metric]:
        """Read every target; callable in any thread."""
        return _families(self._read())

    def _read(self) -> tuple[Reading, ...]:
        loop = self._loop
        if loop is None or not loop.is_running() or loop is _running_loop():
            return self._read_here()
        answer: Future[tuple[Reading, ...]] = Future()
        try:
            loop.call_soon_threadsafe(self._answer, answer)
        except RuntimeError:  # closed in this very moment
            return self._last
        try:
            return answer.result(timeout=self._within_s)
        except Late:
            return self._last

    def _answer(self, answer: "Future[tuple[Reading, ...]]") -> None:
        try:
            answer.set_result(self._read_here())
        except Exception as exc:  # goes to the thread that asked
            answer.set_exception(exc)

    def _read_here(self) -> tuple[Reading, ...]:
        self._last = tuple(read_target(state) for state in self._states)
        return self._last


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def _families(readings: Sequence[Reading]) -> list[Metric]:
    return [
        _gauge(
            "provider_up",
            "1 unless the breaker is open or on trial, or the score is below one half.",
            readings,
            lambda reading: float(reading.up),
        ),
        _gauge(
            "provider_health_score",
            "Successes of the last half minute, speed and breaker in one, 0 to 1.",
            readings,
            lambda reading: reading.score,
        ),
        _breaker_states(readings),
        _gauge(
            "circuit_breaker_shared",
            "Whether the breaker is shared with other replicas (1) or alone (0).",
            [reading for reading in readings if reading.breaker is not None],
            lambda reading: float(reading.shared),
        ),
        _gauge(
            "bulkhead_in_use",
            "Slots taken.",
            readings,
            lambda reading: float(reading.in_use),
        ),
        _gauge(
            "bulkhead_limit",
            "Slots there are.",
            readings,
            lambda reading: float(reading.limit),
        ),
        _gauge(
            "bulkhead_queued",
            "Attempts that wait for a slot.",
            readings,
            lambda reading: float(reading.queued),
        ),
        _budgets(readings),
    ]


def _gauge(
    name: str,
    told: str,
    readings: Sequence[Reading],
    value: Callable[[Reading], float],
) -> Metric:
    family = GaugeMetricFamily(f"{PREFIX}_{name}", told, labels=("provider", "model"))
    for reading in readings:
        family.add_metric(reading.labels, value(reading))
    return family


def _breaker_states(readings: Sequence[Reading]) -> Metric:
    family = GaugeMetricFamily(
        f"{PREFIX}_circuit_breaker_state",
        "1 for the state that the breaker is in, 0 for the others.",
        labels=("provider", "model", "state"),
    )
    for reading in readings:
        if reading.breaker is None:
            continue
        for state in BreakerState:
            family.add_metric(
                (*reading.labels, str(state)), float(state is reading.breaker)
            )
    return family


def _budgets(readings: Sequence[Reading]) -> Metric:
    family = GaugeMetricFamily(
        f"{PREFIX}_retry_budget_remaining_ratio",
        "What is left of the retry budget, 0 to 1: the least of a provider's targets.",
        labels=("provider",),
    )
    least: dict[str, float] = {}
    for reading in readings:
        provider = reading.labels[0]
        least[provider] = min(least.get(provider, 1.0), reading.budget_ratio)
    for provider, ratio in least.items():
        family.add_metric((provider,), ratio)
    return family
