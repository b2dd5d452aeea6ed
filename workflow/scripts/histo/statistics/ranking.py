"""Metrics of a ranking for tiles with weights, for the bootstrap: AUC, average precision, F1."""

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


class Ranking:
    """Tiles sorted by score once, so that each set of weights takes O(N); labels: 0 or 1 [N]; scores: [N]."""

    def __init__(self, labels: npt.NDArray[np.integer], scores: Floats):
        self.order = np.argsort(-scores, kind="stable")
        ordered = scores[self.order]
        self.first = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])  # of each run of equal scores
        self.positive = (labels[self.order] == 1).astype(np.float64)

    def counts(self, weights: Floats) -> tuple[Floats, Floats]:
        """Return the weights of the positive and of the negative tiles with each distinct score, highest first."""
        ordered = weights[self.order]
        positive = ordered * self.positive
        if len(self.first) == len(ordered):  # no equal scores
            return positive, ordered - positive
        return np.add.reduceat(positive, self.first), np.add.reduceat(ordered - positive, self.first)

    def auc(self, weights: Floats) -> float:
        """Return the AUC of the tiles with these weights [N]; NaN without a class."""
        positive, negative = self.counts(weights)
        total = positive.sum() * negative.sum()
        lower = negative.sum() - np.cumsum(negative)
        return float((positive * (lower + negative / 2)).sum() / total) if total else float("nan")

    def average_precision(self, weights: Floats) -> float:
        """Return the average precision; NaN without positive tiles.

        The sum over thresholds of precision × increase of recall, as in scikit-learn; weights: [N].
        """
        positive, negative = self.counts(weights)
        true, false = np.cumsum(positive), np.cumsum(negative)
        if not true[-1]:
            return float("nan")
        return float((positive * true / np.maximum(true + false, 1e-300)).sum() / true[-1])
