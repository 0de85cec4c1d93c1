"""The report: what is counted from k6's samples, and what the page says of it."""

import json
import re
import socket
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from scripts.chaos.experiments import Variant, all_experiments
from scripts.chaos.judge import Outcome, Verdict, read_verdict
from scripts.chaos.report import Run, limit_text, measured_text, page
from scripts.chaos.stack import Ports
from scripts.chaos.starvation import STARVED_ABOVE, Starvation
from scripts.chaos.timeline import build, percentile, read_samples
from scripts.processes import HarnessFailed

STARTED_AT_MS = 1_000_000.0


def point(metric: str, at_s: float, value: float, **tags: str) -> str:
    """A line as k6's `--out json` writes it, with nanoseconds."""
    at = datetime.fromtimestamp(STARTED_AT_MS / 1000 + at_s, UTC)
    data = {
        "time": f"{at:%Y-%m-%dT%H:%M:%S.%f}000Z",
        "value": value,
        "tags": tags,
    }
    return json.dumps(
        {"metric": metric, "type": "Point", "data": data}, separators=(",", ":")
    )


@pytest.fixture
def points(tmp_path: Path) -> Path:
    lines = [
        '{"type":"Metric","data":{"name":"call_ms"},"metric":"call_ms"}',
        point("call_ms", 0.9, 100, route="chat", phase="baseline", answered="true"),
        point("call_ms", 3.9, 3000, route="chat", phase="fault", answered="false"),
        point("call_ms", 1.3, 150, route="chat", phase="fault", answered="true"),
        point("answered_by", 0.9, 1, route="chat", phase="baseline", provider="alpha"),
        point("answered_by", 0.9, 0, route="chat", phase="baseline", provider="beta"),
        point("breaker_state", 0.0, 0, provider="alpha"),
        point("breaker_state", 1.0, 2, provider="alpha"),
        point("breaker_state", 1.25, 2, provider="alpha"),
        point("http_reqs", 1.0, 1, url="unused"),
    ]
    path = tmp_path / "points.json"
    path.write_text("\n".join(lines) + "\n")
    return path


def criterion(**changed: Any) -> dict[str, Any]:
    return {
        "group": "hypothesis",
        "id": "chat-survives",
        "says": "Route chat is answered by <B>",
        "measure": "answered_by",
        "measured": 0.995,
        "limit": "≥ 0.99",
        "ok": True,
        "samples": 150,
        "samples_needed": 135,
        **changed,
    }


def verdict(outcome: Outcome, variant: Variant, **changed: Any) -> Verdict:
    return Verdict.model_validate(
        {
            "experiment": "provider-black-hole",
            "number": 3,
            "variant": variant,
            "profile": "ci",
            "verdict": outcome,
            "aborted": False,
            "phases": {"injectAt": 1, "clearAt": 4, "end": 6},
            "started_at_ms": STARTED_AT_MS,
            "criteria": [criterion(**changed)],
        }
    )


def run_of(points: Path, outcome: Outcome, variant: Variant, **changed: Any) -> Run:
    (experiment,) = (each for each in all_experiments() if each.number == 3)
    expected = Outcome.HELD if variant is Variant.PROTECTED else Outcome.REFUTED
    timeline = build(read_samples(points, STARTED_AT_MS))
    told = verdict(outcome, variant, **changed)
    return Run(experiment, variant, expected, told, timeline)


def test_a_call_counts_in_the_second_in_which_it_was_sent(points: Path) -> None:
    seconds = build(read_samples(points, STARTED_AT_MS)).seconds["chat"]
    assert {at: each.calls for at, each in seconds.items()} == {0: 2, 1: 1}
    assert (seconds[0].success_ratio, seconds[1].success_ratio) == (0.5, 1.0)


def test_counts_are_kept_by_route_and_phase(points: Path) -> None:
    counts = build(read_samples(points, STARTED_AT_MS)).counts
    assert counts["chat", "baseline"].by_provider == {"alpha": 1}
    fault = counts["chat", "fault"]
    assert (fault.calls, fault.answered, fault.failed) == (2, 1, 1)


def test_the_breaker_is_kept_as_its_changes(points: Path) -> None:
    changes = build(read_samples(points, STARTED_AT_MS)).breaker
    assert [state for _, state in changes] == [0, 2]
    assert [at for at, _ in changes] == pytest.approx([0.0, 1.0], abs=0.001)


@pytest.mark.parametrize(
    ("values", "quantile", "expected"),
    [([1.0], 0.95, 1.0), ([1.0, 2.0], 0.5, 1.0), ([*range(1, 101)], 0.95, 95)],
)
def test_percentiles_are_by_nearest_rank(
    values: list[float], quantile: float, expected: float
) -> None:
    assert percentile(values, quantile) == expected


def test_the_page_needs_nothing_from_elsewhere(points: Path) -> None:
    html = page([run_of(points, Outcome.HELD, Variant.PROTECTED)], ["a day"])
    assert not re.search(r"(src|href)=[\"'](?!#)", html)
    assert "url(" not in html
    assert "@import" not in html
    assert "<svg" in html


def test_the_page_shows_verdict_counts_and_limits(points: Path) -> None:
    html = page([run_of(points, Outcome.REFUTED, Variant.UNPROTECTED)], ["a day"])
    assert 'class="verdict refuted"' in html
    assert "99.50 %" in html
    assert "≥ 99 %" in html
    assert "&lt;B&gt;" in html, "what is quoted is escaped"


@pytest.mark.parametrize(
    ("changed", "measured", "limit"),
    [
        ({}, "99.50 %", "≥ 99 %"),
        ({"measured": 0.0, "limit": "< 0.001"}, "0.00 %", "< 0.1 %"),
        (
            {"measure": "breaker_open_after_s", "measured": 1.234, "limit": "≤ 5"},
            "1.23 s",
            "≤ 5 s",
        ),
        (
            {"measure": "recovered_after_s", "measured": None, "limit": "≤ 30"},
            "never",
            "≤ 30 s",
        ),
        ({"measure": "provider_reached", "measured": 0, "limit": "≤ 0"}, "0", "≤ 0"),
        (
            {"measure": "call_ms", "measured": 151.4, "limit": "≤ 200 ms"},
            "151 ms",
            "≤ 200 ms",
        ),
    ],
)
def test_measures_are_shown_with_their_unit(
    changed: dict[str, Any], measured: str, limit: str
) -> None:
    (result,) = verdict(Outcome.HELD, Variant.PROTECTED, **changed).criteria
    assert (measured_text(result), limit_text(result)) == (measured, limit)


def test_a_counter_proof_counts_only_for_the_criteria_it_names(points: Path) -> None:
    for_the_wrong_reason = run_of(
        points, Outcome.REFUTED, Variant.UNPROTECTED, id="breaker-opens", ok=False
    )
    for_the_right_one = run_of(points, Outcome.REFUTED, Variant.UNPROTECTED, ok=False)
    assert not for_the_wrong_reason.as_expected
    assert for_the_right_one.as_expected


def test_a_surprise_on_a_busy_machine_is_inconclusive(points: Path) -> None:
    surprise = run_of(points, Outcome.REFUTED, Variant.PROTECTED)
    assert surprise.outcome is Outcome.REFUTED
    starved = replace(surprise, starved_ratio=STARVED_ABOVE * 2)
    assert starved.outcome is Outcome.INCONCLUSIVE


def test_a_hypothesis_that_holds_on_a_busy_machine_holds(points: Path) -> None:
    held = run_of(points, Outcome.HELD, Variant.PROTECTED)
    assert replace(held, starved_ratio=STARVED_ABOVE * 2).outcome is Outcome.HELD


def test_starvation_is_the_worst_window_of_five_seconds() -> None:
    cpu = Starvation(pid=0)
    for at_s, total_waited_s in [(0, 0.0), (5, 0.1), (10, 1.1), (15, 1.1)]:
        cpu.add(at_s, total_waited_s)
    assert cpu.worst == pytest.approx(0.2)


def test_starvation_is_unknown_where_the_kernel_tells_nothing() -> None:
    cpu = Starvation(pid=2**31 - 1)
    cpu.look(0.0)
    cpu.look(60.0)
    assert cpu.worst is None


def test_a_verdict_that_is_missing_or_broken_is_a_failure_of_the_harness(
    tmp_path: Path,
) -> None:
    path = tmp_path / "verdict.json"
    with pytest.raises(HarnessFailed, match="no readable verdict"):
        read_verdict(path)
    path.write_text("{}")
    with pytest.raises(HarnessFailed, match="no readable verdict"):
        read_verdict(path)


@pytest.fixture
def taken_port() -> Iterator[int]:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        yield holder.getsockname()[1]


def test_a_port_that_is_taken_is_replaced_wherever_it_is_named(taken_port: int) -> None:
    ports = Ports()
    chosen = ports.of(taken_port)
    assert chosen != taken_port
    assert ports.of(taken_port) == chosen
    text = f"a 127.0.0.1:{taken_port} b 127.0.0.1:{taken_port}/v1"
    assert ports.rewrite(text) == text.replace(str(taken_port), str(chosen))
