"""An experiment as data: what `chaos/experiments/<nn-slug>/` holds, typed and checked.

The rule it keeps: a file that is misspelt, incomplete or names a measure the judge does
not take is an error with its place, never a default. Nothing here starts a process.
"""

import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

ROOT = Path(__file__).resolve().parents[2]
EXPERIMENTS_DIR = ROOT / "chaos" / "experiments"
PROFILES_DIR = ROOT / "loadtest" / "profiles"
JUDGES_DIR = ROOT / "loadtest" / "chaos"

type Phase = Literal["baseline", "fault", "recovery"]
# The measures of loadtest/lib/thresholds.js; a test compares the two lists.
type Measure = Literal[
    "call_ok",
    "call_failed",
    "answered_by",
    "call_ms",
    "first_token_ms",
    "direct_answered",
    "direct_hung",
    "provider_reached",
    "failed_attempts",
    "breaker_open_after_s",
    "recovered_after_s",
]


class ExperimentInvalid(Exception):
    """An experiment or a profile on disk is not what it must be."""


class Frozen(BaseModel):
    """Immutable, and strict about unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Variant(StrEnum):
    """The two gateways that a judge meets."""

    PROTECTED = "protected"
    UNPROTECTED = "unprotected"


class Comparison(Frozen):
    """A p95 held against the same measure in another phase."""

    phase: Phase
    ratio: Annotated[float, Field(ge=1)]
    or_extra_ms: Annotated[float, Field(ge=0)]


class Criterion(Frozen):
    """One measured statement; k6 holds it as a threshold."""

    id: str
    says: str
    measure: Measure
    where: dict[str, str]
    at_least: float | None = None
    at_most: float | None = None
    below: float | None = None
    no_slower_than: Comparison | None = None

    @model_validator(mode="after")
    def _has_one_bound(self) -> Self:
        bounds = (self.at_least, self.at_most, self.below, self.no_slower_than)
        if sum(bound is not None for bound in bounds) != 1:
            raise ValueError(f"criterion {self.id} needs exactly one bound")
        return self


class Route(Frozen):
    """A route of the gateway under test and the providers behind it, in order."""

    targets: Annotated[tuple[str, ...], Field(min_length=1)]
    says: str


class Abort(Frozen):
    """When the judge stops a run: success over the fault so far, after `for_s`."""

    success_below: float
    for_s: Annotated[int, Field(gt=0)]


class Hypothesis(Frozen):
    """What is believed, in words and as criteria."""

    text: str
    criteria: Annotated[tuple[Criterion, ...], Field(min_length=1)]


class CounterProof(Frozen):
    """What the judge must find when the protection is taken away."""

    says: str
    must_refute: Annotated[tuple[str, ...], Field(min_length=1)]


class Experiment(Frozen):
    """`experiment.yaml`."""

    number: int
    slug: str
    title: str
    fault: str
    routes: Annotated[dict[str, Route], Field(min_length=1)]
    blast_radius: str
    abort: Abort
    rollback: str
    expected: str
    local_run_does_not_cover: tuple[str, ...]
    steady_state: Annotated[tuple[Criterion, ...], Field(min_length=1)]
    took_effect: Annotated[tuple[Criterion, ...], Field(min_length=1)]
    hypothesis: Hypothesis
    counter_proof: CounterProof

    @model_validator(mode="after")
    def _names_criteria_once(self) -> Self:
        ids = [each.id for each in self.criteria()]
        if len(ids) != len(set(ids)):
            raise ValueError("two criteria have the same id")
        known = {each.id for each in self.hypothesis.criteria}
        if unknown := set(self.counter_proof.must_refute) - known:
            raise ValueError(f"counter_proof names no criterion: {sorted(unknown)}")
        return self

    @property
    def name(self) -> str:
        """The name of its directory and of its judge."""
        return f"{self.number:02d}-{self.slug}"

    @property
    def directory(self) -> Path:
        """Where its four files are."""
        return EXPERIMENTS_DIR / self.name

    @property
    def judge(self) -> Path:
        """Its k6 script."""
        return JUDGES_DIR / f"{self.name}.js"

    @property
    def providers(self) -> tuple[str, ...]:
        """Every provider its routes name, in order of appearance."""
        targets = (name for route in self.routes.values() for name in route.targets)
        return tuple(dict.fromkeys(targets))

    def criteria(self) -> tuple[Criterion, ...]:
        """All of its criteria."""
        return self.steady_state + self.took_effect + self.hypothesis.criteria


class Toxic(Frozen):
    """A toxic as Toxiproxy's API takes it; its names, not ours."""

    name: str
    type: str
    stream: Literal["upstream", "downstream"]
    toxicity: float
    attributes: dict[str, int]


class Action(Frozen):
    """One thing done to one proxy: a toxic, or switching it off."""

    proxy: str
    toxic: Toxic | None = None
    enabled: Literal[False] | None = None

    @model_validator(mode="after")
    def _is_one_action(self) -> Self:
        if (self.toxic is None) == (self.enabled is None):
            raise ValueError("an action is either a toxic or `enabled: false`")
        return self


class Toxics(Frozen):
    """`toxics.json`: the local form of the fault, or why there is none."""

    says: str
    actions: tuple[Action, ...]


class Control(Frozen):
    """How slow calls past the gateway may be before nothing can be judged."""

    every_s: Annotated[float, Field(gt=0)]
    p95_at_most_ms: Annotated[float, Field(gt=0)]
    worst_at_most_ms: Annotated[float, Field(gt=0)]


class Profile(Frozen):
    """`loadtest/profiles/<name>.json`: how hard and how long."""

    says: str
    phases_s: dict[Phase, Annotated[int, Field(gt=0)]]
    calls_per_s: Annotated[int, Field(gt=0)]
    call_timeout_s: Annotated[float, Field(gt=0)]
    observe_every_s: Annotated[float, Field(gt=0)]
    direct_every_s: Annotated[float, Field(gt=0)]
    direct_timeout_s: Annotated[float, Field(gt=0)]
    settle_s: Annotated[float, Field(gt=0)]
    control: Control

    @property
    def lasts_s(self) -> int:
        """Length of the three phases together."""
        return sum(self.phases_s.values())


def _validated[M: BaseModel](model: type[M], data: object, path: Path) -> M:
    try:
        return model.model_validate(data)
    except ValidationError as error:
        raise ExperimentInvalid(f"{path}: {error}") from error


def load_experiment(directory: Path) -> Experiment:
    """Reads `experiment.yaml`.

    Raises: ExperimentInvalid, also when the directory is not named `<nn-slug>`.
    """
    path = directory / "experiment.yaml"
    experiment = _validated(Experiment, yaml.safe_load(path.read_text()), path)
    if experiment.name != directory.name:
        raise ExperimentInvalid(f"{path}: it is {experiment.name} by its own account")
    return experiment


def load_toxics(experiment: Experiment) -> Toxics:
    """Reads `toxics.json`. Raises: ExperimentInvalid."""
    path = experiment.directory / "toxics.json"
    return _validated(Toxics, json.loads(path.read_text()), path)


def load_profile(name: str) -> Profile:
    """Reads a load profile. Raises: ExperimentInvalid, also when there is none."""
    path = PROFILES_DIR / f"{name}.json"
    if not path.is_file():
        known = ", ".join(sorted(each.stem for each in PROFILES_DIR.glob("*.json")))
        raise ExperimentInvalid(f"there is no profile {name}; there are: {known}")
    return _validated(Profile, json.loads(path.read_text()), path)


def all_experiments() -> tuple[Experiment, ...]:
    """Every experiment of the catalogue, by number. Raises: ExperimentInvalid."""
    directories = sorted(path.parent for path in EXPERIMENTS_DIR.glob("*/*.yaml"))
    return tuple(load_experiment(each) for each in dict.fromkeys(directories))


def select(only: str | None) -> tuple[Experiment, ...]:
    """The experiments to run locally: all with a local form, or the one of a number.

    Raises: ExperimentInvalid when the number is unknown or has no local form.
    """
    known = all_experiments()
    if only is None:
        return tuple(each for each in known if load_toxics(each).actions)
    for experiment in known:
        if only in (
            experiment.name,
            f"{experiment.number:02d}",
            str(experiment.number),
        ):
            toxics = load_toxics(experiment)
            if not toxics.actions:
                raise ExperimentInvalid(f"{experiment.name}: {toxics.says}")
            return (experiment,)
    names = ", ".join(each.name for each in known)
    raise ExperimentInvalid(f"there is no experiment {only}; there are: {names}")
