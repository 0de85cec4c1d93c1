"""`python -m scripts.chaos`: runs the experiments and says what came out.

Exit codes: 0 every run said what it had to (the protected gateway's hypotheses held,
the unprotected one's were refuted); 1 a run said otherwise; 2 the harness failed or a
run was inconclusive, so nothing is known. Must not live here: how a run is made.
"""

import json
import os
import platform
import shutil
import signal
import sys
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from scripts.processes import Children, HarnessFailed

from .experiments import (
    ROOT,
    Experiment,
    ExperimentInvalid,
    Profile,
    Variant,
    load_profile,
    select,
)
from .judge import (
    Files,
    Outcome,
    cluster_settings,
    local_settings,
    phase_at,
    run_judge,
)
from .report import Run, limit_text, measured_text, page
from .stack import find_tool, start_stack
from .starvation import Starvation
from .timeline import build, read_samples

REPORT_DIR = ROOT / "chaos" / "report"
UNEXPECTED, UNKNOWN = 1, 2
_COLOURS = {
    Outcome.HELD: "green",
    Outcome.REFUTED: "red",
    Outcome.INCONCLUSIVE: "yellow",
}

console = Console(soft_wrap=True)
app = typer.Typer(add_completion=False)


class Phases:
    """Tells the reader which phase a run is in: one line per phase."""

    def __init__(self, profile: Profile) -> None:
        self._profile = profile
        self._last = ""

    def tell(self, elapsed_s: float) -> None:
        """Prints the phase at `elapsed_s` unless it was already told."""
        phase = phase_at(self._profile, elapsed_s)
        if phase != self._last:
            self._last = phase
            console.print(f"  {phase} ({self._profile.phases_s[phase]} s) …")


def _run_one(
    experiment: Experiment,
    variant: Variant,
    expected: Outcome,
    profile_name: str,
    k6: str,
    attempt: int,
) -> Run:
    profile = load_profile(profile_name)
    files = Files(REPORT_DIR / f"{experiment.name}-{variant}")
    shutil.rmtree(files.directory, ignore_errors=True)
    files.directory.mkdir(parents=True)
    console.print(
        f"[bold]{experiment.number:02d} {experiment.title}[/] against the "
        f"{variant} gateway; expected: {expected}"
    )
    with Children(ROOT, files.directory) as children:
        stack = start_stack(children, experiment, variant, files.directory)
        settings = local_settings(
            experiment, variant, profile_name, profile, stack, files.directory
        )
        phases, cpu = Phases(profile), Starvation(stack.gateway_pid)

        def progress(elapsed_s: float) -> None:
            phases.tell(elapsed_s)
            cpu.look(elapsed_s)

        verdict = run_judge(
            children, k6, experiment, settings, files, stack.key, progress
        )
    timeline = build(read_samples(files.points, verdict.started_at_ms))
    run = Run(experiment, variant, expected, verdict, timeline, attempt, cpu.worst)
    _print_run(run, files.directory)
    return run


def _run_until_quiet(
    experiment: Experiment,
    variant: Variant,
    expected: Outcome,
    profile_name: str,
    k6: str,
    attempts: int,
) -> Run:
    """Repeats a run that says nothing because the machine was busy; no other."""
    attempt = 1
    while True:
        run = _run_one(experiment, variant, expected, profile_name, k6, attempt)
        if attempt == attempts or run.as_expected or not run.machine_was_busy:
            return run
        attempt += 1
        console.print(f"  the machine was busy: attempt {attempt} of {attempts}")


def _print_run(run: Run, directory: Path) -> None:
    verdict = run.verdict
    table = Table(title=None, show_edge=False)
    for heading in ("", "measured", "limit", "met"):
        table.add_column(heading)
    for result in verdict.criteria:
        if result.group == "harness" and result.ok:
            continue
        table.add_row(
            escape(result.says),
            measured_text(result),
            limit_text(result),
            "[green]yes[/]" if result.ok else "[red]NO[/]",
        )
    console.print(table)
    colour = _COLOURS[run.outcome]
    console.print(f"  hypothesis [{colour}]{run.outcome}[/]")
    if not run.as_expected:
        console.print(f"  {_advice(run)} Logs: {directory.relative_to(ROOT)}/")
    console.print()


def _advice(run: Run) -> str:
    if run.outcome is Outcome.INCONCLUSIVE:
        if run.machine_was_busy:
            return "The machine is too busy to judge anything on it; free it."
        groups = {each.group for each in run.verdict.failed()}
        if "steady_state" in groups:
            return "The gateway was not healthy before the fault; see gateway.log."
        if "took_effect" in groups:
            return "The fault did not take effect; see toxiproxy.log and toxics.json."
        return "The judge could not do its work; see k6.log."
    if run.expected is Outcome.REFUTED:
        wanted = ", ".join(run.experiment.counter_proof.must_refute)
        return f"Without protection {wanted} must fail, or the judge proves nothing."
    return "The outage was not contained; see gateway.log and the report."


def _exit_code(runs: list[Run]) -> int:
    if any(run.outcome is Outcome.INCONCLUSIVE for run in runs):
        return UNKNOWN
    if not all(run.as_expected for run in runs):
        return UNEXPECTED
    return 0


def _write_report(runs: list[Run], profile_name: str) -> None:
    about = [
        datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        f"profile {profile_name}",
        f"{os.cpu_count()} CPUs",
        f"Python {platform.python_version()}",
    ]
    report = REPORT_DIR / "index.html"
    report.write_text(page(runs, about), encoding="utf-8")
    console.print(f"Report: {report.relative_to(ROOT)}")


def _stop_on_sigterm(number: int, _frame: FrameType | None) -> None:
    # Unwinds the stack, so that everything that was started is stopped.
    raise SystemExit(128 + number)


@app.callback(invoke_without_command=True)
def run(
    context: typer.Context,
    only: Annotated[str | None, typer.Option(help="one experiment: 03")] = None,
    profile: Annotated[str, typer.Option(help="local or ci")] = "local",
    with_resilience: Annotated[
        bool | None,
        typer.Option(
            "--with-resilience/--without-resilience",
            help="one variant of the gateway instead of both",
        ),
    ] = None,
    expect: Annotated[
        Outcome | None,
        typer.Option(help="the verdict that counts as success; held, or refuted"),
    ] = None,
    attempts: Annotated[
        int, typer.Option(min=1, help="how often a run on a busy machine is made")
    ] = 2,
) -> None:
    """Runs the experiments, then each counter-proof, and writes chaos/report/."""
    if context.invoked_subcommand is not None:
        return
    signal.signal(signal.SIGTERM, _stop_on_sigterm)
    variants = {
        None: (
            (Variant.PROTECTED, Outcome.HELD),
            (Variant.UNPROTECTED, Outcome.REFUTED),
        ),
        True: ((Variant.PROTECTED, Outcome.HELD),),
        False: ((Variant.UNPROTECTED, Outcome.REFUTED),),
    }[with_resilience]
    runs: list[Run] = []
    try:
        k6 = find_tool("k6")
        find_tool("toxiproxy-server")
        chosen = select(only)
        for variant, outcome in variants:
            for experiment in chosen:
                wanted = expect or outcome
                runs.append(
                    _run_until_quiet(experiment, variant, wanted, profile, k6, attempts)
                )
    except (HarnessFailed, ExperimentInvalid) as error:
        console.print(f"[red]The harness failed:[/] {escape(str(error))}")
        raise typer.Exit(UNKNOWN) from error
    finally:
        if runs:
            _write_report(runs, profile)
    raise typer.Exit(_exit_code(runs))


@app.command()
def settings(
    only: Annotated[str, typer.Option(help="the experiment: 03")],
    gateway: Annotated[str, typer.Option(help="base URL of the gateway under test")],
    profile: Annotated[str, typer.Option(help="a load profile")] = "local",
) -> None:
    """Prints the judge's settings for a run where Chaos Mesh injects the fault."""
    try:
        (experiment,) = select(only)
        told = cluster_settings(experiment, profile, load_profile(profile), gateway)
    except ExperimentInvalid as error:
        console.print(f"[red]{escape(str(error))}[/]")
        raise typer.Exit(UNKNOWN) from error
    sys.stdout.write(json.dumps(told, indent=2) + "\n")


if __name__ == "__main__":
    app()
