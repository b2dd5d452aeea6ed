"""The offsets of overlapping tiles as a map: how many pairs lie how far apart on the slide."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from markupsafe import Markup

from histo.geometry import BLOCK, SIDE
from histo.pages.charts import BOTTOM, LEFT, RIGHT, TOP, WIDTH, Axis, Canvas, legend_list

COLOUR = 2
FAINTEST = 0.12  # opacity of the rarest offset


@dataclass(frozen=True)
class OffsetAxis(Axis):
    """An axis of offsets with ticks at every second step of the grid; down: whether it points downwards."""

    down: bool = False

    def ticks(self, count: int = 5) -> list[float]:
        """Return the multiples of two steps of the grid within the range, whatever their number."""
        step = 2 * BLOCK
        return [float(step * k) for k in range(-(-int(self.low) // step), int(self.high) // step + 1)]

    def fraction(self, value: float) -> float:
        """Return the position of a value along the axis, 0 at its left or lower end."""
        return 1 - super().fraction(value) if self.down else super().fraction(value)


def offset_counts(offsets: Iterable[tuple[int, int]]) -> dict[tuple[int, int], int]:
    """Return the number of pairs by offset (dx, dy) in pixels; of the two of a pair, the one downwards or right."""
    counts = Counter((-dx, -dy) if dy < 0 or (dy == 0 and dx < 0) else (dx, dy) for dx, dy in offsets)
    return dict(sorted(counts.items()))


def offset_map(offsets: Iterable[tuple[int, int]], tile_side: int = SIDE) -> Markup:
    """Return the map of the offsets (dx, dy) of pairs, a cell for each step of the grid.

    The darker a cell, the more pairs. Its values are the offset, the number of pairs and their shared area.
    """
    counts = offset_counts(offsets)
    reach = tile_side - BLOCK / 2
    x = OffsetAxis("dx, pixels", -reach, reach)
    cell = (WIDTH - LEFT - RIGHT) * BLOCK / (2 * reach)
    rows = tile_side // BLOCK  # dy from 0 to the largest offset
    y = OffsetAxis("dy, pixels", -BLOCK / 2, BLOCK * (rows - 0.5), down=True)  # as on the slide
    canvas = Canvas(x, y, round(cell * rows) + TOP + BOTTOM)
    canvas.draw_y_axis()
    most = max(counts.values(), default=1)
    values: list[list[float | str]] = []
    marks, at = [], []
    for (dx, dy), count in counts.items():
        left, top = canvas.x(dx) - cell / 2, canvas.y(dy) - cell / 2
        opacity = FAINTEST + (1 - FAINTEST) * count / most
        place = f'x="{left + 0.5:.1f}" y="{top + 0.5:.1f}" width="{cell - 1:.1f}" height="{cell - 1:.1f}"'
        marks.append(f'<rect class="fill-{COLOUR}" fill-opacity="{opacity:.3f}" {place}/>')
        shared = 100 * (tile_side - abs(dx)) * (tile_side - dy) / tile_side**2
        values.append([dx, dy, count, round(shared, 1)])
        at.append(f"{canvas.x(dx)},{canvas.y(dy)}")
    canvas.series("pairs", values, "".join(marks), " ".join(at))
    canvas.draw_x_axis()
    box = '<rect class="fill-{}" fill-opacity="{}" x="6" width="10" height="10" rx="2"/>'.format
    legend = [("1 pair", box(COLOUR, FAINTEST)), (f"{most:,} pairs", box(COLOUR, 1))]
    total, most_often = sum(counts.values()), max(counts, key=lambda offset: counts[offset], default=(0, 0))
    return canvas.figure(
        "Offsets of overlapping tiles", f"{total:,} pairs; most often dx {most_often[0]}, dy {most_often[1]}.",
        legend_list(legend, toggles=False), more=("pairs", "shared area, per cent of a tile"),
    )  # fmt: skip
