"""What the demo shows: a line per second, and the summary.

The rule it keeps: the same words with and without a terminal; a terminal gets colours
and a bar of what is still to come. Nothing is counted here.
"""

from collections.abc import Sequence
from math import ceil
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from scripts.demo.tally import Phase, Second, Tally

PHASE_NAMES = {
    Phase.WELL: "all is well",
    Phase.KILLED: "{victim} killed",
    Phase.BACK: "{victim} back",
}
_STATE_COLOURS = {"closed": "green", "open": "red", "half_open": "yellow"}
_MOST_FAILURES_SHOWN = 5


class Screen:
    """The terminal during a run. A context manager: it holds the bar."""

    def __init__(
        self, console: Console, providers: Sequence[str], expected_s: float
    ) -> None:
        self._console = console
        self._providers = providers
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._task = self._bar.add_task("all is well", total=expected_s)

    def __enter__(self) -> Self:
        names = "".join(f"{name:>7}" for name in self._providers)
        self._console.print(
            f"{'time':>6}{'answered':>10}{'failed':>8}{'broken':>8} {names}"
            f"{'p50':>10}{'p95':>9}  {'breaker':<10} what happened",
            style="bold",
        )
        self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bar.stop()

    def phase(self, phase: Phase) -> None:
        """Say in the bar which act is on."""
        name = PHASE_NAMES[phase].format(victim=self._providers[0])
        self._bar.update(self._task, description=name)

    def second(
        self, at_s: float, second: Second, breaker: str, notes: Sequence[str]
    ) -> None:
        """Show one second as one line."""
        line = Text(f"{at_s:>5.0f}s{second.answered:>10}")
        line.append(f"{second.failed:>8}", "bold red" if second.failed else "")
        line.append(f"{second.broken:>8} ", "yellow" if second.broken else "")
        for name in self._providers:
            count = second.providers[name]
            line.append(f"{count or '·':>7}", "cyan" if count else "dim")
        line.append(f"{second.p50_ms:>7.0f} ms{second.p95_ms:>6.0f} ms  ")
        line.append(f"{breaker:<10} ", _STATE_COLOURS.get(breaker, ""))
        line.append("; ".join(notes), "bold magenta")
        line.rstrip()
        self._console.print(line)
        self._bar.update(self._task, completed=at_s)


def show_summary(console: Console, tally: Tally, providers: Sequence[str]) -> None:
    """Show the counts of a run, and what they mean."""
    failures = tally.failures
    console.print(
        f"\n{len(tally.results)} requests: {tally.answered} answered, "
        f"{len(failures)} failed, {tally.broken} streams broken\n",
        style="bold",
    )
    console.print(_who_answered(tally, providers))
    _show_moments(console, tally)
    for one in failures[:_MOST_FAILURES_SHOWN]:
        kind = "stream" if one.stream else "plain"
        console.print(
            f"  failed: {kind}, sent at {one.sent_at_s:.1f} s, "
            f"{one.provider or 'nobody'} answering: {one.verdict.why}",
            style="red",
        )
    if failures:
        console.print(
            f"\n{len(failures)} requests failed that a chain could have saved.",
            style="bold red",
        )
    else:
        console.print(
            "\nNo request failed that the chain could have saved.", style="bold green"
        )


def _who_answered(tally: Tally, providers: Sequence[str]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2))
    table.add_column("  answered by", no_wrap=True)
    for name in providers:
        table.add_column(name, justify="right")
    for phase in Phase:
        name = PHASE_NAMES[phase].format(victim=tally.victim)
        counts = tally.answered_by(phase)
        table.add_row(f"  {name}", *(str(counts[one]) for one in providers))
    return table


def _show_moments(console: Console, tally: Tally) -> None:
    victim, kill = tally.victim, tally.at_the_kill()
    facts = {
        "attempts": ", ".join(
            f"{count} answers took {number}"
            for number, count in sorted(tally.attempts().items())
        ),
        "at the kill": (
            f"{kill.in_flight} requests in flight: {victim} was delivering "
            f"{kill.delivering} as streams; {kill.saved} had been given nothing yet "
            "and were answered by another provider"
        ),
        "broken": _about_broken(tally.broken),
        "breaker opened": _within(tally.breaker_took_s(), "the kill"),
        f"{victim} used again": _within(
            tally.used_again_after_s(), f"its return: asked and answered by {victim}"
        ),
    }
    console.print()
    for what, text in facts.items():
        console.print(f"  {what:<18}{text}")


def _about_broken(broken: int) -> str:
    if not broken:
        return "none"
    return (
        f"{broken} streams: part of each had left already, which no chain can take "
        "back; each said so by its typed error event, with no token lost or repeated"
    )


def _within(seconds: float | None, what: str) -> str:
    """Say how long something took, as exactly as it was looked at."""
    if seconds is None:
        return "not seen in this run"
    return f"within {ceil(seconds * 10) / 10:.1f} s of {what}"
