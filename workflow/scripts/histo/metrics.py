"""How good probabilities are."""

import numpy as np
from scipy.stats import norm, rankdata
from sklearn.metrics import roc_auc_score


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
