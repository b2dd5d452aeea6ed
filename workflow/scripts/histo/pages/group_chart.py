"""Chart of the results of single groups of tiles: is tumour found on every slide, and at the price of what?"""

from typing import Any

from markupsafe import Markup

from histo.pages.charts import COLOURS, Axis, Canvas, Dots, legend_list


def group_chart(rows: list[dict[str, Any]]) -> Markup:
    """Return a scatter plot of the groups that have both classes; empty with fewer than two.

    rows: of `statistics.subsets.by_group`. x is the proportion of the tiles without tumour that are false alarms, y
    the proportion of the tiles with tumour that are found, both at the threshold 0.5.
    """
    shown = [row for row in rows if row["found"] is not None and row["false"] is not None]
    if len(shown) < 2:
        return Markup()
    canvas = Canvas(Axis("false alarms, proportion", 0, 1), Axis("tumour found, proportion", 0, 1))
    canvas.draw_y_axis()
    canvas.segment("guide", canvas.x(0), canvas.y(0), canvas.x(1), canvas.y(1))
    marks = []
    for fold in sorted({row["fold"] for row in shown}):
        part = [row for row in shown if row["fold"] == fold]
        dots = Dots(f"fold {fold}", [row["false"] for row in part], [row["found"] for row in part], fold % COLOURS)
        places = [(canvas.x(x), canvas.y(y)) for x, y in zip(dots.x, dots.y, strict=True)]
        canvas.series(
            dots.name,
            [[round(row["false"], 3), round(row["found"], 3), row["group"], row["tiles"]] for row in part],
            "".join(dots.mark(*place) for place in places), " ".join(f"{x},{y}" for x, y in places),
        )  # fmt: skip
        marks.append((dots.name, dots.mark(11, 5)))
    canvas.draw_x_axis()
    found = [row["found"] for row in shown]
    return canvas.figure(
        "Each group of tiles, threshold 0.5",
        f"{len(shown)} groups with both labels; tumour found from {min(found):.2f} to {max(found):.2f}.",
        legend_list(marks),
        more=("group", "tiles"),
    )
