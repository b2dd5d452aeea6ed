"""Operating points that are chosen on other folds."""

import numpy as np
import pytest

from histo.statistics.thresholds import operating_points, reaching, youden


def test_youden_maximises_sensitivity_plus_specificity():
    labels = np.array([0, 0, 0, 1, 0, 1, 1, 1])
    scores = np.array([0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8])
    assert youden(labels, scores) == 0.6  # 3 of 4 positive and 4 of 4 negative tiles right; 0.4 finds 4 and 3
    gains = {limit: np.mean(scores[labels == 1] >= limit) - np.mean(scores[labels == 0] >= limit) for limit in scores}
    assert gains[0.6] == max(gains.values())


@pytest.mark.parametrize("sensitivity", [0.9, 0.95, 0.99])
def test_the_highest_threshold_that_reaches_a_sensitivity(random, sensitivity):
    labels, scores = random.integers(0, 2, 501), random.random(501)
    limit = reaching(sensitivity)(labels, scores)
    positive = scores[labels == 1]
    assert (positive >= limit).mean() >= sensitivity > (positive > limit).mean()


def test_thresholds_of_a_fold_come_from_the_other_folds():
    """In fold 1 all scores are 0.3 lower: the thresholds of fold 0 find no positive tile there."""
    labels = np.tile([0, 0, 1, 1], 2)
    scores = np.r_[0.5, 0.6, 0.8, 0.9, 0.2, 0.3, 0.5, 0.6]
    folds = np.repeat([0, 1], 4)
    rows = {row["name"]: row for row in operating_points(labels, scores, folds, np.arange(8))}
    assert list(rows) == ["0.5", "Youden", "sensitivity 90 %", "sensitivity 95 %", "sensitivity 99 %"]
    assert (rows["0.5"]["sensitivity"]["value"], rows["0.5"]["specificity"]["value"]) == (1.0, 0.5)
    assert (rows["0.5"]["sensitivity"]["hits"], rows["0.5"]["sensitivity"]["tiles"]) == (4, 4)
    assert (rows["Youden"]["lowest"], rows["Youden"]["highest"]) == (0.5, 0.8)
    # Fold 0 is called with 0.5: 2 of 2 and 0 of 2 right; fold 1 with 0.8: 0 of 2 and 2 of 2 right.
    assert (rows["Youden"]["sensitivity"]["value"], rows["Youden"]["specificity"]["value"]) == (0.5, 0.5)
    assert rows["Youden"]["crossfitted"] and not rows["0.5"]["crossfitted"]


def test_with_one_fold_thresholds_are_chosen_on_the_same_tiles():
    labels, scores = np.array([0, 0, 1, 1]), np.array([0.1, 0.2, 0.3, 0.4])
    row = operating_points(labels, scores, np.zeros(4, int), np.arange(4))[1]
    assert (row["threshold"], row["sensitivity"]["value"], row["specificity"]["value"]) == (0.3, 1.0, 1.0)
    assert not row["crossfitted"]
