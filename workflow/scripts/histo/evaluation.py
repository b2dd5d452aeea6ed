"""All metrics of a model on its out-of-fold predictions."""

from typing import Any

import numpy as np
from sklearn.metrics import confusion_matrix, roc_curve

from histo.class_metrics import evaluate_classes
from histo.metrics import auc, auc_interval

CURVE_POINTS = 400  # of the ROC curve, at most


def evaluate_oof(labels: np.ndarray, probabilities: np.ndarray, folds: np.ndarray) -> dict[str, Any]:
    """Return the metrics of out-of-fold probabilities as plain numbers; counts and rates use the threshold 0.5.

    labels: int [N]; probabilities: float [N]; folds: int [N]. "confusion" is [[tn, fp], [fn, tp]]. Of more than two
    classes, probabilities [N, K]: `class_metrics.evaluate_classes`.
    """
    if probabilities.ndim == 2:
        return evaluate_classes(labels, probabilities, folds)
    low, high = auc_interval(labels, probabilities)
    by_fold = [
        {"fold": int(k), "tiles": int((folds == k).sum()), "auc": auc(labels[folds == k], probabilities[folds == k])}
        for k in np.unique(folds)
    ]
    aucs = np.array([row["auc"] for row in by_fold])
    (tn, fp), (fn, tp) = confusion_matrix(labels, probabilities >= 0.5, labels=[0, 1]).tolist()
    precision = tp / (tp + fp) if tp + fp else 0.0
    recall = tp / (tp + fn) if tp + fn else 0.0
    fpr, tpr, _ = roc_curve(labels, probabilities)
    points = np.unique(np.linspace(0, len(fpr) - 1, CURVE_POINTS).astype(int))
    return {
        "auc": auc(labels, probabilities),
        "auc_low": low,
        "auc_high": high,
        "auc_mean_of_folds": float(aucs.mean()),
        "auc_std_of_folds": float(aucs.std(ddof=1)) if len(aucs) > 1 else 0.0,
        "folds": by_fold,
        "tiles": len(labels),
        "accuracy": (tp + tn) / len(labels),
        "precision": precision,
        "recall": recall,
        "f1": 2 * precision * recall / (precision + recall) if precision + recall else 0.0,
        "confusion": [[tn, fp], [fn, tp]],
        "roc": {"fpr": np.round(fpr[points], 5).tolist(), "tpr": np.round(tpr[points], 5).tolist()},
    }
