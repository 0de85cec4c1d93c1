"""The catalogue: every experiment is whole, agrees with itself, and is listed."""

import json
import re
import shutil
from pathlib import Path
from typing import get_args

import pytest
import yaml

from app.config import load
from scripts.chaos.experiments import (
    EXPERIMENTS_DIR,
    JUDGES_DIR,
    PROFILES_DIR,
    ROOT,
    Experiment,
    ExperimentInvalid,
    Measure,
    all_experiments,
    load_experiment,
    load_profile,
    load_toxics,
    select,
)
from scripts.chaos.stack import CONFIGS, PROXIES_FILE

FILES = ("experiment.yaml", "workflow.yaml", "toxics.json", "RUNBOOK.md")
EXPERIMENTS = all_experiments()


@pytest.fixture(params=EXPERIMENTS, ids=lambda each: each.name)
def experiment(request: pytest.FixtureRequest) -> Experiment:
    chosen: Experiment = request.param
    return chosen


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """A copy of experiment 03 that a test may spoil."""
    (original,) = (each for each in EXPERIMENTS if each.number == 3)
    return Path(shutil.copytree(original.directory, tmp_path / original.name))


def spoil(directory: Path, old: str, new: str) -> None:
    path = directory / "experiment.yaml"
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")


def test_there_are_experiments() -> None:
    assert [each.number for each in EXPERIMENTS]


def test_every_directory_is_an_experiment_with_its_four_files_and_its_judge() -> None:
    for directory in filter(Path.is_dir, EXPERIMENTS_DIR.iterdir()):
        assert sorted(each.name for each in directory.iterdir()) == sorted(FILES)
        assert load_experiment(directory).judge.is_file()


def test_no_judge_is_without_its_experiment() -> None:
    judges = {each.stem for each in JUDGES_DIR.glob("*.js")}
    assert judges == {each.name for each in EXPERIMENTS}


def test_the_catalogue_lists_exactly_what_exists() -> None:
    text = (ROOT / "chaos" / "README.md").read_text(encoding="utf-8")
    listed = re.findall(r"\(experiments/([^/]+)/RUNBOOK\.md\)", text)
    assert listed == [each.name for each in EXPERIMENTS]


def test_toxics_act_on_proxies_that_exist(experiment: Experiment) -> None:
    known = {each["name"] for each in json.loads(PROXIES_FILE.read_text())}
    assert set(experiment.providers) | {"store"} <= known
    assert {each.proxy for each in load_toxics(experiment).actions} <= known


def test_the_local_gateways_have_the_routes_of_every_experiment(
    experiment: Experiment,
) -> None:
    for path in CONFIGS.values():
        config = yaml.safe_load(path.read_text(encoding="utf-8"))
        for name, route in experiment.routes.items():
            targets = (each["provider"] for each in config["routes"][name]["targets"])
            assert tuple(targets) == route.targets, f"{path.name}: {name}"
            assert name in config["keys"][0]["routes"]


def test_the_local_gateways_reach_providers_through_their_proxies_only() -> None:
    listen = {
        each["name"]: each["listen"] for each in json.loads(PROXIES_FILE.read_text())
    }
    for path in CONFIGS.values():
        config = yaml.safe_load(path.read_text(encoding="utf-8"))
        for name, provider in config["providers"].items():
            assert provider["base_url"] == f"http://{listen[name]}/v1"


def test_the_gateway_takes_the_local_configurations() -> None:
    for path in CONFIGS.values():
        load(path)


def test_the_measures_are_those_that_the_judge_takes() -> None:
    script = (ROOT / "loadtest" / "lib" / "thresholds.js").read_text(encoding="utf-8")
    taken = set(re.findall(r"^  (\w+): \{ metric: new", script, re.MULTILINE))
    of_the_harness = {
        "metrics_read",
        "injector_done",
        "control_ms",
        "control_worst_ms",
    }
    assert set(get_args(Measure.__value__)) == taken - of_the_harness


def test_the_measures_are_documented() -> None:
    text = (ROOT / "docs" / "chaos.md").read_text(encoding="utf-8")
    for measure in get_args(Measure.__value__):
        assert f"`{measure}`" in text


def test_each_profile_is_whole_and_long_enough_for_its_own_callers() -> None:
    for path in PROFILES_DIR.glob("*.json"):
        profile = load_profile(path.stem)
        assert profile.call_timeout_s < min(profile.phases_s.values())
        assert profile.control.p95_at_most_ms < profile.control.worst_at_most_ms


def test_all_local_experiments_are_run_unless_one_is_named() -> None:
    assert select(None) == tuple(
        each for each in EXPERIMENTS if load_toxics(each).actions
    )
    assert select("3") == select("03") == select("03-provider-black-hole")


def test_an_unknown_number_names_the_known_ones() -> None:
    with pytest.raises(ExperimentInvalid, match="03-provider-black-hole"):
        select("99")


def test_an_unknown_profile_names_the_known_ones() -> None:
    with pytest.raises(ExperimentInvalid, match="ci, local, staging"):
        load_profile("none")


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("measure: call_ms", "measure: call_seconds", "measure"),
        ("    at_least: 0.99", "    at_leest: 0.99", "at_leest"),
        ("    at_least: 0.99", "    at_least: 0.99\n    at_most: 1", "exactly one"),
        ("id: breaker-opens", "id: chat-survives", "same id"),
        ("must_refute: [chat-survives]", "must_refute: [nothing]", "no criterion"),
        ("number: 3", "number: 4", "by its own account"),
    ],
)
def test_a_misspelt_experiment_is_refused(
    copied: Path, old: str, new: str, complaint: str
) -> None:
    spoil(copied, old, new)
    with pytest.raises(ExperimentInvalid, match=complaint):
        load_experiment(copied)
