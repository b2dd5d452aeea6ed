"""Metrics of more than two classes against scikit-learn and against two classes."""

import numpy as np
import pytest
from scipy.special import expit, logit
from scipy.stats import norm
from sklearn.metrics import confusion_matrix, precision_score, recall_score, roc_auc_score

from histo.class_metrics import evaluate_classes, macro_auc, macro_auc_interval
from histo.metrics import auc
from histo.statistics.clustered_auc import stratified_auc


@pytest.fixture
def data(random):
    """Labels of four classes and probabilities that know something about them, some of them tied."""
    labels = np.arange(400) % 4
    scores = random.random((400, 4)).round(2) + 0.01
    scores[np.arange(400), labels] += 0.3
    return labels, scores / scores.sum(axis=1, keepdims=True)


def test_the_macro_auc_is_that_of_scikit_learn(data):
    expected = roc_auc_score(*data, multi_class="ovr", average="macro")
    assert macro_auc(*data) == pytest.approx(expected, abs=1e-12)
    assert auc(*data) == macro_auc(*data)


def test_a_missing_class_is_an_error(data):
    labels, scores = data
    with pytest.raises(ValueError, match=r"labels of all 4 classes, found \[0, 1, 2\]"):
        macro_auc(labels[labels < 3], scores[labels < 3])


def test_the_interval_of_two_opposite_columns_is_delongs(random):
    """With two columns p and 1 - p both AUCs are equal, so the error is nearly that of two classes."""
    labels = (random.random(600) < 0.4).astype(int)
    p = np.clip(0.3 * labels + 0.7 * random.random(600), 0, 1)
    both = np.stack([1 - p, p], axis=1)
    assert macro_auc(labels, both) == pytest.approx(auc(labels, p), abs=1e-12)
    delong = stratified_auc(labels, p)
    middle, slope = logit(delong.values[0]), 1 / (delong.values[0] * (1 - delong.values[0]))
    spread = norm.ppf(0.975) * delong.error() * slope
    assert macro_auc_interval(labels, both) == pytest.approx(expit([middle - spread, middle + spread]), abs=2e-4)


def test_the_interval_is_as_wide_as_the_spread_of_samples(random):
    values, widths = [], []
    for _ in range(300):
        labels = random.integers(0, 3, 150)
        scores = random.random((150, 3))
        scores[np.arange(150), labels] += 0.4
        values.append(macro_auc(labels, scores))
        low, high = macro_auc_interval(labels, scores)
        widths.append(high - low)
    assert np.mean(widths) == pytest.approx(2 * 1.96 * np.std(values), rel=0.15)


def test_all_metrics(data):
    labels, scores = data
    folds = np.arange(400) // 200
    found = evaluate_classes(labels, scores, folds)
    guesses = scores.argmax(axis=1)
    assert found["confusion"] == confusion_matrix(labels, guesses).tolist()
    assert found["accuracy"] == (guesses == labels).mean()
    assert found["precision"] == pytest.approx(precision_score(labels, guesses, average="macro"))
    assert found["recall"] == pytest.approx(recall_score(labels, guesses, average="macro"))
    assert [row["tiles"] for row in found["folds"]] == [200, 200]
    assert found["folds"][1]["auc"] == macro_auc(labels[200:], scores[200:])
    assert found["auc_mean_of_folds"] == pytest.approx(np.mean([row["auc"] for row in found["folds"]]))
    assert found["class_auc"][2] == pytest.approx(roc_auc_score(labels == 2, scores[:, 2]), abs=1e-12)
    assert found["auc_low"] < found["auc"] < found["auc_high"]
    assert found["probability"] is None
