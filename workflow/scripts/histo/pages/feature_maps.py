"""Report section: maps of the features of networks, from the tables of the stage `feature_map`."""

from typing import Any

import numpy as np
import pandas as pd
from markupsafe import Markup

from histo.pages.charts import COLOURS, Axis, Canvas, legend_list

SMALLEST = 10  # tiles of a group that has a colour of its own
OTHERS = -1  # colour of tiles that no series names, grey
DOT = 4  # width of a dot, in units of the chart


def method_of(frame: pd.DataFrame) -> str:
    """Return the method of a map with tiles: UMAP has no shares of the variance."""
    return "UMAP" if frame["explained_x"].isna().all() else "PCA"


def axis_label(frame: pd.DataFrame, number: int) -> str:
    """Return the label of the first or second axis of a map with tiles."""
    if method_of(frame) == "UMAP":
        return f"UMAP {number}"
    share = frame["explained_x" if number == 1 else "explained_y"].iloc[0]
    return f"PCA {number}, {100 * share:.0f} % of the variance"


def map_canvas(frame: pd.DataFrame) -> Canvas:
    """Return an empty chart for a map with tiles."""
    axes = [Axis.around(axis_label(frame, k), frame[name].tolist()) for k, name in enumerate("xy", start=1)]
    return Canvas(axes[0], axes[1])


def drawn_tiles(frame: pd.DataFrame) -> np.ndarray:
    """Return which tiles of a map are drawn, bool [N]: one at random of those within the width of a dot.

    So dots do not cover each other, a page of any number of tiles stays small, and the colours of a part of the map
    have the proportions of its tiles.
    """
    canvas = map_canvas(frame)
    cells = np.array([(canvas.x(x) // DOT, canvas.y(y) // DOT) for x, y in frame[["x", "y"]].to_numpy().tolist()])
    order = np.random.default_rng(0).permutation(len(frame))
    drawn = np.zeros(len(frame), bool)
    drawn[order[np.unique(cells[order], axis=0, return_index=True)[1]]] = True
    return drawn


def scatter(
    title: str, frame: pd.DataFrame, codes: np.ndarray, names: dict[int, str], description: str, drawn: np.ndarray
) -> Markup:
    """Return a map as a chart; its title begins with the method.

    frame: x, y and the shares of the variance; codes: of each tile, int [N], a key of names; names: of the series, in
    the order in which they are drawn; drawn: which tiles are, bool [N]. A series has the colour of its code, `OTHERS`
    is grey.
    """
    canvas = map_canvas(frame)
    canvas.draw_y_axis()
    legend = []
    for code, name in names.items():
        points = frame.loc[(codes == code) & drawn, ["x", "y"]].to_numpy()
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
    return canvas.figure(f"{method_of(frame)} {title}", description, legend_list(legend))


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


def shares_of(frame: pd.DataFrame) -> dict[str, float]:
    """Return the shares of the variance of a map that "label" and "fold" explain.

    Empty for UMAP: they would depend on the distances between its clusters, which have no meaning.
    """
    if method_of(frame) == "UMAP":
        return {}
    return {name: explained(frame, frame[name].to_numpy()) for name in ("label", "fold")}


def share_sentence(shares: dict[str, float], name: str) -> str:
    """Return what `shares_of` has on a column in a sentence; of a UMAP, why it has nothing."""
    if name not in shares:
        return "Distances between clusters have no meaning."
    return f"The {name} explains {100 * shares[name]:.0f} per cent of the variance of the map."


def feature_section(
    maps: dict[str, pd.DataFrame], guesses: dict[str, pd.Series], names: dict[int, str]
) -> list[dict[str, Any]]:
    """Return of each model its map, coloured by label, by error, by fold and by group of tiles.

    A dict with "model", "method", the numbers of "tiles" and of those that are "drawn", "charts" and "explained", see
    `shares_of`.

    maps: `tables.FEATURE_MAP` of each model; guesses: predicted labels by id; names: of the labels. Models without
    tiles on their map are left out, and so is the colouring by groups if none has `SMALLEST` tiles.
    """
    sections = []
    for model, frame in maps.items():
        if frame.empty:
            continue
        labels, folds, shares = frame["label"].to_numpy(), frame["fold"].to_numpy(), shares_of(frame)
        wrong = guesses[model].loc[frame["id"]].to_numpy() != labels
        sizes = frame["group"].value_counts()
        large = sorted(sizes.index[sizes >= SMALLEST], key=lambda name: (-sizes[name], name))[:COLOURS]
        codes = frame["group"].map({name: k for k, name in enumerate(large)}).fillna(OTHERS).to_numpy(int)
        drawn = drawn_tiles(frame)
        charts = [
            scatter("by label", frame, labels, names, share_sentence(shares, "label"), drawn),
            scatter(
                "by error", frame, np.where(wrong, labels, OTHERS),
                {OTHERS: "classified correctly"} | {k: f"{name}, misclassified" for k, name in names.items()},
                f"{int(wrong.sum()):,} of {len(frame):,} tiles are misclassified.", drawn,
            ),
            scatter(
                "by fold", frame, folds, {int(k): f"fold {k}" for k in np.unique(folds)},
                share_sentence(shares, "fold"), drawn,
            ),
        ]  # fmt: skip
        if large:
            charts.append(
                scatter(
                    "by group of tiles, the largest",
                    frame,
                    codes,
                    {OTHERS: "other groups"} | dict(enumerate(large)),
                    f"{len(large)} of {len(sizes):,} groups have a colour.",
                    drawn,
                )
            )
        sections.append(
            {
                "model": model, "method": method_of(frame), "tiles": len(frame), "drawn": int(drawn.sum()),
                "charts": charts, "explained": shares,
            }
        )  # fmt: skip
    return sections
