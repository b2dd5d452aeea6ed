"""Comparisons of models and of estimates."""

import numpy as np
import pytest
from scipy.stats import spearmanr, ttest_ind_from_stats

from histo.statistics.clustered_auc import bounded_interval, stratified_auc
from histo.statistics.comparison import (
    agreement,
    compare_with_best,
    expected_auc,
    p_of_decrease,
    p_of_difference,
    seed_spread,
    spread,
)


def test_models_are_compared_with_the_best(random):
    labels = random.integers(0, 2, 400)
    good = labels + random.normal(0, 1, 400)
    scores = np.stack([random.normal(0, 1, 400), good, good + random.normal(0, 0.05, 400)], axis=1)
    aucs = stratified_auc(labels, scores)
    found = compare_with_best(["chance", "good", "same"], aucs)
    assert found["best"] == ["chance", "good", "same"][int(np.argmax(aucs.values))]
    rows = {row["model"]: row for row in found["rows"]}
    assert "p" not in rows[found["best"]]
    second = rows["same" if found["best"] == "good" else "good"]
    assert rows["chance"]["difference"] == pytest.approx(aucs.values[0] - aucs.values.max())
    assert rows["chance"]["p_holm"] == pytest.approx(2 * rows["chance"]["p"])
    assert rows["chance"]["p_holm"] < 1e-6
    assert second["p_holm"] == second["p"] > 0.01
    assert rows["chance"]["low"] < rows["chance"]["difference"] < rows["chance"]["high"] < 0


def test_agreement_of_two_models(random):
    probabilities = random.random((200, 2))
    probabilities[:, 1] = 0.5 * probabilities[:, 0] + 0.5 * probabilities[:, 1]
    folds = np.repeat([0, 1], 100)
    found = agreement(probabilities, folds)
    expected = np.mean(
        [spearmanr(probabilities[folds == k, 0], probabilities[folds == k, 1]).statistic for k in (0, 1)]
    )
    assert found["correlation"][0][1] == pytest.approx(expected)
    assert found["correlation"][1][1] == pytest.approx(1)
    different = ((probabilities[:, 0] >= 0.5) != (probabilities[:, 1] >= 0.5)).mean()
    assert found["disagreement"] == [[0, pytest.approx(different)], [pytest.approx(different), 0]]
    assert agreement(np.ones((4, 2)), np.zeros(4, int))["correlation"][0][1] == 0


def test_the_spread_of_seeds():
    aucs = {"a1": 0.90, "a2": 0.92, "b1": 0.94, "b2": 0.95, "b3": 0.96, "c": 0.98}
    found = seed_spread([["a1", "a2"], ["b1", "b2", "b3"], ["c"]], aucs)
    first, second = found["rows"]
    assert first == {
        "models": ["a1", "a2"],
        "auc": pytest.approx(0.91),
        "lowest": 0.90,
        "highest": 0.92,
        "deviation": pytest.approx(0.02 / 2**0.5),
    }
    assert second["deviation"] == pytest.approx(0.01)
    variance = (0.0002 + 2 * 0.0001) / 3
    assert found["deviation"] == pytest.approx(variance**0.5)
    means = np.array([0.91, 0.95, 0.98])
    assert found["share"] == pytest.approx(variance * (1 / 2 + 1 / 3 + 1) / 3 / means.var(ddof=1))
    assert seed_spread([["a1", "a2"]], aucs)["share"] is None
    assert seed_spread([["a1", "a2"], ["b1"]], aucs | {"b1": 0.911})["share"] == 1
    assert seed_spread([["a1"], ["c"]], aucs) is None


@pytest.mark.parametrize(("models", "deviation"), [(2, 0.0), (20, 0.01)])
def test_the_share_of_seeds_is_right_on_average(random, models, deviation):
    """Simulated: seeds alone, then models whose true AUCs differ too."""
    shares = []
    for _ in range(300):
        true = 0.9 + deviation * random.normal(size=(models, 1))
        values = true + 0.005 * random.normal(size=(models, 3))
        aucs = {f"{m}-{s}": value for (m, s), value in np.ndenumerate(values)}
        shares.append(seed_spread([[f"{m}-{s}" for s in range(3)] for m in range(models)], aucs)["share"])
    expected = 0.005**2 / 3 / (0.005**2 / 3 + deviation**2)
    assert np.median(shares) == pytest.approx(expected, rel=0.15)


def test_the_expected_auc_includes_the_error_of_the_new_tiles():
    metrics = {"auc": 0.9, "auc_error": 0.01, "auc_degrees": 1e6, "tiles": 1000}
    one, many = (expected_auc(metrics, tiles) for tiles in (1000, 10**9))
    assert (one["low"], one["high"]) == pytest.approx(bounded_interval(0.9, 0.01 * 2**0.5, 1e6))
    assert many["high"] - many["low"] == pytest.approx((one["high"] - one["low"]) / 2**0.5, rel=0.02)
    assert expected_auc(metrics, 0) == {"value": 0.9, "low": None, "high": None, "tiles": 0}
    assert expected_auc(metrics | {"auc": 1.0, "auc_error": 0.0}, 10)["low"] is None


def test_p_values_of_differences():
    expected = ttest_ind_from_stats(0.9, 0.02 * 30**0.5, 30, 0.85, 0.03 * 20**0.5, 20, equal_var=False)
    assert p_of_decrease((0.9, 0.02, 29), (0.85, 0.03, 19)) == pytest.approx(expected.pvalue / 2, rel=1e-9)
    assert p_of_decrease((0.8, 0.02, 29), (0.9, 0.03, 19)) > 0.95
    assert p_of_decrease((0.9, 0.0, 1), (0.8, 0.0, 1)) == 1.0
    assert p_of_difference(-1.96, 1.0, 1e9) == pytest.approx(0.05, abs=1e-4)
    assert p_of_difference(1.0, 0.0, 5) == 1.0


def test_the_spread_of_networks_is_the_mean_over_pairs(random):
    networks = random.random((3, 50))
    found = spread(networks)
    pairs = [(0, 1), (0, 2), (1, 2)]
    assert found["networks"] == 3
    assert found["correlation"] == pytest.approx(np.mean([spearmanr(networks[a], networks[b])[0] for a, b in pairs]))
    different = [((networks[a] >= 0.5) != (networks[b] >= 0.5)).mean() for a, b in pairs]
    assert found["disagreement"] == pytest.approx(np.mean(different))
    assert found["deviation"] == pytest.approx(np.sqrt(np.mean([np.var(one, ddof=1) for one in networks.T])))
    assert spread(networks[[0, 0]]) == pytest.approx(
        {"networks": 2, "correlation": 1, "disagreement": 0, "deviation": 0}
    )
    assert spread(networks[:1]) is None and spread(networks[:, :0]) is None
