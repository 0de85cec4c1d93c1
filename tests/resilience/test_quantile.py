"""A latency quantile: close to the truth, of the last minute, silent until it knows."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resilience.quantile import LatencySketch
from resilience.testing import ManualClock

latencies_s = st.floats(0.001, 900.0)
steps = st.lists(st.one_of(latencies_s, st.just("wait"), st.just("look")), max_size=200)


class NaiveQuantile:
    """The same from a list of dated samples."""

    def __init__(self, quantile: float, half_s: float) -> None:
        self._quantile, self._half_s = quantile, half_s
        self._samples: list[tuple[int, float]] = []

    def record(self, now_s: float, latency_s: float) -> None:
        self._samples.append((int(now_s // self._half_s), latency_s))

    def value_s(self, now_s: float, min_samples: int) -> float | None:
        oldest = int(now_s // self._half_s) - 1
        kept = sorted(latency for half, latency in self._samples if half >= oldest)
        if len(kept) < min_samples:
            return None
        return kept[math.ceil(self._quantile * len(kept)) - 1]


class Sketch:
    """A sketch on a clock, with its tracked quantiles."""

    def __init__(
        self, clock: ManualClock, *quantiles: float, min_samples: int = 20
    ) -> None:
        self._clock = clock
        self._sketch = LatencySketch(min_samples=min_samples)
        self._tracked = [self._sketch.track(quantile) for quantile in quantiles]

    def record(self, *latencies_s: float) -> None:
        for latency_s in latencies_s:
            self._sketch.record(latency_s, self._clock.now())

    @property
    def values_s(self) -> list[float | None]:
        return [one.value_s(self._clock.now()) for one in self._tracked]


@given(
    quantiles=st.lists(st.sampled_from([0.01, 0.5, 0.95, 1.0]), min_size=1, max_size=3),
    min_samples=st.sampled_from([0, 1, 5]),
    wait_s=st.sampled_from([1.0, 29.0, 31.0, 61.0]),
    steps=steps,
)
def test_it_agrees_with_a_sorted_list_to_five_percent(
    quantiles: list[float], min_samples: int, wait_s: float, steps: list[float | str]
) -> None:
    clock = ManualClock()
    sketch = Sketch(clock, *quantiles, min_samples=min_samples)
    naive = [NaiveQuantile(quantile, 30.0) for quantile in quantiles]
    for step in [*steps, "look"]:
        if isinstance(step, float):
            sketch.record(step)
            for one in naive:
                one.record(clock.now(), step)
        elif step == "wait":
            clock.advance(wait_s)
        else:
            expected = [one.value_s(clock.now(), max(1, min_samples)) for one in naive]
            assert sketch.values_s == [
                known_s and pytest.approx(known_s, rel=0.05) for known_s in expected
            ]


def test_it_is_silent_below_twenty_samples(clock: ManualClock) -> None:
    sketch = Sketch(clock, 0.95)
    sketch.record(*[0.2] * 19)
    assert sketch.values_s == [None]

    sketch.record(0.2)

    assert sketch.values_s == [pytest.approx(0.2, rel=0.05)]


def test_a_change_of_the_target_shows_in_full_within_a_minute(
    clock: ManualClock,
) -> None:
    sketch = Sketch(clock, 0.5, 0.95)
    for latency_s in (5.0, 0.5):
        for _ in range(600):
            clock.advance(0.1)
            sketch.record(latency_s)

        assert sketch.values_s == [pytest.approx(latency_s, rel=0.05)] * 2


def test_what_nobody_adds_to_is_forgotten_in_a_minute(clock: ManualClock) -> None:
    sketch = Sketch(clock, 0.5)
    sketch.record(*[0.2] * 100)

    clock.advance(60.0)

    assert sketch.values_s == [None]


@pytest.mark.parametrize(("latency_s", "told_s"), [(0.0, 0.001), (1e6, 1000.0)])
def test_what_is_out_of_range_counts_at_its_end(
    clock: ManualClock, latency_s: float, told_s: float
) -> None:
    sketch = Sketch(clock, 0.5, min_samples=1)

    sketch.record(latency_s)

    assert sketch.values_s == [pytest.approx(told_s, rel=0.1)]


@pytest.mark.parametrize("quantile", [0.0, 1.1])
def test_a_quantile_is_a_share(quantile: float) -> None:
    with pytest.raises(ValueError, match="at most 1"):
        LatencySketch().track(quantile)
