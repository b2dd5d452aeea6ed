"""Sampled settings: a function of the seed, the trial, the space and, for tpe, of earlier results."""

import math

import pytest

from histo.training.trial_sampling import ENOUGH, importances, sample

SPACE = {
    "learning_rate": {"low": 1e-4, "high": 1e-1, "whole": False, "log": True, "step": None},
    "network.dropout": {"low": 0.3, "high": 0.6, "whole": False, "log": False, "step": 0.1},
    "network.filters.0": {"low": 32, "high": 128, "whole": True, "log": False, "step": 16},
    "network.sizes": {"choices": [[32, 64], [64, 128], None]},
}
RATE = {"learning_rate": SPACE["learning_rate"]}


def sampled(trial, sampler="random", seed=1, space=SPACE, earlier=()):
    return sample(space, sampler=sampler, seed=seed, trial=trial, earlier=list(earlier))


def result(rate, score):
    return {"draws": {"learning_rate": rate}, "score": score}


def test_samples_are_in_the_space_and_cover_it():
    values = [sampled(trial) for trial in range(1, 121)]
    assert [list(one) for one in values] == [sorted(SPACE)] * 120
    assert {one["network.filters.0"] for one in values} == {32, 48, 64, 80, 96, 112, 128}
    assert {one["network.dropout"] for one in values} == {0.3, 0.4, 0.5, 0.6}
    assert {str(one["network.sizes"]) for one in values} == {"[32, 64]", "[64, 128]", "None"}
    rates = [one["learning_rate"] for one in values]
    assert min(rates) >= 1e-4 and max(rates) <= 1e-1 and len(set(rates)) == 120
    assert 0.25 < sum(rate < 1e-3 for rate in rates) / 120 < 0.42  # one decade of three
    assert all(float(f"{rate:.6g}") == rate for rate in rates)


@pytest.mark.parametrize("sampler", ["random", "tpe"])
def test_samples_depend_on_seed_and_trial(sampler):
    assert sampled(5, sampler) == sampled(5, sampler)
    assert sampled(5, sampler)["learning_rate"] != sampled(6, sampler)["learning_rate"]
    assert sampled(5, sampler)["learning_rate"] != sampled(5, sampler, seed=2)["learning_rate"]


def test_the_order_of_the_space_has_no_effect():
    assert sampled(3, space=dict(reversed(SPACE.items()))) == sampled(3)


def test_tpe_samples_where_the_scores_were_high():
    """Scores peak at a learning rate of 0.01; the next samples are nearer to it than random ones."""
    grid = [10 ** (-4 + 3 * k / 19) for k in range(20)]
    earlier = [result(rate, 1 - abs(math.log10(rate) + 2) / 2) for rate in grid]

    def distance(sampler):
        rates = [sampled(trial, sampler, space=RATE, earlier=earlier)["learning_rate"] for trial in range(21, 51)]
        return sum(abs(math.log10(rate) + 2) for rate in rates) / len(rates)

    assert distance("tpe") < 0.4 < 0.65 < distance("random")


def test_tpe_avoids_settings_of_failed_trials():
    """All learning rates above 0.003 failed, those below are equally good."""
    grid = [10 ** (-4 + 3 * k / 19) for k in range(20)]
    earlier = [result(rate, None if rate > 0.003 else 0.8) for rate in grid]
    rates = [sampled(trial, "tpe", space=RATE, earlier=earlier)["learning_rate"] for trial in range(21, 81)]
    assert sum(rate > 0.003 for rate in rates) <= 6
    assert sum(sampled(t, space=RATE)["learning_rate"] > 0.003 for t in range(21, 81)) > 20


def test_tpe_learns_from_values_of_all_kinds():
    earlier = [{"draws": sampled(trial), "score": trial / 20} for trial in range(1, 13)]
    last = sampled(13, "tpe", earlier=earlier)
    assert last == sampled(13, "tpe", earlier=earlier) != sampled(13, "tpe")
    assert last["network.dropout"] in {0.3, 0.4, 0.5, 0.6}


def test_the_setting_that_decides_has_the_largest_share():
    values = [sampled(trial) for trial in range(1, 41)]
    trials = [{"draws": one, "score": 0.9 - 0.1 * abs(math.log10(one["learning_rate"]) + 2.5)} for one in values]
    shares = importances(SPACE, trials)
    assert next(iter(shares)) == "learning_rate" and shares["learning_rate"] > 0.7
    assert set(shares) == set(SPACE) and sum(shares.values()) == pytest.approx(1)
    assert importances(SPACE, trials) == shares
    failed = [{"draws": one, "score": None} for one in values[:3]]
    assert importances(SPACE, [*trials, *failed]) == shares


def test_too_few_or_equal_scores_have_no_importance():
    trials = [result(0.001 * (k + 1), 0.5 + 0.01 * k) for k in range(ENOUGH - 1)]
    assert importances(RATE, trials) is None
    assert importances(RATE, [*trials, result(0.05, None)]) is None
    assert importances(RATE, [*trials, result(0.05, 0.9)]) == {"learning_rate": 1.0}
    assert importances(RATE, [result(0.001 * k, 0.5) for k in range(1, 20)]) is None
