"""The plots of the report as inline SVG: one time axis, one panel above the other.

The rule it keeps: no script, no font and no colour from outside (colours are classes
that the page's style sheet defines), and a panel shows one quantity with its unit. It
knows nothing of experiments.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

WIDTH = 860
PANEL_HEIGHT = 130
LEFT, RIGHT, GAP, FOOT = 64, 12, 34, 30
_TICK_EVERY_S = (2, 5, 10, 15, 30, 60)
_MOST_TICKS = 14


@dataclass(frozen=True, slots=True)
class Series:
    """One line: its label, its colour class and its points (seconds, value)."""

    label: str
    colour: str
    points: Sequence[tuple[float, float]]
    stepped: bool = False


@dataclass(frozen=True, slots=True)
class Panel:
    """One plot: a title with its unit, an upper end and labelled grid lines."""

    title: str
    top: float
    grid: Sequence[tuple[float, str]]
    series: Sequence[Series]


def _path(
    series: Series, x: Callable[[float], float], y: Callable[[float], float]
) -> str:
    parts: list[str] = []
    for number, (second, value) in enumerate(series.points):
        if number == 0:
            parts.append(f"M{x(second):.1f},{y(value):.1f}")
        elif series.stepped:
            parts.append(f"H{x(second):.1f}V{y(value):.1f}")
        else:
            parts.append(f"L{x(second):.1f},{y(value):.1f}")
    return "".join(parts)


def _panel(panel: Panel, offset: float, x: Callable[[float], float]) -> list[str]:
    def y(value: float) -> float:
        share = min(max(value / panel.top, 0.0), 1.0)
        return offset + PANEL_HEIGHT * (1 - share)

    out = [
        f'<text class="title" x="{LEFT}" y="{offset - 9}">{escape(panel.title)}</text>'
    ]
    for value, label in panel.grid:
        out.append(
            f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" '
            f'y1="{y(value):.1f}" y2="{y(value):.1f}"/>'
            f'<text class="tick" text-anchor="end" x="{LEFT - 6}" '
            f'y="{y(value) + 4:.1f}">{escape(label)}</text>'
        )
    legend_x = WIDTH - RIGHT
    for series in reversed(panel.series):
        out.append(
            f'<text class="label {series.colour}" text-anchor="end" x="{legend_x}" '
            f'y="{offset - 9}">{escape(series.label)}</text>'
        )
        legend_x -= 12 + 7 * len(series.label)
    for series in panel.series:
        path = _path(series, x, y)
        if path:
            out.append(f'<path class="line {series.colour}" d="{path}"/>')
    return out


def timeline_svg(
    panels: Sequence[Panel], end_s: float, shaded: tuple[float, float], caption: str
) -> str:
    """Panels over one time axis of `end_s` seconds, a span of it shaded.

    `caption` is what a screen reader is told.
    """
    height = len(panels) * (PANEL_HEIGHT + GAP) + FOOT

    def x(second: float) -> float:
        inner = WIDTH - LEFT - RIGHT
        return LEFT + inner * min(max(second, 0.0), end_s) / end_s

    bottom = height - FOOT
    out = [
        f'<svg viewBox="0 0 {WIDTH} {height}" role="img" '
        f'aria-label="{escape(caption, quote=True)}">',
        f'<rect class="fault" x="{x(shaded[0]):.1f}" y="{GAP - 6}" '
        f'width="{x(shaded[1]) - x(shaded[0]):.1f}" height="{bottom - GAP + 6}"/>',
        f'<text class="tick" x="{x(shaded[0]) + 6:.1f}" y="{bottom - 6}">fault</text>',
    ]
    for number, panel in enumerate(panels):
        out += _panel(panel, GAP + number * (PANEL_HEIGHT + GAP), x)
    step = next((s for s in _TICK_EVERY_S if end_s / s <= _MOST_TICKS), 120)
    for second in range(0, int(end_s) + 1, step):
        out.append(
            f'<text class="tick" text-anchor="middle" x="{x(second):.1f}" '
            f'y="{bottom + 18}">{second} s</text>'
        )
    out.append("</svg>")
    return "\n".join(out)
