"""The area under the ROC curve and its confidence interval."""

import numpy as np
from scipy.stats import norm, rankdata
from sklearn.metrics import roc_auc_score

from histo.class_metrics import macro_auc, macro_auc_interval


def auc(labels: np.ndarray, scores: np.ndarray) -> float:
    """Return the area under the ROC curve; labels: 0 or 1, [N]; scores: [N].

    With scores [N, K] of more than two classes, the mean of the one-vs-rest AUCs. Raises ValueError unless every class
    has a label.
    """
    if scores.ndim == 2:
        return macro_auc(labels, scores)
    if len(np.unique(labels)) != 2:
        raise ValueError(f"The AUC needs labels of both classes, found {np.unique(labels).tolist()}.")
    return float(roc_auc_score(labels, scores))


def auc_interval(labels: np.ndarray, scores: np.ndarray, confidence: float = 0.95) -> tuple[float, float]:
    """Return the confidence interval of the AUC; labels: 0 or 1, [N]; scores: [N].

    Computed on the logit scale with DeLong's variance (Sun & Xu, IEEE Signal Processing Letters 21(11), 2014). It
    treats tiles as independent. Tiles of one slide are correlated, so it underestimates the uncertainty. The interval
    has zero width if the AUC is 0 or 1 or a class has fewer than two tiles. With scores [N, K]: `macro_auc_interval`.
    """
    if scores.ndim == 2:
        return macro_auc_interval(labels, scores, confidence)
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
