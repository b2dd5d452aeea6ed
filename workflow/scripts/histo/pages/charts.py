"""Charts as inline SVG: lines, histograms, intervals and scatter plots.

A chart names colours by number. `STYLE`, which a page includes in its style sheet, defines them for the light theme,
the dark theme and print, and styles charts and galleries. Blue and orange follow Okabe & Ito (Color Universal Design,
2008); the others were chosen for the largest distances under simulated protanopia and deuteranopia. Label 0 is blue
and label 1 is orange on every page. All functions return markup in which texts from outside are escaped. The page
defines the CSS variables --ink (text), --quiet (secondary text) and --rule (thin lines).

The marks of a series are a <g class="series"> with data-name, data-points (JSON, [x, y] or more values each) and,
unless they are a line, data-at (their positions). The script of the page reads them.
"""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

WIDTH, HEIGHT = 480, 300  # of a chart, in units of its viewBox; the page scales it
LEFT, RIGHT, TOP, BOTTOM = 66, 14, 12, 46  # margins around the plotting area
COLOURS = 6  # number of colours; further lines reuse them, dashed
NEGATIVE, POSITIVE = 0, 1  # colours of the labels

STYLE = """
:root { --colour-0: #0072b2; --colour-1: #d55e00; --colour-2: #1fa49f;
  --colour-3: #500431; --colour-4: #962a14; --colour-5: #1e0995; }
@media screen and (prefers-color-scheme: dark) {
  :root { --colour-0: #56b4e9; --colour-1: #f08a35; --colour-2: #93f9f8;
    --colour-3: #fcf73f; --colour-4: #b04c30; --colour-5: #3d66d6; }
}
.chart { margin: 0; break-inside: avoid; }
.chart figcaption { font-weight: 600; margin-bottom: .25rem; }
.chart > svg { display: block; width: 100%; height: auto; font-size: 12.5px; }
.chart text { fill: var(--quiet); font-variant-numeric: tabular-nums; }
.chart text.strong { fill: var(--ink); }
.chart .grid { stroke: var(--rule); }
.chart .axis { stroke: var(--quiet); }
.chart .guide { stroke: var(--quiet); stroke-dasharray: 3 4; fill: none; }
.chart .line { fill: none; stroke-width: 2; stroke-linejoin: round; }
.chart .dashed { stroke-dasharray: 6 4; }
.chart .points { fill: none; stroke-width: 4; stroke-linecap: round; stroke-opacity: .65; }
.chart .points.others { stroke: var(--quiet); stroke-opacity: .3; } .chart .legend .points { stroke-width: 9; }
.legend { list-style: none; display: flex; flex-wrap: wrap; gap: .1rem 1rem; margin: 0 0 .25rem; padding: 0; }
.legend li { display: flex; align-items: center; gap: .4rem; font-size: .85rem; color: var(--quiet); }
.chart .legend svg { width: 22px; height: 10px; flex: none; }
.tiles { display: grid; grid-template-columns: repeat(auto-fill, 192px); gap: 1rem 1.25rem; margin: .5rem 0 1.25rem; }
.sprite { position: absolute; width: 0; height: 0; overflow: hidden; }
.tile { margin: 0; break-inside: avoid; }
.tile.broad { grid-column: span 2; }
.tile svg { display: block; width: 100%; height: auto; border-radius: 3px; image-rendering: pixelated; }
.tile .inner { fill: none; stroke: #fff; }
.tile .outer { fill: none; stroke: #000; stroke-opacity: .6; }
.tile:hover rect { opacity: 0; }
.tile figcaption { font-size: .78rem; line-height: 1.35; margin-top: .25rem; color: var(--quiet);
  overflow-wrap: anywhere; }
.tile code { font-size: .7rem; } .tile figcaption .of-model { font-weight: 400; color: var(--quiet); }
@media (max-width: 560px) { .chart > svg { font-size: 14.5px; } }
@media print { .tiles { grid-template-columns: repeat(6, 1fr); break-inside: avoid; } }
.tile figcaption b { color: var(--ink); font-variant-numeric: tabular-nums; }
""" + "".join(
    f".stroke-{k} {{ stroke: var(--colour-{k}); }} .fill-{k} {{ fill: var(--colour-{k}); }}\n" for k in range(COLOURS)
)


@dataclass(frozen=True)
class Axis:
    """A linear axis: its label, its range, and whether it has ticks at integers only."""

    label: str
    low: float
    high: float
    integer: bool = False

    def ticks(self, count: int = 5) -> list[float]:
        """Return about `count` round numbers within the range."""
        rough = (self.high - self.low) / count
        power = 10.0 ** math.floor(math.log10(rough))
        step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= 0.7 * rough)
        step = max(1, round(step)) if self.integer else step
        first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
        return [round(k * step, 10) for k in range(first, last + 1)]

    def marks(self) -> list[tuple[float, str]]:
        """Return the ticks with their labels, all with the same number of decimals."""
        ticks = self.ticks()
        decimals = max(len(f"{tick:.10f}".rstrip("0").partition(".")[2]) for tick in ticks) if ticks else 0
        # Counts drawn below the zero line are shown as positive numbers.
        return [(tick, f"{abs(tick) if self.integer else tick:,.{decimals}f}") for tick in ticks]

    def fraction(self, value: float) -> float:
        """Return the position of a value along the axis, 0 at the low end and 1 at the high end."""
        return (value - self.low) / (self.high - self.low)

    def shown(self, value: float) -> float | str:
        """Return a value as a reader sees it, with six significant digits."""
        return float(f"{value:.6g}")

    @classmethod
    def around(cls, label: str, values: Sequence[float], limit: float = math.inf) -> "Axis":
        """Return an axis that covers all values with a margin at both ends and does not exceed `limit`."""
        low, high = min(values), max(values)
        margin = 0.08 * (high - low) or 0.05 * (abs(high) or 1)
        return cls(label, low - margin, min(high + margin, limit) if high < limit else limit)

    @classmethod
    def counted(cls, label: str, last: int) -> "Axis":
        """Return an axis of the integers from 1 to `last`."""
        return cls(label, 1, last, integer=True) if last > 1 else cls(label, 0.5, 1.5, integer=True)


@dataclass(frozen=True)
class LogAxis(Axis):
    """A logarithmic axis; its range is above 0."""

    def ticks(self, count: int = 5) -> list[float]:
        """Return powers of ten in the range; if fewer than three, also their multiples by 2 and 5.

        A range with fewer than two of these gets the ticks of a linear axis.
        """
        powers = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
        for factors in ((1,), (1, 2, 5)):
            ticks = [float(f"{factor}e{power}") for power in powers for factor in factors]
            ticks = [tick for tick in ticks if self.low <= tick <= self.high]
            if len(ticks) >= 3:
                break
        return ticks if len(ticks) >= 2 else super().ticks(count)

    def marks(self) -> list[tuple[float, str]]:
        """Return the ticks with their labels."""
        return [(tick, f"{tick:g}") for tick in self.ticks()]

    def fraction(self, value: float) -> float:
        """Return the position of a value along the axis, 0 at the low end and 1 at the high end."""
        return math.log(value / self.low) / math.log(self.high / self.low)


@dataclass(frozen=True)
class CategoricalAxis(Axis):
    """An axis of categories; category k is at position k."""

    categories: Sequence[str] = ()

    def marks(self) -> list[tuple[float, str]]:
        """Return the positions with the names of the categories."""
        return [(float(position), name) for position, name in enumerate(self.categories)]

    def shown(self, value: float) -> float | str:
        """Return the name of the category."""
        return self.categories[round(value)]

    @classmethod
    def of(cls, label: str, categories: Sequence[str]) -> "CategoricalAxis":
        """Return an axis of these categories, with half a unit of margin at both ends."""
        return cls(label, -0.5, len(categories) - 0.5, categories=categories)


@dataclass(frozen=True)
class Line:
    """A named line. colour: index from 0; marks: whether to draw a dot at each point; ring: index of a ringed point."""

    name: str
    x: Sequence[float]
    y: Sequence[float]
    colour: int
    marks: bool = False
    ring: int | None = None

    @property
    def style(self) -> str:
        """CSS classes of the stroke."""
        return f"line stroke-{self.colour % COLOURS}{' dashed' if self.colour >= COLOURS else ''}"

    @property
    def legend_mark(self) -> str:
        """SVG of the line in a legend."""
        return f'<line class="{self.style}" x1="0" y1="5" x2="22" y2="5"/>'


@dataclass(frozen=True)
class Dots:
    """Named points of a scatter plot. colour: index from 0; shape: dot, ring or cross."""

    name: str
    x: Sequence[float]
    y: Sequence[float]
    colour: int
    shape: str = "dot"

    def mark(self, x: float, y: float) -> str:
        """Return the SVG of one point, in units of the viewBox."""
        if self.shape == "cross":
            arms = f"M{x - 4:.1f} {y - 4:.1f}l8 8m0 -8l-8 8"
            return f'<path class="line stroke-{self.colour}" d="{arms}"/>'
        if self.shape == "ring":
            return f'<circle class="line stroke-{self.colour}" cx="{x}" cy="{y}" r="7"/>'
        return f'<circle class="fill-{self.colour}" cx="{x}" cy="{y}" r="4" fill-opacity=".8"/>'


@dataclass(frozen=True)
class Bars:
    """Named counts of a histogram, one fewer than its bin edges. colour: index from 0."""

    name: str
    counts: Sequence[int]
    colour: int


@dataclass(frozen=True)
class Interval:
    """A named value with its confidence interval; points: the values of the single folds."""

    name: str
    value: float
    low: float
    high: float
    points: Sequence[float]


class Canvas:
    """Plotting area with two axes; marks are added in data units."""

    def __init__(self, x: Axis, y: Axis, height: int = HEIGHT) -> None:
        self.x_axis, self.y_axis, self.height = x, y, height
        self.parts: list[str] = []

    def x(self, value: float) -> float:
        return round(LEFT + self.x_axis.fraction(value) * (WIDTH - LEFT - RIGHT), 1)

    def y(self, value: float) -> float:
        return round(self.height - BOTTOM - self.y_axis.fraction(value) * (self.height - BOTTOM - TOP), 1)

    def add(self, markup: str) -> None:
        self.parts.append(markup)

    def text(self, x: float, y: float, text: object, anchor: str = "middle", attributes: str = "") -> None:
        self.add(f'<text x="{x}" y="{y}" text-anchor="{anchor}" {attributes}>{escape(text)}</text>')

    def segment(self, style: str, x1: float, y1: float, x2: float, y2: float) -> None:
        self.add(f'<line class="{style}" x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}"/>')

    def series(self, name: str, points: list[list[float | str]], marks: str, at: str = "") -> None:
        """Add the marks of a series with its values; at: their positions, "x,y" each, not needed for a polyline."""
        place = f' data-at="{at}"' if at else ""
        data = escape(json.dumps(points, separators=(",", ":")))
        self.add(f'<g class="series" data-name="{escape(name)}" data-points="{data}"{place}>{marks}</g>')

    def path(self, line: Line) -> None:
        points = [(self.x(x), self.y(y)) for x, y in zip(line.x, line.y, strict=True)]
        marks = f'<polyline class="{line.style}" points="{" ".join(f"{x},{y}" for x, y in points)}"/>'
        colour = line.colour % COLOURS
        if line.marks or len(points) == 1:
            marks += "".join(f'<circle class="fill-{colour}" cx="{x}" cy="{y}" r="3"/>' for x, y in points)
        if line.ring is not None:
            x, y = points[line.ring]
            marks += f'<circle class="line stroke-{colour}" cx="{x}" cy="{y}" r="6"/>'
        values = [[self.x_axis.shown(x), self.y_axis.shown(y)] for x, y in zip(line.x, line.y, strict=True)]
        self.series(line.name, values, marks)

    def draw_x_axis(self) -> None:
        bottom = self.height - BOTTOM
        for tick, text in self.x_axis.marks():
            self.segment("axis", self.x(tick), bottom, self.x(tick), bottom + 4)
            self.text(self.x(tick), bottom + 18, text)
        self.segment("axis", LEFT, bottom, WIDTH - RIGHT, bottom)
        self.text((LEFT + WIDTH - RIGHT) / 2, self.height - 6, self.x_axis.label)

    def draw_y_axis(self) -> None:
        for tick, text in self.y_axis.marks():
            self.segment("grid", LEFT, self.y(tick), WIDTH - RIGHT, self.y(tick))
            self.text(LEFT - 7, self.y(tick) + 4, text, "end")
        middle = (TOP + self.height - BOTTOM) / 2
        self.text(11, middle, self.y_axis.label, attributes=f'transform="rotate(-90 11 {middle})"')

    def clipped(self, lines: Sequence[Line]) -> None:
        """Draw lines, of which only what is inside the plotting area is seen."""
        box = f"{LEFT} {TOP} {WIDTH - LEFT - RIGHT} {self.height - BOTTOM - TOP}"
        x, y, width, height = box.split()
        self.add(f'<svg x="{x}" y="{y}" width="{width}" height="{height}" viewBox="{box}">')
        for line in lines:
            self.path(line)
        self.add("</svg>")

    def drawing(self, text: str, attributes: str = "") -> str:
        """Return the chart as <svg>; text: its alternative text."""
        box = f'viewBox="0 0 {WIDTH} {self.height}"'
        return f'<svg {box} role="img" aria-label="{escape(text)}"{attributes}>{"".join(self.parts)}</svg>'

    def figure(
        self, title: str, description: str, legend: str = "", part: "Canvas | None" = None, more: Sequence[str] = ()
    ) -> Markup:
        """Return the chart as a <figure>; title and description together are its alternative text.

        part: an enlarged part of the chart, which the script of the page shows instead on request; more: names of the
        values of a point after x and y.
        """
        names = escape(json.dumps(list(more)))
        enlarged = part.drawing(f"{title}, enlarged. {description}", ' class="part" hidden=""') if part else ""
        return Markup(
            f'<figure class="chart" data-x="{escape(self.x_axis.label)}" data-y="{escape(self.y_axis.label)}"'
            f"""{f' data-more="{names}"' if more else ""}><figcaption>{escape(title)}</figcaption>{legend}"""
            f"{self.drawing(f'{title}. {description}')}{enlarged}</figure>"
        )


def legend_list(entries: list[tuple[str, str]], toggles: bool = True) -> str:
    """Return the legend; entries: name and SVG of the mark, in a box of 22 × 10 units.

    toggles: whether the names are those of series, which the script of the page can then hide.
    """
    items = (
        f'<li><svg viewBox="0 0 22 10" aria-hidden="true">{mark}</svg>{escape(name)}</li>' for name, mark in entries
    )
    attribute = ' data-toggles=""' if toggles else ""
    return f'<ul class="legend"{attribute}>{"".join(items)}</ul>'


def line_chart(
    title: str,
    lines: Sequence[Line],
    x: Axis,
    y: Axis,
    description: str,
    *,
    diagonal: bool = False,
    level: float | None = None,
    square: bool = False,
    part: tuple[Axis, Axis] | None = None,
) -> Markup:
    """Return a line chart.

    diagonal: whether to draw the diagonal of the plotting area as a reference line; level: y of a horizontal one;
    square: whether the plotting area is square; part: the axes of a part that can be enlarged.
    """
    height = WIDTH - LEFT - RIGHT + TOP + BOTTOM if square else HEIGHT
    canvas = Canvas(x, y, height)
    canvas.draw_y_axis()
    if diagonal:
        canvas.segment("guide", canvas.x(x.low), canvas.y(y.low), canvas.x(x.high), canvas.y(y.high))
    if level is not None:
        canvas.segment("guide", canvas.x(x.low), canvas.y(level), canvas.x(x.high), canvas.y(level))
    for line in lines:
        canvas.path(line)
    canvas.draw_x_axis()
    enlarged = None
    if part is not None:
        enlarged = Canvas(*part, height)
        enlarged.draw_y_axis()
        enlarged.clipped(lines)
        enlarged.draw_x_axis()
    legend = legend_list([(line.name, line.legend_mark) for line in lines])
    return canvas.figure(title, description, legend, enlarged)


def histogram(
    title: str,
    edges: Sequence[float],
    above: Bars,
    x_label: str,
    description: str,
    below: Bars | None = None,
    guide: float | None = None,
    unit: str = "tiles",
) -> Markup:
    """Return a histogram; edges: of the bins; unit: what is counted.

    The bars of `below` point downwards from the zero line, so that two classes do not hide each other. guide: x of a
    vertical reference line.
    """
    high = 1.06 * max(*above.counts, 1)
    low = -1.06 * max(*below.counts, 1) if below else 0
    canvas = Canvas(Axis(x_label, edges[0], edges[-1]), Axis(unit, low, high, integer=True))
    canvas.draw_y_axis()
    zero = canvas.y(0)
    series = [above] if below is None else [above, below]
    for sign, bars in zip((1, -1), series, strict=False):
        values: list[list[float | str]] = []
        rectangles, at = [], []
        for left, right, count in zip(edges, edges[1:], bars.counts, strict=False):
            start, end = sorted((zero, canvas.y(sign * count)))
            x, width = canvas.x(left) + 0.5, max(canvas.x(right) - canvas.x(left) - 1, 0.5)
            values.append([f"{left:.4g} to {right:.4g}", count])
            at.append(f"{x + width / 2:.1f},{canvas.y(sign * count)}")
            if count:
                rectangles.append(
                    f'<rect class="fill-{bars.colour}" x="{x:.1f}" y="{start}" width="{width:.1f}" '
                    f'height="{max(end - start, 0.8):.1f}"/>'
                )
        canvas.series(bars.name, values, "".join(rectangles), " ".join(at))
    canvas.segment("axis", LEFT, zero, WIDTH - RIGHT, zero)
    if guide is not None:
        canvas.segment("guide", canvas.x(guide), TOP, canvas.x(guide), canvas.height - BOTTOM)
    canvas.draw_x_axis()
    marks = [(bars.name, f'<rect class="fill-{bars.colour}" x="6" width="10" height="10" rx="2"/>') for bars in series]
    return canvas.figure(title, description, legend_list(marks) if below else "")


def interval_chart(title: str, rows: Sequence[Interval], x: Axis, description: str) -> Markup:
    """Return a chart with one row per entry: value as a dot, 95 % confidence interval as a bar, folds as ticks."""
    row_height = 46
    canvas = Canvas(x, Axis("statistic", 0, 1), height=TOP + BOTTOM + row_height * len(rows))
    bottom = canvas.height - BOTTOM
    for tick in x.ticks():
        canvas.segment("grid", canvas.x(tick), TOP, canvas.x(tick), bottom)
    for number, row in enumerate(rows):
        top = TOP + row_height * number
        y = top + 32
        canvas.text(LEFT, top + 16, f"{row.name}: {row.value:.4f}", "start", 'class="strong"')
        folds = "".join(
            f'<line class="stroke-1" stroke-width="2" x1="{canvas.x(point)}" y1="{y - 6}" '
            f'x2="{canvas.x(point)}" y2="{y + 6}"/>'
            for point in row.points
        )
        interval = (
            f'<line class="stroke-0" stroke-width="3" x1="{canvas.x(row.low)}" y1="{y}" '
            f'x2="{canvas.x(row.high)}" y2="{y}"/>'
            f'<circle class="fill-0" cx="{canvas.x(row.value)}" cy="{y}" r="5"/>'
        )
        names = ["mean of the folds", "95 % CI, lower limit", "95 % CI, upper limit"]
        names += [f"fold {k}" for k in range(len(row.points))]
        values = (row.value, row.low, row.high, *row.points)
        canvas.series(
            row.name, [[x.shown(value), name] for value, name in zip(values, names, strict=True)], folds + interval,
            " ".join(f"{canvas.x(value)},{y}" for value in values),
        )  # fmt: skip
    canvas.draw_x_axis()
    marks = [
        ("mean of the folds, 95 % confidence interval",
         '<line class="stroke-0" stroke-width="3" x1="0" y1="5" x2="22" y2="5"/>'
         '<circle class="fill-0" cx="11" cy="5" r="4.5"/>'),
        ("each fold", '<line class="stroke-1" stroke-width="2" x1="11" y1="0" x2="11" y2="10"/>'),
    ]  # fmt: skip
    return canvas.figure(title, description, legend_list(marks, toggles=False))


def scatter_chart(
    title: str, dots: Sequence[Dots], x: Axis, y: Axis, description: str, line: Line | None = None
) -> Markup:
    """Return a scatter plot; later groups of points cover earlier ones, and all cover the line."""
    canvas = Canvas(x, y)
    canvas.draw_y_axis()
    if line is not None:
        canvas.path(line)
    for group in dots:
        if not group.x:
            continue
        places = [(canvas.x(one_x), canvas.y(one_y)) for one_x, one_y in zip(group.x, group.y, strict=True)]
        canvas.series(
            group.name, [[x.shown(one_x), y.shown(one_y)] for one_x, one_y in zip(group.x, group.y, strict=True)],
            "".join(group.mark(*place) for place in places), " ".join(f"{left},{top}" for left, top in places),
        )  # fmt: skip
    canvas.draw_x_axis()
    # Scaled, because a ring is higher than the box of the legend.
    marks = [(g.name, f'<g transform="translate(11 5) scale(.65)">{g.mark(0, 0)}</g>') for g in dots if g.x]
    if line is not None:
        marks.append((line.name, line.legend_mark))
    return canvas.figure(title, description, legend_list(marks))
