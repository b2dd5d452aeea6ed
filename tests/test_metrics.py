"""Figures of merit against other ways to get them."""

import numpy as np
import pytest

from histo.evaluation import evaluation
from histo.metrics import auc, auc_interval


def test_auc_counts_pairs_in_order(random):
    labels, scores = random.integers(0, 2, 60), random.integers(0, 9, 60)
    positive, negative = scores[labels == 1][:, None], scores[labels == 0][None]
    assert auc(labels, scores) == pytest.approx(((positive > negative) + 0.5 * (positive == negative)).mean())
    with pytest.raises(ValueError, match="both classes"):
        auc(np.ones(5), np.arange(5))


def test_interval_covers_the_truth_about_95_times_in_100(random):
    """Scores from two normal distributions whose AUC is known: Phi(1 / sqrt 2) = 0.7602."""
    inside = 0
    for _ in range(400):
        scores = np.r_[random.normal(0, 1, 80), random.normal(1, 1, 60)]
        low, high = auc_interval(np.r_[np.zeros(80), np.ones(60)], scores)
        inside += low < 0.76025 < high
    assert 0.92 <= inside / 400 <= 0.98


def test_interval_of_a_perfect_order_is_that_point():
    assert auc_interval(np.array([0, 0, 1, 1]), np.array([0.1, 0.2, 0.8, 0.9])) == (1.0, 1.0)


def test_report():
    labels = np.array([0, 0, 1, 1, 0, 1, 0, 1])
    probabilities = np.array([0.1, 0.6, 0.4, 0.9, 0.2, 0.7, 0.3, 0.8])
    folds = np.array([0, 0, 0, 0, 1, 1, 1, 1])
    found = evaluation(labels, probabilities, folds)
    assert found["confusion"] == [[3, 1], [1, 3]]
    assert (found["accuracy"], found["precision"], found["recall"], found["f1"]) == (0.75, 0.75, 0.75, 0.75)
    assert found["folds"] == [{"fold": 0, "tiles": 4, "auc": 0.75}, {"fold": 1, "tiles": 4, "auc": 1.0}]
    assert found["auc"] == pytest.approx(15 / 16)
    assert found["auc_low"] <= found["auc"] <= found["auc_high"]
    assert (found["roc"]["fpr"][0], found["roc"]["tpr"][-1]) == (0, 1)
