"""Writes the Grafana dashboards under `observability/grafana/dashboards`.

    uv run python scripts/dashboards.py           write them
    uv run python scripts/dashboards.py --check   exit 1 when a committed file differs

The rule it keeps: a dashboard is data made here and nowhere else, so that a change of
it is a readable change of this file. What must not live here: alert rules.
"""

import argparse
import json
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

type Json = dict[str, Any]

DASHBOARDS: Final = (
    Path(__file__).resolve().parent.parent / "observability" / "grafana" / "dashboards"
)
DATASOURCE: Final[Json] = {"type": "prometheus", "uid": "prometheus"}
GRID_COLUMNS: Final = 24
PANEL_HEIGHT: Final = 8
# Grafana puts at least four scrape intervals here: a rate always has two samples.
RATE: Final = "[$__rate_interval]"


@dataclass(frozen=True, slots=True)
class Query:
    """One PromQL expression and the legend of its series."""

    expr: str
    legend: str


@dataclass(frozen=True, slots=True)
class Panel:
    """One graph or number. `unit` is a Grafana unit id, `width` is of 24 columns."""

    title: str
    about: str
    queries: tuple[Query, ...]
    unit: str = "short"
    kind: str = "timeseries"
    width: int = 12
    maximum: float | None = None


@dataclass(frozen=True, slots=True)
class Row:
    """A titled group of panels, laid out from left to right."""

    title: str
    panels: tuple[Panel, ...]


def quantile(q: float, metric: str, by: Sequence[str] = ()) -> str:
    """PromQL for a quantile of a classic histogram, in the unit of `metric`."""
    labels = ", ".join(("le", *by))
    buckets = f"sum by ({labels}) (rate(llm_gateway_{metric}_bucket{RATE}))"
    return f"histogram_quantile({q}, {buckets})"


def rate(metric: str, by: Sequence[str], where: str = "") -> str:
    """PromQL for events per second of a counter, summed to the labels of `by`."""
    selector = f"{{{where}}}" if where else ""
    inner = f"rate(llm_gateway_{metric}{selector}{RATE})"
    return f"sum by ({', '.join(by)}) ({inner})" if by else f"sum({inner})"


def ratio(part: str, whole: str) -> str:
    """PromQL for a share; no traffic gives no value instead of a division by zero."""
    return f"({part} or vector(0)) / ({whole} > 0)"


OVERVIEW: Final = (
    Row(
        "What clients see",
        (
            Panel(
                "Answered",
                "Share of requests answered. What the caller did wrong is not counted.",
                (
                    Query(
                        ratio(
                            rate("requests_total", (), 'outcome="success"'),
                            rate(
                                "requests_total",
                                (),
                                'outcome=~"success|error|rejected"',
                            ),
                        ),
                        "answered",
                    ),
                ),
                unit="percentunit",
                kind="stat",
                width=4,
                maximum=1,
            ),
            Panel(
                "In flight",
                "Requests being served now.",
                (Query("sum(llm_gateway_requests_in_flight)", "in flight"),),
                kind="stat",
                width=4,
            ),
            Panel(
                "Requests by outcome",
                "Per second. A fallback that worked is a success.",
                (Query(rate("requests_total", ("outcome",)), "{{outcome}}"),),
                unit="reqps",
                width=8,
            ),
            Panel(
                "Request duration",
                "From the first byte in to the last byte out, streams included.",
                tuple(
                    Query(quantile(q, "request_duration_seconds"), f"p{q * 100:g}")
                    for q in (0.5, 0.95, 0.99)
                ),
                unit="s",
                width=8,
            ),
        ),
    ),
    Row(
        "What holds the failure",
        (
            Panel(
                "Circuit breakers not closed",
                "1 while the breaker of a target is in the state named.",
                (
                    Query(
                        "max by (provider, model, state) ("
                        'llm_gateway_circuit_breaker_state{state!="closed"})',
                        "{{provider}}/{{model}} {{state}}",
                    ),
                ),
                maximum=1,
            ),
            Panel(
                "Attempts by provider",
                "Sends to each provider per second, by why they were made.",
                (
                    Query(
                        rate("attempts_total", ("provider", "kind")),
                        "{{provider}} {{kind}}",
                    ),
                ),
                unit="reqps",
            ),
            Panel(
                "Failed attempts",
                "By provider and what went wrong.",
                (
                    Query(
                        rate(
                            "attempts_total",
                            ("provider", "error_type"),
                            'outcome!="success"',
                        ),
                        "{{provider}} {{error_type}}",
                    ),
                ),
                unit="reqps",
            ),
            Panel(
                "Fallbacks",
                "From which provider to which, and why.",
                (
                    Query(
                        rate(
                            "fallbacks_total",
                            ("from_provider", "to_provider", "reason"),
                        ),
                        "{{from_provider}} → {{to_provider}}: {{reason}}",
                    ),
                ),
                unit="reqps",
            ),
        ),
    ),
    Row(
        "What the gateway adds",
        (
            Panel(
                "Time to first token",
                "Per provider, as seen by the gateway.",
                (
                    Query(
                        quantile(0.95, "time_to_first_token_seconds", ("provider",)),
                        "{{provider}} p95",
                    ),
                ),
                unit="s",
            ),
            Panel(
                "Store",
                "1 while the store answers. Without it limits are held per replica.",
                (Query("min(llm_gateway_store_up)", "up"),),
                maximum=1,
            ),
        ),
    ),
)


def target(query: Query, ref: str) -> Json:
    """One query of a panel, in Grafana's form."""
    return {
        "datasource": DATASOURCE,
        "editorMode": "code",
        "expr": query.expr,
        "legendFormat": query.legend,
        "range": True,
        "refId": ref,
    }


def panel(spec: Panel, number: int, x: int, y: int) -> Json:
    """One panel at a place in the grid, in Grafana's form."""
    defaults: Json = {"unit": spec.unit, "min": 0}
    if spec.maximum is not None:
        defaults["max"] = spec.maximum
    return {
        "id": number,
        "type": spec.kind,
        "title": spec.title,
        "description": spec.about,
        "datasource": DATASOURCE,
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "gridPos": {"h": PANEL_HEIGHT, "w": spec.width, "x": x, "y": y},
        "options": {},
        "targets": [
            target(query, chr(ord("A") + index))
            for index, query in enumerate(spec.queries)
        ],
    }


def layout(rows: Iterable[Row]) -> list[Json]:
    """Places rows under each other, their panels side by side in 24 columns."""
    placed: list[Json] = []
    y = 0
    for row in rows:
        placed.append(
            {
                "id": len(placed) + 1,
                "type": "row",
                "title": row.title,
                "collapsed": False,
                "gridPos": {"h": 1, "w": GRID_COLUMNS, "x": 0, "y": y},
                "panels": [],
            }
        )
        x, y = 0, y + 1
        for spec in row.panels:
            if x + spec.width > GRID_COLUMNS:
                x, y = 0, y + PANEL_HEIGHT
            placed.append(panel(spec, len(placed) + 1, x, y))
            x += spec.width
        y += PANEL_HEIGHT
    return placed


def dashboard(uid: str, title: str, rows: Iterable[Row]) -> Json:
    """A whole dashboard. `uid` is its stable address."""
    return {
        "uid": uid,
        "title": title,
        "tags": ["breakwater"],
        "schemaVersion": 39,
        "editable": False,
        "refresh": "5s",
        "time": {"from": "now-15m", "to": "now"},
        "timezone": "browser",
        "annotations": {"list": []},
        "templating": {"list": []},
        "panels": layout(rows),
    }


def render() -> dict[str, str]:
    """File name to file content of every dashboard."""
    made = {"overview.json": dashboard("breakwater-overview", "Overview", OVERVIEW)}
    return {
        name: json.dumps(content, indent=2, ensure_ascii=False) + "\n"
        for name, content in made.items()
    }


def stale(folder: Path) -> list[str]:
    """Names of the files in `folder` that differ from what this script makes."""
    wanted = render()
    present = {path.name: path.read_text("utf-8") for path in folder.glob("*.json")}
    return sorted(
        name
        for name in wanted.keys() | present.keys()
        if wanted.get(name) != present.get(name)
    )


def main() -> int:
    """Writes the dashboards, or with `--check` only tells which are out of date."""
    parser = argparse.ArgumentParser(description="Make the Grafana dashboards.")
    parser.add_argument("--check", action="store_true", help="change nothing")
    if parser.parse_args().check:
        for name in (drifted := stale(DASHBOARDS)):
            print(f"{name} is not what scripts/dashboards.py makes", file=sys.stderr)
        return 1 if drifted else 0
    DASHBOARDS.mkdir(parents=True, exist_ok=True)
    for name, content in render().items():
        (DASHBOARDS / name).write_text(content, encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
