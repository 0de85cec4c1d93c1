"""The processes of a run: stopped by their own PID, and never in silence."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from scripts.processes import Children, HarnessFailed

WAIT = "import time; time.sleep(60)"


@pytest.fixture
def children(tmp_path: Path) -> Iterator[Children]:
    with Children(tmp_path, tmp_path) as started:
        yield started


def test_what_a_run_started_is_gone_when_it_ends(children: Children) -> None:
    child = children.start("sleeper", [sys.executable, "-c", WAIT])
    children.__exit__(None, None, None)
    assert child.process.poll() is not None


def test_a_child_that_dies_is_reported_with_its_last_words(children: Children) -> None:
    with pytest.raises(HarnessFailed, match=r"exit code 3(.|\n)*no such luck"):
        children.start_ready(
            "unlucky",
            [sys.executable, "-c", "print('no such luck'); raise SystemExit(3)"],
            lambda: False,
        )


def test_only_the_processes_of_a_run_are_stopped(children: Children) -> None:
    bystander = subprocess.Popen(
        [sys.executable, "-c", "input()"], stdin=subprocess.PIPE
    )
    try:
        children.start("own", [sys.executable, "-c", WAIT])
        children.__exit__(None, None, None)
        assert bystander.poll() is None
    finally:
        bystander.communicate(b"\n", timeout=10)
