"""Charts of points, on axes of logarithms and of names beside the plain ones of histo/figures.py."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from histo.figures import Axis, Canvas, Line, legend_list


@dataclass(frozen=True)
class LogAxis(Axis):
    """An axis whose equal distances are equal factors; its range is above 0."""

    def ticks(self, count: int = 5) -> list[float]:
        """Return powers of ten, with 2 and 5 times these where there are fewer than three of them; of a range that
        holds hardly any of these either, those of a plain axis."""
        powers = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
        for factors in ((1,), (1, 2, 5)):
            ticks = [float(f"{factor}e{power}") for power in powers for factor in factors]
            ticks = [tick for tick in ticks if self.low <= tick <= self.high]
            if len(ticks) >= 3:
                break
        return ticks if len(ticks) >= 2 else super().ticks(count)

    def marks(self) -> list[tuple[float, str]]:
        """Return the ticks with their texts."""
        return [(tick, f"{tick:g}") for tick in self.ticks()]

    def share(self, value: float) -> float:
        """Return where a value lies, from 0 at the low end to 1 at the high one."""
        return math.log(value / self.low) / math.log(self.high / self.low)


@dataclass(frozen=True)
class NamedAxis(Axis):
    """An axis of names, the k-th of which is at k."""

    names: Sequence[str] = ()

    def marks(self) -> list[tuple[float, str]]:
        """Return the places with their names."""
        return [(float(place), name) for place, name in enumerate(self.names)]

    @classmethod
    def of(cls, label: str, names: Sequence[str]) -> "NamedAxis":
        """Return an axis of these names, with air at both ends."""
        return cls(label, -0.5, len(names) - 0.5, names=names)


@dataclass(frozen=True)
class Dots:
    """Named points; tone: which colour, from 0 on; shape: dot, ring or cross."""

    name: str
    x: Sequence[float]
    y: Sequence[float]
    tone: int
    shape: str = "dot"

    def mark(self, x: float, y: float) -> str:
        """Return the SVG of one point, in units of the chart."""
        if self.shape == "cross":
            arms = f"M{x - 4:.1f} {y - 4:.1f}l8 8m0 -8l-8 8"
            return f'<path class="line stroke-{self.tone}" d="{arms}"/>'
        if self.shape == "ring":
            return f'<circle class="line stroke-{self.tone}" cx="{x}" cy="{y}" r="7"/>'
        return f'<circle class="fill-{self.tone}" cx="{x}" cy="{y}" r="4" fill-opacity=".8"/>'


def scatter_chart(
    title: str, dots: Sequence[Dots], x: Axis, y: Axis, description: str, line: Line | None = None
) -> Markup:
    """Return a chart of points, later ones above earlier ones and all above the line."""
    canvas = Canvas(x, y)
    canvas.y_axis_marks()
    if line is not None:
        canvas.path(line)
    for group in dots:
        for one_x, one_y in zip(group.x, group.y, strict=True):
            canvas.add(group.mark(canvas.x(one_x), canvas.y(one_y)))
    canvas.x_axis_marks()
    marks = [] if line is None else [(line.name, f'<line class="{line.style}" x1="0" y1="5" x2="22" y2="5"/>')]
    # A ring is higher than the legend's boxes.
    marks = [(g.name, f'<g transform="translate(11 5) scale(.65)">{g.mark(0, 0)}</g>') for g in dots if g.x] + marks
    return canvas.figure(title, description, legend_list(marks))
