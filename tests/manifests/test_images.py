"""The Dockerfile: what can be known of both images without building them."""

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Final

import pytest

from tests.manifests.schemas import REPOSITORY

DOCKERFILE: Final = REPOSITORY / "Dockerfile"


def instructions() -> list[tuple[str, str, str]]:
    """Stage, instruction and arguments, continuation lines joined."""
    text = DOCKERFILE.read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", " ", "\n".join(lines))
    stage, found = "", []
    for line in filter(None, joined.splitlines()):
        word, _, rest = line.partition(" ")
        if word == "FROM":
            stage = rest.split(" AS ")[1]
        found.append((stage, word, rest))
    return found


def of_stage(stage: str, word: str) -> list[str]:
    """The arguments of an instruction in a stage and in those it is built on."""
    bases = {
        rest.split(" AS ")[1]: rest.split(" AS ")[0]
        for _, found, rest in instructions()
        if found == "FROM"
    }
    lineage = [stage]
    while bases.get(lineage[0]) in bases:
        lineage.insert(0, bases[lineage[0]])
    return [
        rest
        for member in lineage
        for own, found, rest in instructions()
        if own == member and found == word
    ]


def test_hadolint_finds_nothing() -> None:
    beside = Path(sys.executable).parent / "hadolint"
    hadolint = str(beside) if beside.exists() else shutil.which("hadolint")
    assert hadolint, "hadolint is missing: it is in the `lint` dependency group"
    done = subprocess.run(
        [hadolint, str(DOCKERFILE)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_everything_that_is_copied_exists_and_reaches_the_build() -> None:
    ignore = (REPOSITORY / ".dockerignore").read_text(encoding="utf-8").splitlines()
    allowed = {line.removeprefix("!") for line in ignore if line.startswith("!")}
    for _, word, rest in instructions():
        if word == "COPY" and not rest.startswith("--from"):
            *sources, _target = rest.split()
            for source in sources:
                assert (REPOSITORY / source).exists(), source
                assert source in allowed, f"{source} is kept out by .dockerignore"


def test_what_is_packaged_is_what_is_copied() -> None:
    """A package that is added to the wheel has to be added to the build stage."""
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text("utf-8"))
    wheel = project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    copied = {
        source for rest in of_stage("build", "COPY") for source in rest.split()[:-1]
    }
    assert set(wheel) <= copied
    assert project["project"]["readme"] in copied
    assert set(project["project"]["license-files"]) <= copied


def test_the_environment_comes_from_the_lock_without_development_tools() -> None:
    syncs = [rest for rest in of_stage("build", "RUN") if "uv sync" in rest]
    assert syncs
    for sync in syncs:
        assert "--frozen" in sync
        assert "--no-dev" in sync


@pytest.mark.parametrize("stage", ["gateway", "standin"])
def test_an_image_runs_as_a_numeric_user_that_is_not_root(stage: str) -> None:
    user, _, group = of_stage(stage, "USER")[-1].partition(":")
    assert int(user) > 0
    assert int(group) > 0


@pytest.mark.parametrize("stage", ["gateway", "standin"])
def test_an_image_is_one_process_that_signals_reach(stage: str) -> None:
    (entry,) = of_stage(stage, "ENTRYPOINT")
    (command,) = of_stage(stage, "CMD")
    assert entry.startswith("["), "a shell as PID 1 swallows SIGTERM"
    assert command.startswith("[")
    assert "--workers" not in command
    assert of_stage(stage, "STOPSIGNAL") == ["SIGTERM"]


@pytest.mark.parametrize("stage", ["gateway", "standin"])
def test_an_image_checks_its_health_without_a_shell_or_curl(stage: str) -> None:
    (check,) = of_stage(stage, "HEALTHCHECK")
    assert 'CMD ["python", "-I", "-c"' in check


def test_the_gateway_is_healthy_while_it_lives() -> None:
    (check,) = of_stage("gateway", "HEALTHCHECK")
    assert "/livez" in check


def test_nothing_is_compiled_or_installed_when_it_runs() -> None:
    for stage in ("gateway", "standin"):
        assert any("PYTHONDONTWRITEBYTECODE=1" in e for e in of_stage(stage, "ENV"))
    assert any("UV_COMPILE_BYTECODE=1" in e for e in of_stage("build", "ENV"))
    for stage in ("runtime", "gateway", "standin"):
        for run in of_stage(stage, "RUN"):
            assert not re.search(r"pip install|apt-get|uv sync|curl|wget", run)


def test_the_default_image_is_the_gateway() -> None:
    assert [stage for stage, word, _ in instructions() if word == "FROM"][
        -1
    ] == "gateway"


def test_nothing_reaches_the_build_unless_it_is_named() -> None:
    first, *_ = (
        line
        for line in (REPOSITORY / ".dockerignore").read_text("utf-8").splitlines()
        if line and not line.startswith("#")
    )
    assert first == "*"
