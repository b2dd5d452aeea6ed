"""The AUC and its confidence interval, compared with independent calculations."""

import numpy as np
import pytest

from histo.metrics import auc, auc_interval


def test_auc_is_the_proportion_of_ordered_pairs(random):
    labels, scores = random.integers(0, 2, 60), random.integers(0, 9, 60)
    positive, negative = scores[labels == 1][:, None], scores[labels == 0][None]
    assert auc(labels, scores) == pytest.approx(((positive > negative) + 0.5 * (positive == negative)).mean())


def test_auc_needs_both_classes():
    with pytest.raises(ValueError, match=r"both classes, found \[1\.0\]"):
        auc(np.ones(5), np.arange(5))


def test_interval_covers_the_true_auc_in_95_per_cent_of_samples(random):
    """Scores from two normal distributions whose AUC is known: Phi(1 / sqrt 2) = 0.7602."""
    covered = 0
    for _ in range(400):
        scores = np.r_[random.normal(0, 1, 80), random.normal(1, 1, 60)]
        low, high = auc_interval(np.r_[np.zeros(80), np.ones(60)], scores)
        covered += low < 0.76025 < high
    assert 0.92 <= covered / 400 <= 0.98


def test_interval_of_a_perfect_ranking_has_zero_width():
    assert auc_interval(np.array([0, 0, 1, 1]), np.array([0.1, 0.2, 0.8, 0.9])) == (1.0, 1.0)
