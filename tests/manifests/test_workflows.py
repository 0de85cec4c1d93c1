"""GitHub workflows: pinned, bounded, unprivileged, and running what developers run."""

import re
import subprocess
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from tests.manifests.schemas import REPOSITORY

WORKFLOWS: Final = sorted((REPOSITORY / ".github" / "workflows").glob("*.yml"))


@pytest.fixture(params=WORKFLOWS, ids=lambda path: path.name)
def path(request: pytest.FixtureRequest) -> Path:
    return Path(request.param)


@pytest.fixture
def workflow(path: Path) -> dict[str, Any]:
    return dict(yaml.safe_load(path.read_text(encoding="utf-8")))


@pytest.mark.timeout(300)  # the first run builds actionlint
def test_actionlint_finds_nothing(path: Path) -> None:
    found = subprocess.run(
        [str(REPOSITORY / "scripts" / "tools.sh"), "actionlint"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.returncode == 0, found.stderr
    done = subprocess.run(
        [found.stdout.strip(), "-no-color", str(path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_action_is_pinned_by_commit_and_names_its_release(path: Path) -> None:
    uses = re.findall(r"uses: *(.+)", path.read_text(encoding="utf-8"))
    assert uses
    for action in uses:
        assert re.fullmatch(r"[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", action), action


def test_one_action_has_one_version() -> None:
    pins = {
        match
        for path in WORKFLOWS
        for match in re.findall(r"uses: *(\S+)@(\w+)", path.read_text("utf-8"))
    }
    assert len(pins) == len({action for action, _ in pins})


def test_a_workflow_may_read_and_no_more(workflow: dict[str, Any]) -> None:
    assert workflow["permissions"] in ({}, {"contents": "read"})


def test_every_job_ends(workflow: dict[str, Any]) -> None:
    for name, job in workflow["jobs"].items():
        assert 0 < job["timeout-minutes"] <= 60, name


def test_a_newer_push_replaces_the_run_of_an_older_one(
    workflow: dict[str, Any],
) -> None:
    assert {"group", "cancel-in-progress"} <= workflow["concurrency"].keys()


def test_no_checkout_leaves_a_credential_behind(workflow: dict[str, Any]) -> None:
    for job in workflow["jobs"].values():
        for step in job["steps"]:
            if step.get("uses", "").startswith("actions/checkout@"):
                assert step["with"]["persist-credentials"] is False


def test_pull_requests_never_run_with_the_rights_of_the_target(
    workflow: dict[str, Any],
) -> None:
    # YAML 1.1 reads the key `on` as true.
    triggers = workflow.get("on", workflow.get(True))
    assert not {"pull_request_target", "workflow_run"} & set(triggers)


def test_ci_runs_what_developers_run() -> None:
    ci = yaml.safe_load((REPOSITORY / ".github/workflows/ci.yml").read_text("utf-8"))
    runs = {
        step["run"]
        for job in ci["jobs"].values()
        for step in job["steps"]
        if "run" in step
    }
    assert {"make check", "make test", "make chaos PROFILE=ci"} <= runs


def test_the_required_job_waits_for_every_other_job() -> None:
    ci = yaml.safe_load((REPOSITORY / ".github/workflows/ci.yml").read_text("utf-8"))
    jobs = ci["jobs"]
    assert set(jobs["required"]["needs"]) == jobs.keys() - {"required"}
