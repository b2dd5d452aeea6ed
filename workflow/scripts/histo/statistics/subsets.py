"""Where predictions fail: metrics by group of tiles and by stratum of what a tile looks like."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from histo.statistics.clustered_auc import stratified_auc
from histo.statistics.clustered_means import estimate, proportion

SMALLEST = 20  # tiles of a group that has a row of its own
QUINTILES = 5


def by_group(frame: pd.DataFrame) -> dict[str, Any]:
    """Return the results of the groups with at least `SMALLEST` tiles, and their spread.

    frame: label, probability, fold, group. "rows", the largest group first: group, fold, tiles, positives, auc (None
    with one class), found (proportion of its positive tiles with a probability of at least 0.5, None without any),
    false (the same of its negative tiles). "auc", "found", "false": of the groups that have the value, their number,
    median, lowest and highest value, None if there is none. "missed": number of groups with positive tiles of which
    none was found. "others": number of tiles in smaller groups.
    """
    sizes = frame["group"].value_counts()
    rows: list[dict[str, Any]] = []
    large = frame[frame["group"].map(sizes) >= SMALLEST].groupby("group")
    for name, part in sorted(large, key=lambda item: (-len(item[1]), item[0])):
        labels, probabilities = part["label"].to_numpy(), part["probability"].to_numpy()
        called, positive = probabilities >= 0.5, labels == 1
        both = 0 < positive.sum() < len(part)
        rows.append(
            {
                "group": str(name),
                "fold": int(part["fold"].iloc[0]),
                "tiles": len(part),
                "positives": int(positive.sum()),
                "auc": float(stratified_auc(labels, probabilities).values[0]) if both else None,
                "found": float(called[positive].mean()) if positive.any() else None,
                "false": float(called[~positive].mean()) if not positive.all() else None,
            }
        )
    return {
        "rows": rows,
        **{name: _spread([row[name] for row in rows if row[name] is not None]) for name in ("auc", "found", "false")},
        "missed": sum(row["found"] == 0 for row in rows),
        "others": int(sizes[sizes < SMALLEST].sum()),
    }


def _spread(values: list[float]) -> dict[str, float] | None:
    """Return number, median, lowest and highest of values of groups; None without any."""
    if not values:
        return None
    return {
        "groups": len(values),
        "median": float(np.median(values)),
        "lowest": min(values),
        "highest": max(values),
    }


def by_stratum(frame: pd.DataFrame, measurements: dict[str, npt.NDArray[np.floating]]) -> list[dict[str, Any]]:
    """Return the results by quintile of each measurement.

    frame: label, probability, fold, group; measurements: by name, [N] each. Of each measurement "name" and "rows":
    lowest and highest value, tiles, positives, AUC and accuracy. The AUC of a quintile is the mean over the folds that
    have both classes in it, as {value, low, high}, None without one. Tiles with equal values are in one stratum: where
    many are equal, there are fewer than five. A measurement whose tiles would all be in one stratum has no rows.
    """
    labels, probabilities = frame["label"].to_numpy(), frame["probability"].to_numpy(np.float64)
    folds, clusters = frame["fold"].to_numpy(), np.unique(frame["group"], return_inverse=True)[1]
    result = []
    for name, values in measurements.items():
        number = _strata(values)
        if not number.any():
            continue
        rows = []
        for k in range(number.max() + 1):
            chosen = number == k
            usable = [
                fold for fold in np.unique(folds) if len(np.unique(labels[chosen & (folds == fold)])) == 2
            ]  # of the others, no AUC is defined
            area = estimate(None)
            here = chosen & np.isin(folds, usable)
            if usable:
                found = stratified_auc(labels[here], probabilities[here], clusters[here], folds[here])
                low, high = found.interval()
                area = estimate(float(found.values[0]), low, high)
            right = (probabilities[chosen] >= 0.5) == (labels[chosen] == 1)
            rows.append(
                {
                    "lowest": float(values[chosen].min()), "highest": float(values[chosen].max()),
                    "tiles": int(chosen.sum()), "positives": int((labels[chosen] == 1).sum()), "auc": area,
                    "accuracy": proportion(right, clusters[chosen]),
                }
            )  # fmt: skip
        result.append({"name": name, "rows": rows})
    return result


def _strata(values: npt.NDArray[np.floating]) -> npt.NDArray[np.int64]:
    """Return the stratum of each value, from 0 on, [N]: its quintile; equal values are in the lowest of theirs."""
    edges = np.unique(np.quantile(values, np.arange(1, QUINTILES) / QUINTILES))
    return np.unique(np.searchsorted(edges, values), return_inverse=True)[1]
