"""`make demo`, played for real: a provider is killed, and nothing is lost by it."""

import re
import subprocess
import sys

import pytest

from scripts.local import ROOT

# Starting four processes takes most of it on a busy machine.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]


def play(*options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "scripts.demo", *options],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=170,
        check=False,
    )


def counts(output: str) -> dict[str, int]:
    found = re.search(
        r"(?P<requests>\d+) requests: (?P<answered>\d+) answered, "
        r"(?P<failed>\d+) failed, (?P<broken>\d+) streams broken",
        output,
    )
    assert found, output
    return {name: int(number) for name, number in found.groupdict().items()}


def answered_by(output: str, phase: str) -> list[int]:
    found = re.search(rf"^  {phase} +(\d+) +(\d+) +(\d+)", output, re.MULTILINE)
    assert found, output
    return [int(number) for number in found.groups()]


def test_killing_the_first_provider_costs_no_request_that_a_chain_can_save() -> None:
    played = play("--seconds", "12", "--rate", "15")
    told = f"{played.stdout}\n{played.stderr}"
    assert played.returncode == 0, told
    counted = counts(played.stdout)
    assert counted["failed"] == 0, told
    assert counted["answered"] > 100, told
    assert counted["requests"] == counted["answered"] + counted["broken"]

    alpha, beta, gamma = answered_by(played.stdout, "all is well")
    assert alpha > 0, told
    assert (beta, gamma) == (0, 0), told
    _, beta, _ = answered_by(played.stdout, "alpha killed")
    assert beta > 0, told
    alpha, *_ = answered_by(played.stdout, "alpha back")
    assert alpha > 0, told
    for event in ("alpha killed (SIGKILL", "breaker opened", "alpha is back"):
        assert event in played.stdout
    assert "\x1b" not in played.stdout, "no terminal, no control characters"


def test_without_a_chain_the_same_demo_tells_what_was_lost() -> None:
    played = play("--seconds", "6", "--rate", "15", "--no-fallback")
    told = f"{played.stdout}\n{played.stderr}"
    assert played.returncode == 1, told
    counted = counts(played.stdout)
    assert counted["failed"] > 0, told
    assert sum(answered_by(played.stdout, "alpha killed")[1:]) == 0, told
    assert "could have saved" in played.stdout
