"""The judge: its verdict's rules, and that k6 takes the scripts and the numbers."""

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from scripts.chaos.experiments import (
    ROOT,
    Criterion,
    Experiment,
    Variant,
    all_experiments,
    load_profile,
)
from scripts.chaos.judge import cluster_settings, local_settings
from scripts.chaos.stack import Stack

type K6 = Callable[..., subprocess.CompletedProcess[str]]

EXPERIMENTS = all_experiments()
STATISTIC = {
    "breaker_open_after_s": "max",
    "recovered_after_s": "max",
    "provider_reached": "count",
    "failed_attempts": "count",
    "call_ms": "p(95)",
    "first_token_ms": "p(95)",
}


@pytest.fixture(params=EXPERIMENTS, ids=lambda each: each.name)
def experiment(request: pytest.FixtureRequest) -> Experiment:
    chosen: Experiment = request.param
    return chosen


@pytest.fixture
def settings(experiment: Experiment, tmp_path: Path) -> Path:
    """The settings of a local run that nobody starts."""
    names = experiment.providers
    stack = Stack(
        gateway="http://127.0.0.1:1",
        toxiproxy="http://127.0.0.1:1",
        proxies=dict.fromkeys(names, "http://127.0.0.1:1"),
        stand_ins=dict.fromkeys(names, "http://127.0.0.1:1"),
        key="none",
    )
    told = local_settings(
        experiment, Variant.PROTECTED, "ci", load_profile("ci"), stack, tmp_path
    )
    path = tmp_path / "settings.json"
    path.write_text(json.dumps(told))
    return path


def inspected(k6: K6, script: Path, settings: Path) -> dict[str, Any]:
    done = k6("inspect", "--include-system-env-vars", str(script), settings=settings)
    assert done.returncode == 0, done.stderr
    told: dict[str, Any] = json.loads(done.stdout)
    return told


def part(criterion: Criterion) -> str:
    tags = ",".join(f"{tag}:{value}" for tag, value in criterion.where.items())
    return f"{criterion.measure}{{{tags}}}"


def bound(criterion: Criterion) -> str:
    statistic = STATISTIC.get(criterion.measure, "rate")
    for sign, limit in (
        (">=", criterion.at_least),
        ("<=", criterion.at_most),
        ("<", criterion.below),
    ):
        if limit is not None:
            return f"{statistic}{sign}{limit:g}"
    # Held against another phase: k6 only has to keep the numbers.
    return "p(95)>=0"


def test_the_rules_of_the_verdict(k6: K6, settings: Path) -> None:
    done = k6(
        *("run", "--quiet", "--no-color", "--address", ""),
        "tests/chaos/verdicts.js",
        settings=settings,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_number_of_an_experiment_is_a_threshold_of_its_judge(
    k6: K6, experiment: Experiment, settings: Path
) -> None:
    thresholds = inspected(k6, experiment.judge, settings)["thresholds"]
    for criterion in experiment.criteria():
        assert bound(criterion) in thresholds[part(criterion)], criterion.id


def test_no_threshold_of_a_judge_can_pass_over_an_empty_metric(
    k6: K6, experiment: Experiment, settings: Path
) -> None:
    thresholds = inspected(k6, experiment.judge, settings)["thresholds"]
    for criterion in experiment.criteria():
        tags = ",".join(f"{tag}:{value}" for tag, value in criterion.where.items())
        expressions = thresholds[f"samples{{measure:{criterion.measure},{tags}}}"]
        (least,) = set(expressions)
        assert int(least.removeprefix("count>=")) > 0, criterion.id


def test_no_call_may_be_left_unsent(
    k6: K6, experiment: Experiment, settings: Path
) -> None:
    thresholds = inspected(k6, experiment.judge, settings)["thresholds"]
    for route in experiment.routes:
        for phase in ("baseline", "fault", "recovery"):
            scenario = f"dropped_iterations{{scenario:{route}_{phase}}}"
            assert thresholds[scenario] == ["count<=0"]


def test_the_judge_stops_where_the_experiment_says(
    k6: K6, experiment: Experiment, settings: Path
) -> None:
    thresholds = inspected(k6, experiment.judge, settings)["thresholds"]
    (abort,) = (
        each
        for each in thresholds["call_ok{phase:fault}"]
        if isinstance(each, dict) and each["abortOnFail"]
    )
    baseline_s = load_profile("ci").phases_s["baseline"]
    assert abort == {
        "threshold": f"rate>={experiment.abort.success_below:g}",
        "abortOnFail": True,
        "delayAbortEval": f"{baseline_s + experiment.abort.for_s}s",
    }


def test_the_phases_of_a_judge_follow_each_other(
    k6: K6, experiment: Experiment, settings: Path
) -> None:
    scenarios = inspected(k6, experiment.judge, settings)["scenarios"]
    phases_s = load_profile("ci").phases_s
    inject_at_s = phases_s["baseline"]
    clear_at_s = inject_at_s + phases_s["fault"]
    assert scenarios["inject"]["startTime"] == f"{inject_at_s}s"
    assert scenarios["clear"]["startTime"] == f"{clear_at_s}s"
    for route in experiment.routes:
        fault = scenarios[f"{route}_fault"]
        assert fault["executor"] == "constant-arrival-rate"
        assert fault["startTime"] == f"{inject_at_s}s"
        assert fault["tags"] == {"phase": "fault", "route": route}


def test_a_judge_packs_into_one_file_for_a_cluster(
    k6: K6, experiment: Experiment, tmp_path: Path
) -> None:
    told = cluster_settings(
        experiment, "staging", load_profile("staging"), "http://gateway:8080"
    )
    settings = tmp_path / "settings.json"
    settings.write_text(json.dumps(told))
    archive = tmp_path / "judge.tar"
    packed = k6(
        *("archive", "-e", f"CHAOS_SETTINGS={settings}", "-O", str(archive)),
        str(experiment.judge),
    )
    assert packed.returncode == 0, packed.stderr
    os.remove(settings)

    unpacked = k6("inspect", str(archive))

    assert unpacked.returncode == 0, unpacked.stderr
    scenarios = json.loads(unpacked.stdout)["scenarios"]
    assert "inject" not in scenarios, "Chaos Mesh injects in a cluster"
    assert "observer" in scenarios


@pytest.mark.parametrize(
    "script",
    sorted((ROOT / "loadtest" / "scenarios").glob("*.js")),
    ids=lambda s: s.stem,
)
def test_k6_takes_every_scenario_and_each_is_held_to_its_samples(
    k6: K6, script: Path
) -> None:
    done = k6("inspect", str(script))
    assert done.returncode == 0, done.stderr
    thresholds = json.loads(done.stdout)["thresholds"]
    assert any("count>=" in str(expressions) for expressions in thresholds.values())
    assert thresholds["dropped_iterations"] == ["count==0"]


def test_a_judge_without_settings_says_how_to_get_them(
    k6: K6, experiment: Experiment
) -> None:
    done = k6("inspect", str(experiment.judge))
    assert done.returncode != 0
    assert "make chaos" in done.stderr
