"""Writes what the runs have shown: pictures in docs/img, numbers in docs/simulation.md.

`python -m tests.simulation.report` writes them anew; a test compares. The page's text
is written by people: only what lies between the markers comes from here.
"""

from pathlib import Path

from tests.simulation.charts import Bands, Chart, Line, Panel
from tests.simulation.diary import Diary
from tests.simulation.scenarios import (
    BYSTANDER,
    END_S,
    FAULTS,
    FROM_S,
    MAIN,
    STORM,
    STORM_END_S,
    STORM_FROM_S,
    STORM_TO_S,
    TO_S,
    lived,
    storm,
)
from tests.simulation.test_low_traffic import DOWN_FROM_S, DOWN_TO_S, ROUTE, outage

DOCS = Path(__file__).parents[2] / "docs"
PAGE = DOCS / "simulation.md"
A, B, C = "#c2410c", "#2563eb", "#6b7280"
OK = "#15803d"
STATES = (("closed", "#86efac"), ("half_open", "#f59e0b"), ("open", "#f87171"))
STEP_S = 0.25
NONE = "none"
LAST_S = STORM_END_S - 20.0


def pictures() -> dict[str, str]:
    """Every picture, by file name."""
    outage_3, brown_out_3 = lived("outage", 3), lived("brown-out", 3)
    fault = (FROM_S, TO_S)
    surge = (STORM_FROM_S, STORM_TO_S)
    return {
        "simulation-outage.svg": _chart(
            outage_3, MAIN, "One provider is out; 3 replicas", fault, "outage", END_S
        ),
        "simulation-recovery.svg": _chart(
            outage_3,
            MAIN,
            "The same run: the provider comes back",
            fault,
            "out",
            END_S - 20.0,
            from_s=TO_S - 10.0,
        ),
        "simulation-brown-out.svg": _chart(
            brown_out_3,
            MAIN,
            "One provider fails 30 % of the time; 3 replicas",
            fault,
            "brown-out",
            END_S,
        ),
        "simulation-storm.svg": _chart(
            storm(3),
            STORM,
            "Three times the load, and clients that ask again; 3 replicas",
            surge,
            "triple load",
            STORM_END_S,
        ),
        "simulation-storm-unprotected.svg": _chart(
            storm(3, protected=False),
            STORM,
            "The same storm without breaker, budget and bulkhead",
            surge,
            "triple load",
            STORM_END_S,
            breakers=False,
        ),
    }


def page(written: str) -> str:
    """The page with its numbers as the runs give them."""
    for name, table in (
        ("faults", _faults()),
        ("storm", _storm()),
        ("low-traffic", _low_traffic()),
        ("proof", _proof()),
    ):
        begin, end = f"<!-- {name}: from the runs -->", f"<!-- {name}: end -->"
        before, found_begin, rest = written.partition(begin)
        _, found_end, after = rest.partition(end)
        assert found_begin and found_end, name
        written = f"{before}{begin}\n\n{table}\n\n{end}{after}"
    return written


def write() -> None:
    """Write pictures and page."""
    (DOCS / "img").mkdir(exist_ok=True)
    for name, picture in pictures().items():
        (DOCS / "img" / name).write_text(picture, "utf-8")
    PAGE.write_text(page(PAGE.read_text("utf-8")), "utf-8")


# --- pictures


def _chart(
    diary: Diary,
    route: tuple[str, ...],
    title: str,
    shaded: tuple[float, float],
    shaded_as: str,
    to_s: float,
    *,
    from_s: float = 0.0,
    breakers: bool = True,
) -> str:
    answered, asked = _per_second(diary, route, int(to_s))
    sends = {
        name: [len(diary.sent(name, second, second + 1)) for second in range(int(to_s))]
        for name in diary.sends
    }
    most = max([*asked, *(max(one) for one in sends.values())])
    top = -(-most // 20) * 20
    colours = dict(zip(diary.sends, (A, B, C), strict=False))
    panels = [
        Panel(
            "requests per second",
            top,
            [Line("asked", "#cbd5e1", asked, 5), Line("answered", OK, answered)],
        ),
        Panel(
            "attempts per second, by provider",
            top,
            [Line(name, colours[name], values) for name, values in sends.items()],
        ),
    ]
    if breakers:
        panels.append(
            Panel("replicas' breakers of a", 100, _breakers(diary, to_s), unit=" %")
        )
    return Chart(title, panels, int(from_s), int(to_s), shaded, shaded_as).svg()


def _per_second(
    diary: Diary, route: tuple[str, ...], seconds: int
) -> tuple[list[int], list[int]]:
    answered, asked = [0] * seconds, [0] * seconds
    for one in diary.requests[route]:
        if one.began_s < seconds:
            asked[int(one.began_s)] += 1
            answered[int(one.began_s)] += one.answered
    return answered, asked


def _breakers(diary: Diary, to_s: float) -> Bands:
    steps = list(diary.states("a"))
    shares: dict[str, list[float]] = {name: [] for name, _ in STATES}
    at = 0
    for number in range(int(to_s / STEP_S)):
        while at + 1 < len(steps) and steps[at + 1][0] <= number * STEP_S:
            at += 1
        for name, values in shares.items():
            values.append(steps[at][1][name] / diary.replicas)
    return Bands(
        [(name.replace("_", "-"), colour, shares[name]) for name, colour in STATES],
        STEP_S,
    )


# --- numbers


def _table(head: tuple[str, ...], rows: list[tuple[object, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _after(at_s: float | None, since_s: float) -> str:
    return NONE if at_s is None else f"{at_s - since_s:.1f} s"


def _faults() -> str:
    rows: list[tuple[object, ...]] = []
    runs = [(fault, n) for fault in FAULTS for n in (1, 3)]
    for fault, replicas in sorted([*runs, ("outage", 50), ("brown-out", 50)]):
        diary = lived(fault, replicas)
        before_s, during_s = (
            diary.latency_s(BYSTANDER, *span, 0.95)
            for span in ((0.0, FROM_S), (FROM_S, TO_S))
        )
        tripped = bool(diary.changes["a"])
        rows.append(
            (
                fault,
                replicas,
                _percent(diary.success(MAIN, FROM_S, TO_S)),
                f"{before_s:.2f} → {during_s:.2f} s",
                len(diary.asked(MAIN, FROM_S, TO_S)),
                len(diary.sent("a", FROM_S, TO_S)),
                _after(diary.contained_s("a", FROM_S), FROM_S),
                _after(diary.recovered_s("a", TO_S), TO_S) if tripped else NONE,
            )
        )
    return _table(
        (
            "fault of A, 60 s",
            "replicas",
            "answered by the chain",
            "p95 of B's own callers",
            "requests for A",
            "sent to A",
            "all breakers open after",
            "all closed again after",
        ),
        rows,
    )


def _storm() -> str:
    rows: list[tuple[object, ...]] = []
    for replicas, protected in ((1, True), (3, True), (50, True), (3, False)):
        diary = storm(replicas, protected=protected)
        sent = sum(len(diary.sent(name, LAST_S, STORM_END_S)) for name in STORM)
        asked = len(diary.asked(STORM, LAST_S, STORM_END_S))
        rows.append(
            (
                f"{replicas}{'' if protected else ', without the layers'}",
                _percent(diary.success(STORM, STORM_FROM_S, STORM_TO_S)),
                _well_again(diary),
                _percent(diary.success(STORM, LAST_S, STORM_END_S)),
                f"{sent / asked:.2f}",
            )
        )
    return _table(
        (
            "replicas",
            "answered in the storm",
            "95 % answered again after",
            "answered in the last 20 s",
            "attempts per request in the last 20 s",
        ),
        rows,
    )


def _well_again(diary: Diary) -> str:
    """Seconds from the storm's end until 95 % are answered, second by second."""
    bad = [
        second
        for second in range(int(STORM_TO_S), int(STORM_END_S) - 1)
        if diary.success(STORM, second, second + 1) < 0.95
    ]
    if not bad:
        return "0 s"
    return (
        "never" if bad[-1] >= STORM_END_S - 5.0 else f"{bad[-1] + 1 - STORM_TO_S:g} s"
    )


def _low_traffic() -> str:
    during, back_s = [], []
    for seed in range(16):
        diary = outage(seed)
        during.append(len(diary.sent("a", DOWN_FROM_S - 1.0, DOWN_TO_S - 1.0)))
        back_s.append(diary.sent("a", DOWN_TO_S - 1.0, 1e9)[0].at_s - DOWN_TO_S)
        assert all(one.answered for one in diary.requests[ROUTE])
    back_s.sort()
    return _table(
        ("runs", "attempts at A during the outage", "A in use again after its end"),
        [
            (
                len(during),
                " or ".join(map(str, sorted(set(during)))),
                f"{back_s[0]:.0f} to {back_s[-1]:.0f} s, "
                f"half of them within {back_s[len(back_s) // 2]:.0f} s",
            )
        ],
    )


def _proof() -> str:
    rows: list[tuple[object, ...]] = []
    for protected in (True, False):
        diary = lived("outage", 3, protected=protected)
        sent = diary.sent("a", FROM_S, TO_S)
        asked = len(diary.asked(MAIN, FROM_S, TO_S))
        rows.append(
            (
                "with" if protected else "without",
                asked,
                len(sent),
                f"{len(sent) / asked:.2f}",
            )
        )
    return _table(
        ("breaker and budget", "requests", "sent to A", "attempts per request"), rows
    )


if __name__ == "__main__":
    write()
