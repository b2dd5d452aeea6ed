"""Sensitivity and specificity at thresholds that were chosen on other tiles."""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.metrics import roc_curve

from histo.statistics.clustered_means import proportion

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.integer]

SENSITIVITIES = (0.90, 0.95, 0.99)


def youden(labels: Integers, scores: Floats) -> float:
    """Return the threshold with the largest sensitivity + specificity - 1 (Youden, Cancer 3(1), 1950)."""
    fpr, tpr, thresholds = roc_curve(labels, scores)
    return float(thresholds[1:][np.argmax((tpr - fpr)[1:])])


def reaching(sensitivity: float) -> Callable[[Integers, Floats], float]:
    """Return a function that returns the highest threshold with at least this sensitivity."""

    def choose(labels: Integers, scores: Floats) -> float:
        positive = np.sort(scores[labels == 1])
        return float(positive[int(np.floor((1 - sensitivity) * len(positive) + 1e-9))])

    return choose


def operating_points(
    labels: Integers, probabilities: Floats, folds: Integers, clusters: Integers
) -> list[dict[str, Any]]:
    """Return sensitivity and specificity at 0.5, at Youden's threshold and at thresholds for three sensitivities.

    All but 0.5 are cross-fitted: the threshold of a fold is chosen on the other folds, so that rates are those on new
    tiles. "threshold" is the one chosen on all folds, for use; "lowest" and "highest" are those of the folds. With one
    fold, the threshold is chosen on the same tiles and "crossfitted" is False. Rates are `clustered_means.proportion`
    with the counts "hits" and "tiles". labels: 0 or 1 [N]; probabilities: [N]; folds, clusters: int [N].
    """
    rules: dict[str, Callable[[Integers, Floats], float] | None] = {"0.5": None, "Youden": youden}
    rules |= {f"sensitivity {100 * value:.0f} %": reaching(value) for value in SENSITIVITIES}
    names = np.unique(folds)
    rows = []
    for name, rule in rules.items():
        limits = np.full(len(labels), 0.5)
        threshold, by_fold = 0.5, [0.5]
        if rule is not None:
            threshold, by_fold = rule(labels, probabilities), []
            for k in names:
                rest = folds != k if len(names) > 1 else folds == k
                by_fold.append(rule(labels[rest], probabilities[rest]))
                limits[folds == k] = by_fold[-1]
        called = probabilities >= limits
        row: dict[str, Any] = {
            "name": name, "threshold": threshold, "lowest": min(by_fold), "highest": max(by_fold),
            "crossfitted": rule is not None and len(names) > 1,
        }  # fmt: skip
        for rate, value in (("sensitivity", 1), ("specificity", 0)):
            own = labels == value
            right = called[own] == bool(value)
            row[rate] = proportion(right, clusters[own]) | {"hits": int(right.sum()), "tiles": int(own.sum())}
        rows.append(row)
    return rows
