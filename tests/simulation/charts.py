"""Time lines as SVG, by hand: the same run gives the same bytes.

Panels one below the other over one time axis; a span may be shaded. Nothing here knows
what is shown.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

WIDTH, LEFT, RIGHT = 760, 64, 96
TOP, PANEL, GAP, BOTTOM = 34, 96, 34, 40
INK, FAINT, SHADE = "#1f2937", "#d1d5db", "#fde68a"


@dataclass(frozen=True)
class Line:
    """One value per second, and its name at the end of the line."""

    name: str
    colour: str
    values: Sequence[float]
    width: float = 1.8


@dataclass(frozen=True)
class Bands:
    """Shares that add up to one, per step of `step_s`, from the bottom up."""

    shares: Sequence[tuple[str, str, Sequence[float]]]
    step_s: float


@dataclass(frozen=True)
class Panel:
    """Lines or bands on a scale from 0 to `top`."""

    title: str
    top: float
    content: Sequence[Line] | Bands
    unit: str = ""


@dataclass(frozen=True)
class Chart:
    """Panels, from `from_s` to `to_s`, with what is shaded in between."""

    title: str
    panels: Sequence[Panel]
    from_s: int
    to_s: int
    shaded: tuple[float, float]
    shaded_as: str

    def svg(self) -> str:
        """Return the picture."""
        height = TOP + len(self.panels) * (PANEL + GAP) + BOTTOM - GAP
        parts = [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
            f'font-family="system-ui, sans-serif" font-size="12" fill="{INK}" '
            f'role="img" aria-label="{escape(self.title)}">',
            f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>',
        ]
        for number, panel in enumerate(self.panels):
            y = TOP + number * (PANEL + GAP)
            parts += self._frame(panel, y, with_name=number == 0)
            if isinstance(panel.content, Bands):
                parts += self._bands(panel.content, y)
            else:
                parts += self._lines(panel, panel.content, y)
        parts += self._axis(TOP + len(self.panels) * (PANEL + GAP) - GAP)
        return "\n".join([*parts, "</svg>\n"])

    def _x(self, at_s: float) -> float:
        inner = WIDTH - LEFT - RIGHT
        inside = min(max(at_s, self.from_s), self.to_s)
        return round(
            LEFT + inner * (inside - self.from_s) / (self.to_s - self.from_s), 1
        )

    def _frame(self, panel: Panel, y: int, *, with_name: bool) -> list[str]:
        left, right = self._x(self.shaded[0]), self._x(self.shaded[1])
        parts = [
            f'<rect x="{left}" y="{y}" width="{round(right - left, 1)}" '
            f'height="{PANEL}" fill="{SHADE}" opacity="0.35"/>',
            f'<text x="{LEFT}" y="{y - 8}" font-weight="600">'
            f"{escape(panel.title)}</text>",
        ]
        if with_name and right > left:
            parts.append(
                f'<text x="{round((left + right) / 2, 1)}" y="{y - 8}" '
                f'text-anchor="middle">{escape(self.shaded_as)}</text>'
            )
        for share in (0.0, 0.5, 1.0):
            at = y + PANEL * (1 - share)
            parts += [
                f'<line x1="{LEFT}" y1="{at}" x2="{WIDTH - RIGHT}" y2="{at}" '
                f'stroke="{FAINT}"/>',
                f'<text x="{LEFT - 6}" y="{at + 4}" text-anchor="end">'
                f"{share * panel.top:g}{panel.unit}</text>",
            ]
        return parts

    def _lines(self, panel: Panel, lines: Sequence[Line], y: int) -> list[str]:
        parts = []
        for line in lines:
            points = " ".join(
                f"{self._x(second + 0.5)},"
                f"{round(y + PANEL * (1 - min(1.0, value / panel.top)), 1)}"
                for second, value in enumerate(line.values)
                if self.from_s <= second < self.to_s
            )
            parts.append(
                f'<polyline points="{points}" fill="none" stroke="{line.colour}" '
                f'stroke-width="{line.width}"/>'
            )
        return parts + _legend([(one.name, one.colour) for one in lines], y)

    def _bands(self, bands: Bands, y: int) -> list[str]:
        parts, below = [], [0.0] * len(bands.shares[0][2])
        for _, colour, shares in bands.shares:
            above = [a + b for a, b in zip(below, shares, strict=True)]
            edge = self._stairs(above, bands.step_s, y)
            floor = self._stairs(below, bands.step_s, y)
            points = " ".join(edge + floor[::-1])
            parts.append(f'<polygon points="{points}" fill="{colour}"/>')
            below = above
        return parts + _legend([(name, colour) for name, colour, _ in bands.shares], y)

    def _stairs(self, shares: Sequence[float], step_s: float, y: int) -> list[str]:
        points: list[str] = []
        for number, share in enumerate(shares):
            begins_s = number * step_s
            if begins_s + step_s <= self.from_s or begins_s >= self.to_s:
                continue
            at = round(y + PANEL * (1 - share), 1)
            steps = [f"{self._x(begins_s)},{at}", f"{self._x(begins_s + step_s)},{at}"]
            if len(points) > 1 and points[-1].endswith(f",{at}"):
                points[-1] = steps[1]  # a level stretch needs no corners
            else:
                points += steps
        return points

    def _axis(self, y: int) -> list[str]:
        parts = []
        for second in range(self.from_s, self.to_s + 1, 10):
            parts.append(
                f'<text x="{self._x(second)}" y="{y + 18}" text-anchor="middle">'
                f"{second}</text>"
            )
        parts.append(
            f'<text x="{WIDTH - RIGHT + 12}" y="{y + 18}">seconds</text>',
        )
        return parts


def _legend(names: Sequence[tuple[str, str]], y: int) -> list[str]:
    x = WIDTH - RIGHT + 12
    parts = []
    for number, (name, colour) in enumerate(names):
        at = y + 14 + 20 * number
        parts += [
            f'<rect x="{x}" y="{at - 8}" width="10" height="10" fill="{colour}"/>',
            f'<text x="{x + 15}" y="{at + 1}">{escape(name)}</text>',
        ]
    return parts
