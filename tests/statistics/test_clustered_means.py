"""Means, proportions and the bootstrap of clusters."""

import numpy as np
import pytest
from scipy.stats import binomtest
from sklearn.metrics import roc_auc_score

from histo.statistics.clustered_auc import stratified_auc
from histo.statistics.clustered_means import bootstrap, clustered_mean, estimate, mean_error, proportion, wilson
from histo.statistics.ranking import Ranking


def test_single_tiles_have_the_usual_standard_error(random):
    values = random.normal(0, 1, 50)
    mean, error, degrees = mean_error(values, np.arange(50))
    assert mean == pytest.approx(values.mean())
    assert error == pytest.approx(values.std(ddof=1) / 50**0.5, rel=1e-12)
    assert 30 < degrees <= 49


def test_equal_tiles_of_a_cluster_count_once(random):
    values = random.normal(0, 1, 20)
    assert mean_error(np.repeat(values, 7), np.repeat(np.arange(20), 7)) == pytest.approx(
        mean_error(values, np.arange(20)), rel=1e-12
    )


def test_the_error_of_a_mean_is_that_of_the_jackknife(random):
    """Clusters of unequal size, each left out once."""
    cluster = np.repeat(np.arange(6), [1, 4, 2, 8, 3, 5])
    values = random.random(len(cluster))
    left = np.array([values[cluster != c].mean() for c in range(6)])
    expected = (5 / 6 * ((left - values.mean()) ** 2).sum()) ** 0.5
    assert mean_error(values, cluster)[1] == pytest.approx(expected, rel=1e-12)


def test_wilson_is_that_of_scipy():
    expected = binomtest(17, 20).proportion_ci(method="wilson")
    assert wilson(0.85, 20, 1.959963984540054) == pytest.approx((expected.low, expected.high), rel=1e-9)


def test_a_proportion_of_1_is_as_certain_as_its_number_of_clusters():
    hits, clusters = np.ones(100, bool), np.repeat(np.arange(10), 10)
    found = proportion(hits, clusters)
    expected = binomtest(10, 10).proportion_ci(method="wilson")
    assert (found["value"], found["high"]) == (1.0, 1.0)
    assert found["low"] == pytest.approx(expected.low, rel=1e-9)


def test_correlated_tiles_widen_the_interval_of_a_proportion(random):
    clusters = np.repeat(np.arange(20), 10)
    hits = random.random(20)[clusters] > 0.4
    together, apart = proportion(hits, clusters), proportion(hits, np.arange(200))
    assert together["value"] == apart["value"]
    assert (together["high"] - together["low"]) / (apart["high"] - apart["low"]) > 2.5


def test_nothing_to_measure_is_none():
    nothing = {"value": None, "low": None, "high": None}
    assert proportion(np.zeros(0, bool), np.zeros(0, int)) == clustered_mean(np.zeros(0), np.zeros(0, int)) == nothing
    assert clustered_mean(np.array([1.0, 3.0]), np.array([4, 4])) == {"value": 2.0, "low": None, "high": None}
    assert estimate(float("nan"), 0.1, float("inf")) == {"value": None, "low": 0.1, "high": None}


def test_the_bootstrap_draws_whole_clusters_within_strata():
    clusters, strata = np.repeat(np.arange(8), 3), np.repeat([0, 1], [9, 15])
    drawn = bootstrap(lambda weights: weights, clusters, strata, 50)
    assert drawn.shape == (50, 24)
    by_cluster = drawn.reshape(50, 8, 3)
    assert (by_cluster == by_cluster[:, :, :1]).all()
    assert (by_cluster[:, :3, 0].sum(axis=1) == 3).all() and (by_cluster[:, 3:, 0].sum(axis=1) == 5).all()
    assert len(np.unique(drawn, axis=0)) > 40


def test_the_bootstrap_agrees_with_the_variance_of_the_auc(random):
    """40 clusters of 10 tiles in two strata."""
    clusters = np.repeat(np.arange(40), 10)
    strata = clusters % 2
    labels = (random.random(400) < random.uniform(0, 1, 40)[clusters]).astype(int)
    scores = labels + random.normal(0, 0.7, 40)[clusters] + random.normal(0, 1, 400)
    found = stratified_auc(labels, scores, clusters, strata)
    rankings = [(strata == k, Ranking(labels[strata == k], scores[strata == k])) for k in (0, 1)]
    samples = bootstrap(lambda w: np.mean([r.auc(w[rows]) for rows, r in rankings]), clusters, strata, 400)
    assert samples.mean() == pytest.approx(found.values[0], abs=0.01)
    assert samples.std(ddof=1) / found.error() == pytest.approx(1, abs=0.12)
    plain = stratified_auc(labels, scores, None, strata)
    assert samples.std(ddof=1) > 1.3 * plain.error()
    assert Ranking(labels, scores).auc(np.ones(400)) == pytest.approx(roc_auc_score(labels, scores))


def test_the_bootstrap_has_the_published_errors_of_the_mouse_data():
    """Efron and Tibshirani, An Introduction to the Bootstrap, 1993, tables 2.1 and 2.2: survival of treated mice."""
    days = np.array([94.0, 197, 16, 38, 99, 141, 23])

    def mean_and_median(weights):
        return np.array([weights @ days / weights.sum(), np.median(np.repeat(days, weights.astype(int)))])

    samples = bootstrap(mean_and_median, np.arange(7), np.zeros(7, int), 5000)
    np.testing.assert_allclose(samples.std(axis=0, ddof=1), [23.36, 37.83], rtol=0.04)
    assert mean_error(days, np.arange(7))[1] == pytest.approx(25.24, abs=0.01)
