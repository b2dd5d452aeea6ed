"""The area under the ROC curve."""

import numpy as np
from sklearn.metrics import roc_auc_score

from histo.class_metrics import macro_auc


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
