"""The AUC, compared with an independent calculation."""

import numpy as np
import pytest

from histo.metrics import auc


def test_auc_is_the_proportion_of_ordered_pairs(random):
    labels, scores = random.integers(0, 2, 60), random.integers(0, 9, 60)
    positive, negative = scores[labels == 1][:, None], scores[labels == 0][None]
    assert auc(labels, scores) == pytest.approx(((positive > negative) + 0.5 * (positive == negative)).mean())


def test_auc_needs_both_classes():
    with pytest.raises(ValueError, match=r"both classes, found \[1\.0\]"):
        auc(np.ones(5), np.arange(5))
