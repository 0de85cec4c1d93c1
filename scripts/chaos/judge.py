"""Runs k6, the judge, and reads its verdict.

The rule it keeps: exit 0 and 99 are verdicts of k6 (99: a threshold was crossed); any
other code means that the harness failed. The verdict itself is the one that the judge
wrote to verdict.json; nothing is judged again here.
"""

import json
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from scripts.processes import Child, Children, HarnessFailed

from .experiments import ROOT, Experiment, Phase, Profile, Toxics, Variant, load_toxics
from .stack import Stack

THRESHOLD_CROSSED = 99
# Starting k6, its setup and teardown, and the patience of the last callers.
_OVERHEAD_S = 90.0
_POLL_S = 0.2
# What only the local injector and its stand-ins can tell.
_LOCAL_MEASURES = frozenset({"direct_answered", "direct_hung", "provider_reached"})
# The name by which a call past the gateway asks a stand-in, which answers to any.
DIRECT_MODEL = "stand-in"


class Outcome(StrEnum):
    """What a run said about the hypothesis."""

    HELD = "held"
    REFUTED = "refuted"
    INCONCLUSIVE = "inconclusive"


class Result(BaseModel):
    """One criterion with what was measured."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    group: Literal["steady_state", "took_effect", "hypothesis", "harness"]
    id: str
    says: str
    # Absent in a line about calls that could not be sent.
    measure: str = "dropped"
    measured: float | None = None
    limit: str
    ok: bool
    samples: int | None = None
    samples_needed: int | None = None


class Phases(BaseModel):
    """The phases on the judge's clock, in seconds from its start."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    inject_at: Annotated[float, Field(alias="injectAt")]
    clear_at: Annotated[float, Field(alias="clearAt")]
    end: float


class Verdict(BaseModel):
    """`verdict.json`, as loadtest/lib/summary.js writes it."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    experiment: str
    number: int
    variant: Variant
    profile: str
    verdict: Outcome
    aborted: bool
    phases: Phases
    started_at_ms: float
    criteria: tuple[Result, ...]

    def failed(self) -> tuple[Result, ...]:
        """The criteria that are not met."""
        return tuple(each for each in self.criteria if not each.ok)

    def machine_was_busy(self) -> bool:
        """True when calls past the gateway were slow: the run can only be repeated."""
        return any(each.measure.startswith("control") for each in self.failed())


@dataclass(frozen=True, slots=True)
class Files:
    """The files of one run, in a directory of their own."""

    directory: Path

    @property
    def settings(self) -> Path:
        """What the judge is told."""
        return self.directory / "settings.json"

    @property
    def points(self) -> Path:
        """Every sample of k6, one JSON document a line."""
        return self.directory / "points.json"

    @property
    def verdict(self) -> Path:
        """What the judge says."""
        return self.directory / "verdict.json"


def local_settings(
    experiment: Experiment,
    variant: Variant,
    profile_name: str,
    profile: Profile,
    stack: Stack,
    results_dir: Path,
) -> dict[str, object]:
    """What the judge is told in a local run."""
    return {
        "experiment": experiment.model_dump(exclude_none=True),
        "variant": variant,
        "profile_name": profile_name,
        "profile": profile.model_dump(),
        "toxics": load_toxics(experiment).model_dump(exclude_none=True),
        "endpoints": stack.endpoints(),
        "direct_model": DIRECT_MODEL,
        "results_dir": str(results_dir),
    }


def cluster_settings(
    experiment: Experiment, profile_name: str, profile: Profile, gateway_url: str
) -> dict[str, object]:
    """What the judge is told where Chaos Mesh injects: no injector to command.

    Criteria that need the local injector are left out; whether the fault took effect
    is then told by the gateway's own counters.
    """
    data = experiment.model_dump(exclude_none=True)
    for group in ("steady_state", "took_effect"):
        data[group] = [
            each for each in data[group] if each["measure"] not in _LOCAL_MEASURES
        ]
    return {
        "experiment": data,
        "variant": Variant.PROTECTED,
        "profile_name": profile_name,
        "profile": profile.model_dump(),
        "toxics": Toxics(says="Chaos Mesh injects", actions=()).model_dump(),
        "endpoints": {"gateway": gateway_url},
    }


def run_judge(
    children: Children,
    k6: str,
    experiment: Experiment,
    settings: dict[str, object],
    files: Files,
    key: str,
    progress: Callable[[float], None],
) -> Verdict:
    """Runs the judge to its end and tells `progress`, often, how many seconds in.

    Raises: HarnessFailed when k6 or a part of the stack fails, or no verdict is left.
    """
    files.settings.write_text(json.dumps(settings, indent=2))
    child = children.start(
        "k6",
        [
            *(k6, "run", "--quiet", "--no-usage-report", "--no-color"),
            # No REST API: nobody asks, and its port may be taken.
            *("--address", "", "--out", f"json={files.points}"),
            str(experiment.judge.relative_to(ROOT)),
        ],
        {"CHAOS_SETTINGS": str(files.settings), "GATEWAY_KEY": key},
    )
    profile = Profile.model_validate(settings["profile"])
    code = _wait(children, child, profile.lasts_s + _OVERHEAD_S, progress)
    if code not in (0, THRESHOLD_CROSSED):
        raise HarnessFailed(f"k6 ended with exit code {code}.\n{child.tail()}")
    verdict = read_verdict(files.verdict)
    if code == THRESHOLD_CROSSED and verdict.verdict is Outcome.HELD:
        raise HarnessFailed("k6 crossed a threshold that its verdict does not know.")
    return verdict


def _wait(
    children: Children,
    child: Child,
    at_most_s: float,
    progress: Callable[[float], None],
) -> int:
    began = time.monotonic()
    while child.process.poll() is None:
        elapsed_s = time.monotonic() - began
        if elapsed_s > at_most_s:
            raise HarnessFailed(f"k6 did not end within {at_most_s:.0f} s.")
        others = [each for each in children.running() if each is not child]
        for other in others:
            children.check(other)
        progress(elapsed_s)
        try:
            child.process.wait(_POLL_S)
        except subprocess.TimeoutExpired:
            continue
    return child.process.returncode


def read_verdict(path: Path) -> Verdict:
    """Raises: HarnessFailed when there is none, or it is not one."""
    try:
        return Verdict.model_validate_json(path.read_text())
    except (OSError, ValidationError) as error:
        raise HarnessFailed(f"the judge left no readable verdict: {error}") from error


def phase_at(profile: Profile, second: float) -> Phase:
    """The phase at `second` of a run."""
    if second < profile.phases_s["baseline"]:
        return "baseline"
    if second < profile.phases_s["baseline"] + profile.phases_s["fault"]:
        return "fault"
    return "recovery"
