"""The metrics of out-of-fold predictions."""

import numpy as np
import pytest

from histo.evaluation import CURVE_POINTS, evaluate_oof

LABELS = np.array([0, 0, 1, 1, 0, 1, 0, 1])
PROBABILITIES = np.array([0.1, 0.6, 0.4, 0.9, 0.2, 0.7, 0.3, 0.8])
FOLDS = np.array([0, 0, 0, 0, 1, 1, 1, 1])


def test_metrics_of_eight_tiles():
    metrics = evaluate_oof(LABELS, PROBABILITIES, FOLDS)
    assert metrics["tiles"] == 8
    assert metrics["confusion"] == [[3, 1], [1, 3]]
    assert (metrics["accuracy"], metrics["precision"], metrics["recall"], metrics["f1"]) == (0.75, 0.75, 0.75, 0.75)
    assert metrics["folds"] == [{"fold": 0, "tiles": 4, "auc": 0.75}, {"fold": 1, "tiles": 4, "auc": 1.0}]
    assert (metrics["auc_mean_of_folds"], metrics["auc_std_of_folds"]) == (0.875, pytest.approx(0.25 / np.sqrt(2)))
    assert metrics["auc"] == pytest.approx(15 / 16)
    assert metrics["auc_low"] <= metrics["auc"] <= metrics["auc_high"]
    assert (metrics["roc"]["fpr"][0], metrics["roc"]["tpr"][-1]) == (0, 1)


def test_a_single_fold_has_no_spread():
    assert evaluate_oof(LABELS, PROBABILITIES, np.zeros(8, int))["auc_std_of_folds"] == 0.0


def test_precision_and_f1_are_0_without_positive_predictions():
    metrics = evaluate_oof(LABELS, PROBABILITIES / 10, FOLDS)
    assert metrics["confusion"] == [[4, 0], [4, 0]]
    assert (metrics["precision"], metrics["recall"], metrics["f1"]) == (0.0, 0.0, 0.0)


def test_the_roc_curve_has_a_limited_number_of_points(random):
    labels = random.integers(0, 2, 5000)
    roc = evaluate_oof(labels, random.random(5000), np.zeros(5000, int))["roc"]
    assert len(roc["fpr"]) == len(roc["tpr"]) == CURVE_POINTS
    assert (roc["fpr"][0], roc["tpr"][0], roc["fpr"][-1], roc["tpr"][-1]) == (0, 0, 1, 1)
