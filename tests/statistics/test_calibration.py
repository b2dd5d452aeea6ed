"""Calibration of probabilities whose deviation is known."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss

from histo.statistics.calibration import (
    calibration_bins,
    calibration_error,
    fit_temperature,
    log_losses,
    logistic_recalibration,
    temperature_out_of_fold,
)


def drawn(random, slope=1.0, shift=0.0, count=20_000):
    """Labels drawn with probability sigmoid(shift + slope × logit), and the logits."""
    logits = random.normal(0, 1.5, count)
    return (random.random(count) < 1 / (1 + np.exp(-shift - slope * logits))).astype(int), logits


def test_log_losses_are_those_of_scikit_learn(random):
    labels, probabilities = random.integers(0, 2, 30), random.random(30)
    assert log_losses(labels, probabilities).mean() == pytest.approx(log_loss(labels, probabilities), rel=1e-12)
    assert log_losses(np.array([1]), np.array([0.0]))[0] == pytest.approx(-np.log(1e-15))


def test_bins_have_equally_many_tiles_and_rising_probabilities(random):
    probabilities = random.random(95)
    bins = calibration_bins(probabilities)
    assert sorted(np.bincount(bins)) == [9] * 5 + [10] * 5
    assert all(probabilities[bins == k].max() <= probabilities[bins == k + 1].min() for k in range(9))


def test_calibration_error_of_shifted_probabilities(random):
    probabilities = np.repeat(np.linspace(0.15, 0.75, 10), 2000)
    labels = (random.random(20_000) < probabilities).astype(int)
    tiles, one = np.arange(20_000), np.zeros(20_000, int)
    exact = calibration_error(labels, probabilities, tiles, one)
    assert exact["value"] < 0.015
    shifted = calibration_error(labels, probabilities + 0.1, tiles, one)
    assert shifted["value"] == pytest.approx(0.1, abs=0.01)
    assert 0.005 < shifted["high"] - shifted["low"] < 0.03
    assert shifted["low"] < shifted["value"] < shifted["high"]


@pytest.mark.parametrize(("slope", "shift"), [(1.0, 0.0), (0.5, -0.7), (2.0, 0.4)])
def test_slope_and_intercept_recover_the_truth(random, slope, shift):
    labels, logits = drawn(random, slope, shift)
    found = logistic_recalibration(labels, logits, np.arange(len(labels)))
    assert found["slope"]["low"] < slope < found["slope"]["high"]
    assert found["slope"]["value"] == pytest.approx(slope, abs=0.1)
    reference = LogisticRegression(C=1e9, tol=1e-9).fit(logits[:, None], labels)
    assert found["slope"]["value"] == pytest.approx(float(reference.coef_[0, 0]), rel=1e-4)
    if slope == 1:
        assert found["intercept"]["low"] < shift < found["intercept"]["high"]


def test_intercept_has_the_sign_of_the_mean_error(random):
    labels, logits = drawn(random)
    found = logistic_recalibration(labels, logits + 0.8, np.arange(len(labels)))
    assert found["intercept"]["value"] == pytest.approx(-0.8, abs=0.06)
    assert found["slope"]["value"] == pytest.approx(1, abs=0.06)


def test_copies_of_tiles_in_their_cluster_do_not_narrow_the_interval(random):
    labels, logits = drawn(random, count=400)
    copies = np.repeat(np.arange(400), 6)
    one = logistic_recalibration(labels, logits, np.arange(400))["slope"]
    six = logistic_recalibration(labels[copies], logits[copies], copies)["slope"]
    assert six["high"] - six["low"] == pytest.approx(one["high"] - one["low"], rel=1e-6)


def test_separated_classes_have_no_slope():
    found = logistic_recalibration(np.array([0, 0, 1, 1]), np.array([-2.0, -1.0, 1.0, 2.0]), np.arange(4))
    assert found["slope"] == {"value": None, "low": None, "high": None}
    assert found["intercept"]["value"] == pytest.approx(0, abs=1e-6)


def test_temperature_undoes_a_factor(random):
    labels, logits = drawn(random)
    assert fit_temperature(labels, 3 * logits) == pytest.approx(3, rel=0.05)
    assert fit_temperature(labels, 0.5 * logits) == pytest.approx(0.5, rel=0.05)


def test_temperature_of_a_fold_is_fitted_to_the_others(random):
    labels, logits = drawn(random, count=4000)
    folds = np.arange(4000) % 2
    stretched = np.where(folds == 0, 4 * logits, logits)
    _, probabilities = temperature_out_of_fold(labels, stretched, folds)
    # Fold 0 needs 4 but gets about 1 from fold 1, which gets about 4 and needs 1.
    np.testing.assert_allclose(
        np.log(probabilities / (1 - probabilities))[folds == 0] / stretched[folds == 0], 1, atol=0.2
    )
    np.testing.assert_allclose(
        np.log(probabilities / (1 - probabilities))[folds == 1] / logits[folds == 1], 0.25, atol=0.05
    )
