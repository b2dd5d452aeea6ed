"""Metrics of more than two classes: macro averages over the classes, each against the rest (one-vs-rest)."""

from typing import Any

import numpy as np
from scipy.stats import norm, rankdata
from sklearn.metrics import confusion_matrix


def _components(labels: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the one-vs-rest AUC of each class, [K], and the influence of each tile on the mean of them, [N].

    Influence: the structural components of DeLong's variance (Sun & Xu, IEEE Signal Processing Letters 21(11), 2014),
    summed over the classes.
    """
    found = np.unique(labels).tolist()
    if found != list(range(scores.shape[1])):
        raise ValueError(f"The macro AUC needs labels of all {scores.shape[1]} classes, found {found}.")
    aucs, influence = [], np.zeros(len(labels))
    for k, values in enumerate(scores.T):
        is_class = labels == k
        m, n = int(is_class.sum()), int((~is_class).sum())
        ranks = rankdata(values)
        auc = (ranks[is_class].sum() / m - (m + 1) / 2) / n
        aucs.append(auc)
        influence[is_class] += ((ranks[is_class] - rankdata(values[is_class])) / n - auc) / m
        influence[~is_class] += (1 - (ranks[~is_class] - rankdata(values[~is_class])) / m - auc) / n
    return np.array(aucs), influence / len(aucs)


def macro_auc(labels: np.ndarray, scores: np.ndarray) -> float:
    """Return the mean of the AUC of each class against the rest.

    labels: 0 to K - 1, [N]; scores: [N, K]. Raises ValueError unless every class has a label.
    """
    return float(_components(labels, scores)[0].mean())


def macro_auc_interval(labels: np.ndarray, scores: np.ndarray, confidence: float = 0.95) -> tuple[float, float]:
    """Return the confidence interval of `macro_auc`, computed on the logit scale.

    It treats tiles as independent. Tiles of one slide are correlated, so it underestimates the uncertainty. It has zero
    width if the AUC is 0 or 1.
    """
    aucs, influence = _components(labels, scores)
    value, error = float(aucs.mean()), float(np.sqrt((influence**2).sum()))
    if not 0 < value < 1:
        return value, value
    middle, spread = np.log(value / (1 - value)), norm.ppf((1 + confidence) / 2) * error / (value * (1 - value))
    low, high = 1 / (1 + np.exp(-np.array([middle - spread, middle + spread])))
    return float(low), float(high)


def evaluate_classes(labels: np.ndarray, probabilities: np.ndarray, folds: np.ndarray) -> dict[str, Any]:
    """Return the metrics of out-of-fold probabilities of K > 2 classes as plain numbers.

    labels: int [N]; probabilities: float [N, K]; folds: int [N]. AUC, precision, recall and F1 are means over the
    classes; a tile counts as the class of its highest probability. "class_auc" has the AUC of each class against the
    rest, "confusion" a row for each label. "probability", which has the metrics of the probabilities of two classes, is
    None.
    """
    low, high = macro_auc_interval(labels, probabilities)
    by_fold = [
        {
            "fold": int(k),
            "tiles": int((folds == k).sum()),
            "auc": macro_auc(labels[folds == k], probabilities[folds == k]),
        }
        for k in np.unique(folds)
    ]
    aucs = np.array([row["auc"] for row in by_fold])
    confusion = confusion_matrix(labels, probabilities.argmax(axis=1), labels=range(probabilities.shape[1]))
    right, guessed, known = confusion.diagonal(), confusion.sum(axis=0), confusion.sum(axis=1)
    precision, recall = right / np.maximum(guessed, 1), right / np.maximum(known, 1)
    f1 = 2 * right / np.maximum(guessed + known, 1)
    return {
        "auc": macro_auc(labels, probabilities),
        "auc_low": low,
        "auc_high": high,
        "auc_mean_of_folds": float(aucs.mean()),
        "auc_std_of_folds": float(aucs.std(ddof=1)) if len(aucs) > 1 else 0.0,
        "folds": by_fold,
        "tiles": len(labels),
        "accuracy": int(right.sum()) / len(labels),
        "precision": float(precision.mean()),
        "recall": float(recall.mean()),
        "f1": float(f1.mean()),
        "confusion": confusion.tolist(),
        "class_auc": _components(labels, probabilities)[0].tolist(),
        "probability": None,
    }
