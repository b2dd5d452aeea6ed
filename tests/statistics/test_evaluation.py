"""The metrics of out-of-fold predictions."""

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, brier_score_loss, f1_score, roc_auc_score

from histo.statistics.evaluation import CURVE_POINTS, evaluate_oof, mean_roc

LABELS = np.array([0, 0, 1, 1, 0, 1, 0, 1])
PROBABILITIES = np.array([0.1, 0.6, 0.4, 0.9, 0.2, 0.7, 0.3, 0.8])
FOLDS = np.array([0, 0, 0, 0, 1, 1, 1, 1])
TILES = np.arange(8)


def made(random, groups=30, tiles=1500, folds=3):
    """Calibrated probabilities of tiles of groups with different prevalence."""
    group = random.integers(0, groups, tiles)
    logits = random.normal(0, 1.5, groups)[group] + random.normal(0, 1, tiles)
    labels = (random.random(tiles) < 1 / (1 + np.exp(-logits))).astype(int)
    return labels, 1 / (1 + np.exp(-logits)), group % folds, group


def test_metrics_of_eight_tiles():
    metrics = evaluate_oof(LABELS, PROBABILITIES, FOLDS, TILES)
    assert (metrics["tiles"], metrics["groups"]) == (8, 8)
    assert metrics["confusion"] == [[3, 1], [1, 3]]
    found = metrics["probability"]
    assert [found[name]["value"] for name in ("accuracy", "precision", "recall", "specificity", "f1")] == [0.75] * 5
    assert metrics["folds"] == [{"fold": 0, "tiles": 4, "auc": 0.75}, {"fold": 1, "tiles": 4, "auc": 1.0}]
    assert (metrics["auc"], metrics["auc_std_of_folds"]) == (0.875, pytest.approx(0.25 / np.sqrt(2)))
    assert metrics["auc_pooled"] == pytest.approx(15 / 16)
    assert metrics["auc_low"] < metrics["auc"] < metrics["auc_high"]
    assert metrics["auc_pooled_low"] < metrics["auc_pooled"] < metrics["auc_pooled_high"]


def test_values_are_those_of_scikit_learn(random):
    labels, probabilities, folds, group = made(random)
    metrics = evaluate_oof(labels, probabilities, folds, group)
    found = metrics["probability"]
    aucs = [roc_auc_score(labels[folds == k], probabilities[folds == k]) for k in range(3)]
    assert metrics["auc"] == pytest.approx(np.mean(aucs))
    assert metrics["auc_pooled"] == pytest.approx(roc_auc_score(labels, probabilities))
    assert found["average_precision"]["value"] == pytest.approx(average_precision_score(labels, probabilities))
    assert found["brier"]["value"] == pytest.approx(brier_score_loss(labels, probabilities))
    assert found["f1"]["value"] == pytest.approx(f1_score(labels, probabilities >= 0.5))
    assert found["mean"]["value"] == pytest.approx(probabilities.mean())


def test_intervals_hold_the_value_and_widen_with_groups(random):
    labels, probabilities, folds, group = made(random)
    by_group, by_tile = (evaluate_oof(labels, probabilities, folds, g) for g in (group, np.arange(len(labels))))
    names = [name for name, entry in by_group["probability"].items() if name not in ("thresholds", "temperature")]
    for name in names:
        entry = by_group["probability"][name]
        assert entry["low"] < entry["value"] < entry["high"], name
    assert by_group["design_effect"] > 1.5
    assert by_tile["design_effect"] == pytest.approx(1)
    width = [row["probability"]["brier"]["high"] - row["probability"]["brier"]["low"] for row in (by_group, by_tile)]
    assert width[0] > 1.1 * width[1]
    bootstrap = by_group["auc_bootstrap_high"] - by_group["auc_bootstrap_low"]
    assert bootstrap / (by_group["auc_high"] - by_group["auc_low"]) == pytest.approx(1, abs=0.35)
    # Calibrated by construction.
    assert by_group["probability"]["slope"]["low"] < 1 < by_group["probability"]["slope"]["high"]
    assert by_group["probability"]["temperature"]["temperature"] == pytest.approx(1, abs=0.15)
    assert by_group["probability"]["temperature"]["log_loss"]["value"] > 0


def test_a_fold_that_is_calibrated_differently_lowers_the_pooled_auc_alone(random):
    labels, probabilities, folds, group = made(random)
    moved = np.where(folds == 1, 0.9 + probabilities / 10, probabilities)
    before, after = (evaluate_oof(labels, values, folds, group) for values in (probabilities, moved))
    assert after["auc"] == pytest.approx(before["auc"], abs=1e-12)
    assert after["auc_low"] == pytest.approx(before["auc_low"], abs=1e-12)
    assert after["auc_pooled"] < before["auc_pooled"] - 0.02


def test_ranks_have_no_metrics_of_probabilities():
    metrics = evaluate_oof(LABELS, PROBABILITIES, FOLDS, TILES, ranks=True)
    assert metrics["confusion"] is metrics["probability"] is None
    assert metrics["auc"] == 0.875


def test_a_perfect_ranking_has_an_interval():
    metrics = evaluate_oof(LABELS, LABELS * 0.8 + 0.1, FOLDS, TILES)
    assert metrics["auc"] == metrics["auc_high"] == 1.0
    assert metrics["auc_low"] < 0.75
    for name in ("accuracy", "f1", "average_precision", "recall"):
        assert metrics["probability"][name]["value"] == 1.0
        assert metrics["probability"][name]["low"] < 0.8
    assert metrics["probability"]["slope"]["value"] is None


def test_a_single_fold_has_no_spread_and_no_temperature():
    metrics = evaluate_oof(LABELS, PROBABILITIES, np.zeros(8, int), TILES)
    assert metrics["auc_std_of_folds"] == 0.0
    assert metrics["auc"] == metrics["auc_pooled"]
    assert metrics["probability"]["temperature"] is None


def test_precision_is_undefined_and_f1_is_0_without_positive_predictions():
    metrics = evaluate_oof(LABELS, PROBABILITIES / 10, FOLDS, TILES)
    assert metrics["confusion"] == [[4, 0], [4, 0]]
    found = metrics["probability"]
    assert (found["precision"]["value"], found["recall"]["value"], found["f1"]["value"]) == (None, 0.0, 0.0)


def test_the_area_below_the_mean_roc_is_the_mean_of_the_aucs(random):
    labels, probabilities, folds, _ = made(random, tiles=3000)
    probabilities = np.round(probabilities, 2)  # ties
    roc = mean_roc(labels, probabilities, folds)
    assert len(roc["fpr"]) == len(roc["tpr"]) == CURVE_POINTS
    assert (roc["fpr"][0], roc["tpr"][0], roc["fpr"][-1], roc["tpr"][-1]) == (0, 0, 1, 1)
    assert (np.diff(roc["tpr"]) >= 0).all()
    aucs = [roc_auc_score(labels[folds == k], probabilities[folds == k]) for k in range(3)]
    assert np.trapezoid(roc["tpr"], roc["fpr"]) == pytest.approx(np.mean(aucs), abs=0.003)
