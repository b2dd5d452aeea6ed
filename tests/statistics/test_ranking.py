"""Weighted AUC and average precision, compared with scikit-learn on repeated tiles."""

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from histo.statistics.ranking import Ranking


def test_weights_are_repetitions(random):
    labels, scores = random.integers(0, 2, 80), random.integers(0, 12, 80).astype(float)
    weights = random.integers(0, 4, 80)
    ranking = Ranking(labels, scores)
    repeated = np.repeat(labels, weights), np.repeat(scores, weights)
    assert ranking.auc(weights.astype(float)) == pytest.approx(roc_auc_score(*repeated), rel=1e-12)
    assert ranking.average_precision(weights.astype(float)) == pytest.approx(
        average_precision_score(*repeated), rel=1e-12
    )


def test_without_a_class_there_is_no_value():
    ranking = Ranking(np.array([0, 1]), np.array([0.1, 0.2]))
    assert np.isnan(ranking.auc(np.array([1.0, 0.0])))
    assert np.isnan(ranking.average_precision(np.array([1.0, 0.0])))
    assert ranking.average_precision(np.array([0.0, 1.0])) == 1.0
