"""How good probabilities are."""

import numpy as np
from scipy.stats import norm, rankdata
from sklearn.metrics import confusion_matrix, roc_auc_score, roc_curve

CURVE_POINTS = 400


def auc(labels: np.ndarray, scores: np.ndarray) -> float:
    """Area under the ROC curve; labels 0/1 [N], scores [N]. ValueError when only one class is there."""
    if len(np.unique(labels)) != 2:
        raise ValueError("the AUC needs labels of both classes")
    return float(roc_auc_score(labels, scores))


def auc_interval(labels: np.ndarray, scores: np.ndarray, confidence: float = 0.95) -> tuple[float, float]:
    """Interval of the AUC on the logit scale with DeLong's variance (Sun & Xu, IEEE Signal Proc. Lett. 21(11), 2014).

    It treats tiles as independent; tiles of one slide are not, so the true uncertainty is wider.
    """
    positive, negative = scores[labels == 1], scores[labels == 0]
    m, n = len(positive), len(negative)
    ranks = rankdata(np.concatenate([positive, negative]))
    value = (ranks[:m].sum() / m - (m + 1) / 2) / n
    if m < 2 or n < 2 or not 0 < value < 1:
        return float(value), float(value)
    above = (ranks[:m] - rankdata(positive)) / n
    below = 1 - (ranks[m:] - rankdata(negative)) / m
    error = np.sqrt(above.var(ddof=1) / m + below.var(ddof=1) / n)
    middle, spread = np.log(value / (1 - value)), norm.ppf((1 + confidence) / 2) * error / (value * (1 - value))
    low, high = 1 / (1 + np.exp(-np.array([middle - spread, middle + spread])))
    return float(low), float(high)


def report(labels: np.ndarray, probabilities: np.ndarray, folds: np.ndarray) -> dict:
    """Return all figures of out-of-fold probabilities as plain numbers; the threshold of the counts is 0.5.

    labels int [N], probabilities float [N], folds int [N].
    """
    low, high = auc_interval(labels, probabilities)
    by_fold = [
        {"fold": int(k), "tiles": int((folds == k).sum()), "auc": auc(labels[folds == k], probabilities[folds == k])}
        for k in np.unique(folds)
    ]
    areas = np.array([row["auc"] for row in by_fold])
    (tn, fp), (fn, tp) = confusion_matrix(labels, probabilities >= 0.5, labels=[0, 1]).tolist()
    precision = tp / (tp + fp) if tp + fp else 0.0
    recall = tp / (tp + fn) if tp + fn else 0.0
    fpr, tpr, _ = roc_curve(labels, probabilities)
    points = np.unique(np.linspace(0, len(fpr) - 1, CURVE_POINTS).astype(int))
    return {
        "auc": auc(labels, probabilities),
        "auc_low": low,
        "auc_high": high,
        "auc_mean_of_folds": float(areas.mean()),
        "auc_std_of_folds": float(areas.std(ddof=1)) if len(areas) > 1 else 0.0,
        "folds": by_fold,
        "tiles": len(labels),
        "accuracy": (tp + tn) / len(labels),
        "precision": precision,
        "recall": recall,
        "f1": 2 * precision * recall / (precision + recall) if precision + recall else 0.0,
        "confusion": [[tn, fp], [fn, tp]],
        "roc": {"fpr": np.round(fpr[points], 5).tolist(), "tpr": np.round(tpr[points], 5).tolist()},
    }
