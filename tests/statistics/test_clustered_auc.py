"""The AUC of clustered data, compared with published numbers and with sums over all pairs of tiles."""

import math

import numpy as np
import pytest
from scipy.stats import norm
from sklearn.metrics import roc_auc_score

from histo.statistics.clustered_auc import (
    bounded_interval,
    holm,
    placements,
    score_interval,
    score_variance,
    stratified_auc,
)

# 113 patients with subarachnoid haemorrhage (Turck et al., Intensive Care Medicine 36(1), 2010): the grade of the World
# Federation of Neurosurgical Societies and the concentration of S100B, in 0.01 µg/l, by outcome: 72 good, 41 poor.
WFNS = (
    "11115122122111212113414155112411221212211112121132421411542211131224411132455552521254425552525245441442255225555"
)
S100B = """
    13 14 10 4 47 18 10 10 4 8 4 9 11 7 17 7 11 13 19 5 16 14 34 9 50 46 16 7 43 45 11 8 9 8 6 13 10 14 15 6 5 9 4 9 8
    16 9 8 33 11 28 7 10 32 7 5 24 38 10 15 8 14 10 7 4 19 15 47 17 15 50 48
    13 10 16 12 44 71 49 7 33 9 7 41 35 48 96 25 86 52 207 7 77 30 3 9 23 70 27 71 8 26 13 10 11 22 56 14 58 32 82 74 44
"""
PATIENTS = np.stack([[int(grade) for grade in WFNS], [int(value) for value in S100B.split()]], axis=1).astype(float)
OUTCOMES = np.repeat([0, 1], [72, 41])


def clustered(random, clusters=12, strata=3, models=2):
    """Tiles of clusters of different sizes and prevalence, with scores that depend on the cluster and have ties."""
    number = np.repeat(np.arange(clusters), random.integers(3, 9, clusters))
    labels = (random.random(len(number)) < random.uniform(0.2, 0.8, clusters)[number]).astype(int)
    labels[np.unique(number, return_index=True)[1]] = np.arange(clusters) // strata % 2  # both classes in each stratum
    scores = (
        labels[:, None] + random.normal(0, 1, (clusters, models))[number] + random.normal(0, 1, (len(number), models))
    )
    return labels, np.round(scores, 1), number, number % strata


def brute_force(labels, scores, clusters):
    """AUC, Obuchowski's covariance and that with deviations from the other clusters, from all pairs of tiles."""
    positive, negative = np.flatnonzero(labels == 1), np.flatnonzero(labels == 0)
    models, names = scores.shape[1], np.unique(clusters)
    pairs = [
        np.array([[float(s[i] > s[j]) + 0.5 * float(s[i] == s[j]) for j in negative] for i in positive])
        for s in scores.T
    ]
    aucs = np.array([matrix.mean() for matrix in pairs])
    sums, jackknife = np.zeros((2, 2, len(names), models))
    counts = [len(set(clusters[positive])), len(set(clusters[negative])), len(names)]
    for which, tiles in enumerate((positive, negative)):
        for model in range(models):
            placed = pairs[model].mean(axis=1 - which)
            for c, name in enumerate(names):
                own = clusters[tiles] == name
                if own.any():
                    sums[which, c, model] = own.mean() * (placed[own].mean() - aucs[model])
                    jackknife[which, c, model] = own.mean() * (placed[own].mean() - placed[~own].mean())

    def covariance(parts, factors):
        both = factors[2] * parts[0].T @ parts[1]
        return factors[0] * parts[0].T @ parts[0] + factors[1] * parts[1].T @ parts[1] + both + both.T

    obuchowski = covariance(sums, [count / (count - 1) for count in counts])
    return aucs, obuchowski, covariance(jackknife, [(count - 1) / count for count in counts])


def test_published_example_of_two_markers():
    """The package pROC states these numbers for the same patients (its tests of `var`, `cov` and `roc.test`)."""
    found = stratified_auc(OUTCOMES, PATIENTS)
    assert found.values == pytest.approx([0.8236789, 0.7313686], abs=5e-8)
    assert found.covariance[0, 0] == pytest.approx(0.00146991470882363, rel=1e-12)
    assert found.covariance[1, 1] == pytest.approx(0.00266868245717244, rel=1e-12)
    assert found.covariance[0, 1] == pytest.approx(0.00119615567376754, rel=1e-12)
    difference = found.difference(0, 1)
    assert difference.statistic == pytest.approx(2.20898359144091, rel=1e-12)
    # pROC uses normal quantiles, these are of t with 32 degrees of freedom.
    assert difference.low == pytest.approx(0.0104061769564846, abs=0.004)
    assert difference.high == pytest.approx(0.174214419249478, abs=0.004)
    assert 0.0271757822291882 < difference.p < 0.035
    assert difference.low < 0.0104061769564846


@pytest.mark.parametrize("seed", range(3))
def test_values_and_covariance_are_those_of_all_pairs(seed):
    random = np.random.default_rng(seed)
    labels, scores, clusters, _ = clustered(random)
    found = stratified_auc(labels, scores, clusters)
    aucs, obuchowski, covariance = brute_force(labels, scores, clusters)
    np.testing.assert_allclose(found.values, aucs, rtol=1e-12)
    np.testing.assert_allclose(found.covariance, covariance, rtol=1e-11, atol=1e-16)
    assert found.values[0] == pytest.approx(roc_auc_score(labels, scores[:, 0]), rel=1e-12)
    np.testing.assert_allclose(np.diag(found.covariance), np.diag(obuchowski), rtol=0.5)
    np.testing.assert_allclose((found.contributions**2).sum(axis=0), np.diag(covariance), rtol=0.35)


def test_clusters_of_equal_size_have_the_variance_of_obuchowski(random):
    clusters = np.repeat(np.arange(9), 7)
    labels = np.tile([0, 0, 0, 1, 0, 1, 1], 9)
    scores = np.round(labels[:, None] + random.normal(0, 1, (9, 2))[clusters] + random.normal(0, 1, (63, 2)), 1)
    found = stratified_auc(labels, scores, clusters)
    np.testing.assert_allclose(found.covariance, brute_force(labels, scores, clusters)[1], rtol=1e-11, atol=1e-16)


def test_strata_are_averaged(random):
    labels, scores, clusters, strata = clustered(random)
    found = stratified_auc(labels, scores, clusters, strata)
    parts = [stratified_auc(labels[strata == k], scores[strata == k], clusters[strata == k]) for k in range(3)]
    np.testing.assert_allclose(found.by_stratum, [part.values for part in parts], rtol=1e-12)
    np.testing.assert_allclose(found.values, np.mean([part.values for part in parts], axis=0), rtol=1e-12)
    np.testing.assert_allclose(found.covariance, sum(part.covariance for part in parts) / 9, rtol=1e-12, atol=1e-18)
    expected = [roc_auc_score(labels[strata == k], scores[strata == k, 0]) for k in range(3)]
    assert found.values[0] == pytest.approx(np.mean(expected), rel=1e-12)


def test_recalibrating_a_stratum_moves_the_pooled_auc_alone(random):
    labels, scores, clusters, strata = clustered(random)
    moved = np.where(strata[:, None] == 1, scores * 0.1 + 3, scores)
    before, after = (stratified_auc(labels, values, clusters, strata) for values in (scores, moved))
    np.testing.assert_array_equal(before.values, after.values)
    assert before.interval(1) == after.interval(1)
    pooled = [stratified_auc(labels, values, clusters).values[0] for values in (scores, moved)]
    assert pooled[0] - pooled[1] > 0.02


def test_copies_of_a_tile_in_its_cluster_add_no_information(random):
    """Each tile five times: by tile the interval shrinks to about 1 / √5, by cluster it stays."""
    labels = random.integers(0, 2, 40)
    scores = labels + random.normal(0, 1, 40)
    single = stratified_auc(labels, scores)
    copies = np.repeat(np.arange(40), 5)
    together = stratified_auc(labels[copies], scores[copies], copies)
    apart = stratified_auc(labels[copies], scores[copies])
    assert together.values == pytest.approx(single.values)
    assert together.error() == pytest.approx(single.error(), rel=1e-12)
    assert apart.error() / single.error() == pytest.approx(5**-0.5, rel=0.03)


def test_the_variance_of_clusters_of_one_class_each_does_not_depend_on_their_order(random):
    labels, scores, clusters, strata = clustered(random)
    order = random.permutation(len(labels))
    first = stratified_auc(labels, scores, clusters, strata)
    second = stratified_auc(labels[order], scores[order], 7 - 3 * clusters[order], strata[order])
    np.testing.assert_allclose(first.covariance, second.covariance, rtol=1e-10, atol=1e-18)


def test_an_auc_of_1_has_an_interval():
    labels, scores = np.repeat([0, 1], 20), np.arange(40.0)
    low, high = stratified_auc(labels, scores).interval()
    assert high == 1.0
    assert 0.80 < low < 0.95
    # Two slides of one class each, all tiles right: nearly nothing is known.
    low, high = stratified_auc(labels, scores, labels).interval()
    assert high == 1.0
    assert low < 0.5
    low, high = stratified_auc(labels, -scores).interval()
    assert low == 0.0
    assert 0.05 < high < 0.20


@pytest.mark.parametrize(("value", "positives", "negatives"), [(1.0, 5, 9), (0.8, 12, 30), (0.0, 4, 4), (0.5, 50, 50)])
def test_limits_of_the_score_interval_are_just_compatible(value, positives, negatives):
    low, high = score_interval(value, positives, negatives)
    for limit in (low, high):
        if 0 < limit < 1:
            distance = abs(value - limit) / score_variance(limit, positives, negatives) ** 0.5
            assert distance == pytest.approx(norm.ppf(0.975), rel=1e-6)
    assert low <= value <= high
    assert high - low > 0.1


def test_variance_by_value_alone_is_that_of_hanley_and_mcneil():
    """Method 5 of Newcombe equals it for equal numbers of both classes."""
    a, n = 0.8, 25
    q1, q2 = a / (2 - a), 2 * a * a / (1 + a)
    expected = (a * (1 - a) + (n - 1) * (q1 - a * a) + (n - 1) * (q2 - a * a)) / n**2
    assert score_variance(a, n, n) == pytest.approx(expected, rel=1e-12)


def test_a_stratum_with_one_positive_cluster_has_a_variance(random):
    """Clusters 0 to 3 have negative tiles, cluster 4 all positive ones."""
    labels = np.repeat([0, 0, 0, 0, 1], 10)
    scores = labels + random.normal(0, 1, 50)
    found = stratified_auc(labels, scores, np.repeat(np.arange(5), 10))
    assert found.covariance[0, 0] == pytest.approx(score_variance(float(found.values[0]), 1, 4))
    low, high = found.interval()
    assert high - low > 0.5


def test_equal_rankings_do_not_differ(random):
    labels, scores, clusters, strata = clustered(random, models=1)
    found = stratified_auc(labels, np.c_[scores, 2 * scores + 1], clusters, strata)
    difference = found.difference(0, 1)
    assert (difference.value, difference.low, difference.high, difference.p) == (0, 0, 0, 1)


def test_a_paired_difference_is_more_certain_than_an_unpaired_one(random):
    labels = random.integers(0, 2, 300)
    common = labels + random.normal(0, 1, 300)
    found = stratified_auc(labels, np.c_[common, common + random.normal(0, 0.3, 300)])
    difference = found.difference(0, 1)
    unpaired = (found.error(0) ** 2 + found.error(1) ** 2) ** 0.5
    assert (difference.high - difference.low) / (2 * 1.96) < 0.5 * unpaired
    opposite = found.difference(1, 0)
    assert (opposite.value, opposite.low, opposite.p) == (-difference.value, -difference.high, difference.p)


def test_a_cluster_that_dominates_leaves_few_degrees_of_freedom(random):
    labels = random.integers(0, 2, 600)
    cluster = np.r_[np.zeros(300, int), np.arange(1, 301)]
    scores = labels + np.where((cluster == 0) & (labels == 0), 1.5, 0.0) + random.normal(0, 1, 600)
    assert stratified_auc(labels, scores, cluster).degrees[0] < 10
    assert stratified_auc(labels, scores).degrees[0] > 200


def test_placements_count_ties_as_one_half():
    value, placed = placements(np.array([0, 0, 1, 1]), np.array([1.0, 2.0, 2.0, 3.0]))
    assert placed.tolist() == [1.0, 0.75, 0.75, 1.0]
    assert value == 0.875


def test_both_classes_are_needed():
    with pytest.raises(ValueError, match=r"both classes, found \[1\]"):
        stratified_auc(np.ones(5, int), np.arange(5.0))


def test_a_cluster_in_two_strata_is_refused():
    with pytest.raises(ValueError, match="several strata"):
        stratified_auc(np.array([0, 1, 0, 1]), np.arange(4.0), np.zeros(4, int), np.array([0, 0, 1, 1]))


def test_bounded_interval_stays_between_0_and_1():
    low, high = bounded_interval(0.99, 0.02, 5)
    assert 0 < low < 0.99 < high < 1
    low, high = bounded_interval(0.99, 0.5, 1)
    assert 0 < low < 0.01 and high < 1


def test_bounded_interval_is_on_the_scale_of_folded_powers():
    """The limits are as far from the value on that scale: quantile × error × derivative."""

    def folded(x):
        return (1 - x) ** (-1 / 3) - x ** (-1 / 3)

    value, error, degrees = 0.9, 0.03, 8
    derivative = (folded(value + 1e-6) - folded(value - 1e-6)) / 2e-6
    spread = 2.306004 * error * derivative  # two-sided 95 % quantile of t with 8 degrees of freedom
    low, high = bounded_interval(value, error, degrees)
    assert folded(low) == pytest.approx(folded(value) - spread, abs=1e-5)
    assert folded(high) == pytest.approx(folded(value) + spread, abs=1e-5)


def test_bounded_interval_of_a_small_error_is_that_of_the_logit_scale():
    value, error = 0.95, 0.001
    low, high = bounded_interval(value, error, 1e6)
    middle, spread = math.log(value / (1 - value)), 1.959964 * error / (value * (1 - value))
    logit = [1 / (1 + math.exp(-(middle + side * spread))) for side in (-1, 1)]
    assert [low, high] == pytest.approx(logit, abs=2e-5)


def test_bounded_interval_is_symmetric():
    low, high = bounded_interval(0.8, 0.05, 10)
    assert bounded_interval(0.2, 0.05, 10) == pytest.approx((1 - high, 1 - low))


def test_holm_adjusts_as_in_its_definition():
    """p × number of hypotheses not yet rejected, never falling: 0.01 × 4, 0.02 × 3, 0.03 × 2, 0.04 × 1."""
    assert holm([0.03, 0.01, 0.04, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert holm([0.5, 0.6]) == [1.0, 1.0]
    assert holm([]) == []
