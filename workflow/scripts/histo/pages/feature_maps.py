"""Report section: maps of the features of networks, from the tables of the stage `feature_map`."""

from typing import Any

import numpy as np
import pandas as pd
from markupsafe import Markup

from histo.pages.charts import COLOURS, Axis, Canvas, legend_list

SMALLEST = 10  # tiles of a group that has a colour of its own
OTHERS = -1  # colour of tiles that no series names, grey


def scatter(title: str, frame: pd.DataFrame, codes: np.ndarray, names: dict[int, str], description: str) -> Markup:
    """Return a map as a chart.

    frame: x, y and the shares of the variance; codes: of each tile, int [N], a key of names; names: of the series, in
    the order in which they are drawn. A series has the colour of its code, `OTHERS` is grey.
    """
    axes = [
        Axis.around(
            f"component {k}, {100 * frame[f'explained_{name}'].iloc[0]:.0f} % of the variance", frame[name].tolist()
        )
        for k, name in enumerate("xy", start=1)
    ]
    canvas = Canvas(axes[0], axes[1])
    canvas.draw_y_axis()
    legend = []
    for code, name in names.items():
        points = frame.loc[codes == code, ["x", "y"]].to_numpy()
        if not len(points):
            continue
        style = "points others" if code == OTHERS else f"points stroke-{code % COLOURS}"
        places = [(canvas.x(x), canvas.y(y)) for x, y in points.tolist()]
        # Lines of length 0 with round ends are dots, in a fifth of the space of circles.
        dots = "".join(f"M{x} {y}h0" for x, y in places)
        canvas.series(
            name, [[float(f"{x:.3g}"), float(f"{y:.3g}")] for x, y in points.tolist()],
            f'<path class="{style}" d="{dots}"/>', " ".join(f"{x},{y}" for x, y in places),
        )  # fmt: skip
        legend.append((name, f'<path class="{style}" d="M11 5h0"/>'))
    canvas.draw_x_axis()
    return canvas.figure(title, description, legend_list(legend))


def explained(frame: pd.DataFrame, codes: np.ndarray) -> float:
    """Return the share of the variance of the map between the classes of `codes`, int [N]; at least 0.

    Adjusted for the number of classes (adjusted R²), so that it is 0 on average where the classes do not matter.
    """
    values = frame[["x", "y"]].to_numpy()
    classes = np.unique(codes, return_inverse=True)[1]
    sizes = np.bincount(classes)
    means = np.stack([np.bincount(classes, column) / sizes for column in values.T], axis=1)
    within = ((values - means[classes]) ** 2).sum()
    total = ((values - values.mean(axis=0)) ** 2).sum()
    degrees = len(values) - len(sizes)
    return max(0.0, 1 - float(within / total) * (len(values) - 1) / degrees) if total > 0 and degrees > 0 else 0.0


def feature_section(
    maps: dict[str, pd.DataFrame], guesses: dict[str, pd.Series], names: dict[int, str]
) -> list[dict[str, Any]]:
    """Return of each model its map, coloured by label, by error, by fold and by group of tiles: "model" and "charts".

    maps: `tables.FEATURE_MAP` of each model; guesses: predicted labels by id; names: of the labels. Models without
    tiles on their map are left out, and so is the colouring by groups if none has `SMALLEST` tiles.
    """
    sections = []
    for model, frame in maps.items():
        if frame.empty:
            continue
        labels, folds = frame["label"].to_numpy(), frame["fold"].to_numpy()
        wrong = guesses[model].loc[frame["id"]].to_numpy() != labels
        sizes = frame["group"].value_counts()
        large = sorted(sizes.index[sizes >= SMALLEST], key=lambda name: (-sizes[name], name))[:COLOURS]
        codes = frame["group"].map({name: k for k, name in enumerate(large)}).fillna(OTHERS).to_numpy(int)
        charts = [
            scatter(
                "By label", frame, labels, names,
                f"The label explains {100 * explained(frame, labels):.0f} per cent of the variance of the map.",
            ),
            scatter(
                "By error", frame, np.where(wrong, labels, OTHERS),
                {OTHERS: "classified correctly"} | {k: f"{name}, misclassified" for k, name in names.items()},
                f"{int(wrong.sum()):,} of {len(frame):,} tiles are misclassified.",
            ),
            scatter(
                "By fold", frame, folds, {int(k): f"fold {k}" for k in np.unique(folds)},
                f"The fold explains {100 * explained(frame, folds):.0f} per cent of the variance of the map.",
            ),
        ]  # fmt: skip
        if large:
            charts.append(
                scatter(
                    "By group of tiles, the largest",
                    frame,
                    codes,
                    {OTHERS: "other groups"} | dict(enumerate(large)),
                    f"{len(large)} of {len(sizes):,} groups have a colour.",
                )
            )
        sections.append(
            {
                "model": model, "tiles": len(frame), "charts": charts,
                "by_label": explained(frame, labels), "by_fold": explained(frame, folds),
            }
        )  # fmt: skip
    return sections
