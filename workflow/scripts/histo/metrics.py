"""The area under the ROC curve."""

import numpy as np
from sklearn.metrics import roc_auc_score


def auc(labels: np.ndarray, scores: np.ndarray) -> float:
    """Return the area under the ROC curve; labels: 0 or 1, [N]; scores: [N].

    Raises ValueError if the labels do not hold both classes.
    """
    if len(np.unique(labels)) != 2:
        raise ValueError(f"The AUC needs labels of both classes, found {np.unique(labels).tolist()}.")
    return float(roc_auc_score(labels, scores))
