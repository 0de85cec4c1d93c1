"""The report of a chaos run: one HTML file that needs nothing else to be read.

The rule it keeps: every number in it was measured in the run it describes; without a
run there is nothing to show. It reads verdicts and time lines and makes no judgement.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from html import escape

from .charts import Panel, Series, timeline_svg
from .experiments import Experiment, Phase, Variant
from .judge import Outcome, Result, Verdict
from .starvation import STARVED_ABOVE
from .timeline import Second, Timeline, percentile

PHASES: tuple[Phase, ...] = ("baseline", "fault", "recovery")
GROUPS = {
    "hypothesis": "The hypothesis",
    "took_effect": "Did the fault take effect?",
    "steady_state": "The steady state before it",
    "harness": "The harness",
}
VARIANTS = {
    Variant.PROTECTED: "the gateway as it is",
    Variant.UNPROTECTED: "counter-proof: breaker off, timeouts as long as the deadline",
}
COLOURS = ("one", "two", "four")
_MS = frozenset({"call_ms", "first_token_ms", "control_ms", "control_worst_ms"})
_S = frozenset({"breaker_open_after_s", "recovered_after_s"})
_COUNTS = frozenset({"provider_reached", "failed_attempts", "dropped"})

STYLE = """
:root { --ink:#1d2430; --dim:#5d6675; --page:#fbfbf9; --rule:#d9dce2; --fault:#f6d8d2;
  --one:#1f5fbf; --two:#b3630c; --three:#5b3d99; --good:#1c7a43; --bad:#b3261e;
  --unsure:#8a6100; }
@media (prefers-color-scheme: dark) { :root { --ink:#e6e9ef; --dim:#9aa4b5;
  --page:#14181f; --rule:#343b47; --fault:#47272a; --one:#7fb0ff; --two:#f0a658;
  --three:#c0a4f5; --good:#63cf92; --bad:#ff8a80; --unsure:#e6bd52; } }
body { font:15px/1.5 system-ui,sans-serif; color:var(--ink); background:var(--page);
  max-width:900px; margin:2rem auto; padding:0 1rem; }
h1 { font-size:1.5rem; } h2 { font-size:1.2rem; margin-top:2.5rem; }
h3 { font-size:1rem; margin-bottom:.3rem; }
.dim { color:var(--dim); } .held { color:var(--good); } .refuted { color:var(--bad); }
.inconclusive { color:var(--unsure); } .verdict { font-weight:700; }
table { border-collapse:collapse; width:100%; font-variant-numeric:tabular-nums; }
th,td { text-align:left; padding:.25rem .6rem .25rem 0; vertical-align:top;
  border-bottom:1px solid var(--rule); }
th { color:var(--dim); font-weight:500; } td.n,th.n { text-align:right; }
.scroll { overflow-x:auto; } svg { width:100%; height:auto; margin-top:.6rem; }
svg text { font:12px system-ui,sans-serif; fill:var(--ink); }
svg .tick { fill:var(--dim); } svg .title { font-weight:600; }
svg .grid { stroke:var(--rule); } svg .fault { fill:var(--fault); }
svg .line { fill:none; stroke-width:2; stroke-linejoin:round; }
svg .line.one { stroke:var(--one); } svg .line.two { stroke:var(--two); }
svg .line.three { stroke:var(--three); } svg .line.four { stroke:var(--good); }
svg text.four { fill:var(--good); } svg text.one { fill:var(--one); }
svg text.two { fill:var(--two); } svg text.three { fill:var(--three); }
"""


@dataclass(frozen=True, slots=True)
class Run:
    """One experiment against one variant of the gateway."""

    experiment: Experiment
    variant: Variant
    expected: Outcome
    verdict: Verdict
    timeline: Timeline
    # Earlier ones were inconclusive: the machine was too busy to judge.
    attempt: int = 1
    # The worst share of five seconds that the gateway waited for a CPU, if known.
    starved_ratio: float | None = None

    @property
    def outcome(self) -> Outcome:
        """The verdict, unless it is a surprise on a machine that was too busy.

        A hypothesis that holds on a busy machine holds; one that does not may have
        been refuted by the machine.
        """
        if self.machine_was_busy and not self.as_expected:
            return Outcome.INCONCLUSIVE
        return self.verdict.verdict

    @property
    def machine_was_busy(self) -> bool:
        """True when control calls were slow or the gateway was kept from running."""
        starved = (self.starved_ratio or 0.0) > STARVED_ABOVE
        return starved or self.verdict.machine_was_busy()

    @property
    def as_expected(self) -> bool:
        """True when the verdict is the expected one, and for the right reasons.

        A gateway without a breaker has no breaker that could open in time: a
        counter-proof counts only when the criteria named for it are the ones refuted.
        """
        if self.verdict.verdict is not self.expected:
            return False
        if self.expected is not Outcome.REFUTED or self.variant is Variant.PROTECTED:
            return True
        failed = {each.id for each in self.verdict.failed()}
        return failed.issuperset(self.experiment.counter_proof.must_refute)


def page(runs: Sequence[Run], about: Sequence[str]) -> str:
    """The whole report. `about` says when and on what the runs were made."""
    body = "\n".join(_section(run) for run in runs)
    facts = " · ".join(escape(fact) for fact in about)
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width">'
        f"<title>Containment report</title><style>{STYLE}</style></head><body>"
        f'<h1>Containment report</h1><p class="dim">{facts}</p>'
        f"{_overview(runs)}{body}</body></html>\n"
    )


def measured_text(result: Result) -> str:
    """What was measured, with its unit."""
    if result.measured is None:
        return "never" if result.measure in _S else "no sample"
    if result.measure in _MS:
        return f"{result.measured:.0f} ms"
    if result.measure in _S:
        return f"{result.measured:.2f} s"
    if result.measure in _COUNTS:
        return f"{result.measured:.0f}"
    return f"{result.measured * 100:.2f} %"


def limit_text(result: Result) -> str:
    """What was allowed, with its unit."""
    if result.measure in _S:
        return f"{result.limit} s"
    if result.measure in _MS and "ms" not in result.limit:
        return f"{result.limit} ms"
    if result.measure in _MS or result.measure in _COUNTS:
        return result.limit
    sign, _, number = result.limit.partition(" ")
    return f"{sign} {float(number) * 100:g} %"


def _badge(outcome: Outcome) -> str:
    return f'<span class="verdict {outcome}">{outcome}</span>'


def _overview(runs: Iterable[Run]) -> str:
    rows = "".join(
        f'<tr><td><a href="#{run.experiment.name}-{run.variant}">'
        f"{run.experiment.number:02d} {escape(run.experiment.title)}</a></td>"
        f"<td>{VARIANTS[run.variant]}</td><td>{_badge(run.outcome)}</td>"
        f"<td>{'as it must' if run.as_expected else 'UNEXPECTED'}"
        "</td></tr>"
        for run in runs
    )
    return (
        '<div class="scroll"><table><tr><th>experiment</th><th>against</th>'
        f"<th>hypothesis</th><th></th></tr>{rows}</table></div>"
    )


def _section(run: Run) -> str:
    experiment, verdict = run.experiment, run.verdict
    uncovered = "".join(
        f"<li>{escape(each)}</li>" for each in experiment.local_run_does_not_cover
    )
    notes = "<p>The judge stopped the run early.</p>" if verdict.aborted else ""
    if run.attempt > 1:
        notes += f"<p>Attempt {run.attempt}: the machine was too busy before.</p>"
    if run.starved_ratio is not None:
        notes += (
            '<p class="dim">At worst the gateway waited '
            f"{run.starved_ratio:.0%} of five seconds for a CPU; above "
            f"{STARVED_ABOVE:.0%} nothing unexpected counts.</p>"
        )
    return (
        f'<h2 id="{experiment.name}-{run.variant}">{experiment.number:02d} '
        f"{escape(experiment.title)}: {_badge(run.outcome)}</h2>"
        f'<p class="dim">{VARIANTS[run.variant]}; profile {escape(verdict.profile)}</p>'
        f"<p>{escape(experiment.fault)}</p>"
        f"<p><strong>Hypothesis.</strong> {escape(experiment.hypothesis.text)}</p>"
        f"{notes}{_chart(run)}{_counts(run)}{_criteria(verdict)}"
        f'<h3>What a local run does not cover</h3><ul class="dim">{uncovered}</ul>'
    )


def _criteria(verdict: Verdict) -> str:
    rows: list[str] = []
    for group, title in GROUPS.items():
        members = [each for each in verdict.criteria if each.group == group]
        rows.append(f'<tr><th colspan="4">{title}</th></tr>')
        rows += [
            f"<tr><td>{escape(each.says)}</td>"
            f'<td class="n">{escape(measured_text(each))}</td>'
            f"<td>{escape(limit_text(each))}</td>"
            f'<td class="{"held" if each.ok else "refuted"}">'
            f"{'yes' if each.ok else 'NO'}</td></tr>"
            for each in members
        ]
    return (
        '<h3>Measured against its limits</h3><div class="scroll"><table>'
        '<tr><th></th><th class="n">measured</th><th>limit</th><th>met</th></tr>'
        f"{''.join(rows)}</table></div>"
    )


def _counts(run: Run) -> str:
    providers = run.experiment.providers
    rows: list[str] = []
    for route in run.experiment.routes:
        for phase in PHASES:
            counts = run.timeline.counts.get((route, phase))
            if counts is None:
                continue
            by = "".join(
                f'<td class="n">{counts.by_provider.get(name, 0)}</td>'
                for name in providers
            )
            rows.append(
                f"<tr><td>{escape(route)}</td><td>{phase}</td>"
                f'<td class="n">{counts.calls}</td><td class="n">{counts.failed}</td>'
                f'{by}<td class="n">{percentile(counts.latencies_ms, 0.5):.0f}</td>'
                f'<td class="n">{percentile(counts.latencies_ms, 0.95):.0f}</td></tr>'
            )
    heads = "".join(f'<th class="n">by {escape(name)}</th>' for name in providers)
    return (
        '<h3>Counts</h3><div class="scroll"><table><tr><th>route</th><th>phase</th>'
        f'<th class="n">calls</th><th class="n">failed</th>{heads}'
        '<th class="n">p50, ms</th><th class="n">p95, ms</th></tr>'
        f"{''.join(rows)}</table></div>"
    )


def _nice_top_ms(highest: float) -> float:
    for top in (100, 200, 400, 600, 1000, 2000, 4000, 6000, 10_000, 20_000, 60_000):
        if highest <= top:
            return float(top)
    return highest


def _duration_text(value_ms: float) -> str:
    return f"{value_ms / 1000:g} s" if value_ms >= 1000 else f"{value_ms:.0f} ms"


def _by_route(run: Run, value: Callable[[Second], float]) -> list[Series]:
    """One line per route; a second is drawn at its middle."""
    return [
        Series(
            f"route {route}",
            colour,
            [
                (at + 0.5, value(second))
                for at, second in sorted(run.timeline.seconds.get(route, {}).items())
            ],
        )
        for route, colour in zip(run.experiment.routes, COLOURS, strict=False)
    ]


def _breaker_panel(run: Run) -> Panel:
    victim = run.experiment.providers[0]
    states = [(at, float(state)) for at, state in run.timeline.breaker]
    if states:
        states.append((run.verdict.phases.end, states[-1][1]))
    return Panel(
        f"Breaker of {victim}" + ("" if states else ": there is none"),
        2,
        [(0, "closed"), (1, "half-open"), (2, "open")],
        [Series(victim, "three", states, stepped=True)],
    )


def _chart(run: Run) -> str:
    phases = run.verdict.phases
    latency = _by_route(run, lambda second: second.p95_ms)
    highest = max((value for each in latency for _, value in each.points), default=1.0)
    top_ms = _nice_top_ms(highest)
    panels = [
        Panel(
            "Calls answered, of those sent in each second",
            100,
            [(0, "0 %"), (50, "50 %"), (100, "100 %")],
            _by_route(run, lambda second: second.success_ratio * 100),
        ),
        Panel(
            "Duration of a call, p95 of those sent in each second",
            top_ms,
            [(share * top_ms, _duration_text(share * top_ms)) for share in (0, 0.5, 1)],
            latency,
        ),
        _breaker_panel(run),
    ]
    return timeline_svg(
        panels,
        phases.end,
        (phases.inject_at, phases.clear_at),
        f"Success rate, latency and breaker state of {run.experiment.title} over "
        f"{phases.end:.0f} seconds; the fault lasts from {phases.inject_at:.0f} to "
        f"{phases.clear_at:.0f} s.",
    )
