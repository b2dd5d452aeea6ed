"""Ranks and weights with which models are blended."""

import numpy as np
import pytest

from histo.statistics.blending import blends, fit_weights, nested_weights, rank_mean, weighted_mean
from support.blending import several_classes, two_models


def test_ranks_do_not_depend_on_the_distribution_of_each_fold():
    folds = np.repeat([0, 1], 4)
    probabilities = np.array([[0.1, 0.2, 0.3, 0.4, 0.6, 0.7, 0.8, 0.9], [0.5, 0.4, 0.3, 0.2, 0.1, 0.2, 0.2, 0.9]]).T
    ranks = np.array([[1, 2, 3, 4, 1, 2, 3, 4], [4, 3, 2, 1, 1, 2.5, 2.5, 4]])
    np.testing.assert_allclose(rank_mean(probabilities, folds), ((ranks - 0.5) / 4).mean(axis=0), rtol=1e-15)


@pytest.mark.parametrize("truth", [0.0, 0.3, 1.0])
def test_weights_are_those_of_the_mixture_that_generated_the_labels(truth):
    rng = np.random.default_rng(1)
    probabilities = rng.random((200_000, 2))
    labels = (rng.random(200_000) < probabilities @ [truth, 1 - truth]).astype(int)
    assert fit_weights(probabilities, labels) == pytest.approx([truth, 1 - truth], abs=0.01)


def test_weights_maximise_the_likelihood():
    """At the maximum, the mean likelihood of a model relative to the blend is at most 1, and 1 if it has weight."""
    rng = np.random.default_rng(2)
    labels = (np.arange(5000) % 3 == 0).astype(int)
    spread = np.array([0.8, 1.0, 1.5, 6.0])
    probabilities = 1 / (1 + np.exp(-(2 * labels[:, None] - 1 + rng.normal(size=(5000, 4)) * spread)))
    probabilities[0] = 0.0, 1.0, 0.0, 1.0  # certain but wrong predictions must not give an infinite loss
    weights = fit_weights(probabilities, labels)
    assert weights.sum() == pytest.approx(1, abs=1e-12) and (weights >= 0).all()
    likelihood = np.where(labels[:, None] == 1, probabilities, 1 - probabilities)
    gain = (likelihood / (likelihood @ weights)[:, None]).mean(axis=0)
    assert (gain < 1.001).all()
    assert gain[weights > 0.01] == pytest.approx(1, abs=1e-3)
    assert weights[3] < 0.01 < weights[0]


def test_labels_of_a_fold_do_not_change_its_own_weights():
    folds, values = two_models(4, correct_fold=1)
    matrix, labels, fold = np.stack(list(values.values()), axis=1), folds["label"].to_numpy(), folds["fold"].to_numpy()
    before = nested_weights(matrix, labels, fold)
    after = nested_weights(matrix, np.where(fold == 2, 1 - labels, labels), fold)
    assert before.keys() == after.keys() == {0, 1, 2}
    assert before[2].tolist() == after[2].tolist()
    assert before[0].tolist() != after[0].tolist()


def test_weights_of_several_classes_maximise_the_likelihood(random):
    probabilities, labels = several_classes(random)
    weights = fit_weights(probabilities, labels)

    def likelihood(share):
        blended = weighted_mean(probabilities, np.array([share, 1 - share]))
        np.testing.assert_allclose(blended.sum(1), 1)
        return np.log(blended[np.arange(300), labels]).sum()

    assert weights.sum() == pytest.approx(1) and weights[0] > 0.5
    assert likelihood(weights[0]) >= max(likelihood(share) for share in np.linspace(0, 1, 101)) - 1e-6


def test_ranks_of_several_classes_are_those_of_each_class(random):
    probabilities, _ = several_classes(random)
    folds = np.arange(300) // 150
    ranks = rank_mean(probabilities, folds)
    for k in range(3):
        np.testing.assert_array_equal(ranks[:, k], rank_mean(probabilities[:, :, k], folds))


def test_each_method_blends_the_same_probabilities():
    probabilities = np.array([[0.1, 0.3], [0.2, 0.8], [0.6, 0.9], [0.5, 0.7]])
    folds = np.array([0, 0, 1, 1])
    found = blends(probabilities, folds, {0: np.array([1.0, 0.0]), 1: np.array([0.25, 0.75])})
    assert found["mean"].tolist() == pytest.approx([0.2, 0.5, 0.75, 0.6])
    assert found["rank_mean"].tolist() == [0.25, 0.75, 0.75, 0.25]
    assert found["weights"].tolist() == pytest.approx([0.1, 0.2, 0.825, 0.65])
