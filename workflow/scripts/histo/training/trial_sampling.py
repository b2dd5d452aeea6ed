"""Sampling the settings of a trial with Optuna, and their importance, without a persistent study.

The settings of trial n are a function of the seed, of n, of the search space and, for `tpe`, of the given results of
earlier trials. So trials can be independent jobs, and additional trials leave earlier ones unchanged.

`random`: random search, Bergstra & Bengio 2012, JMLR 13:281. `tpe`: tree-structured Parzen estimator, Bergstra et al.
2011, NeurIPS 24, and Watanabe 2023, arXiv:2304.11127; its first ten trials are random.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.importance import FanovaImportanceEvaluator, get_param_importances
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.trial import TrialState, create_trial

SAMPLERS: dict[str, Callable[..., BaseSampler]] = {"random": RandomSampler, "tpe": TPESampler}
ENOUGH = 8  # scores from which importances are computed
DIGITS = 6  # significant digits of a number sampled from a range

Space = dict[str, dict[str, Any]]


def sample(space: Space, *, sampler: str, seed: int, trial: int, earlier: list[dict[str, Any]]) -> dict[str, Any]:
    """Sample a value for each setting of `space`.

    space: maps dotted names of settings to {low, high, whole, log, step} (whole: integers only; step: None for any
    value) or to {choices}; trial: counted from 1; earlier: results for `tpe`, each with `draws` and `score` (higher is
    better; None: a failed trial, which ranks below any score).
    """
    own_seed = int(np.random.SeedSequence([seed, trial]).generate_state(1)[0])
    study = _study(space, earlier, SAMPLERS[sampler](seed=own_seed))
    distributions = _distributions(space)
    sampled = study.ask(distributions)
    return {name: _value(space[name], sampled.params[name]) for name in distributions}


def importances(space: Space, trials: list[dict[str, Any]]) -> dict[str, float] | None:
    """Return the share of each setting in the variance of the scores, the largest first; their sum is 1.

    Functional analysis of variance by a random forest: Hutter, Hoos & Leyton-Brown 2014, ICML, as in Optuna.
    space, trials: see `sample`; failed trials do not count. None for fewer than `ENOUGH` scores, or if all are equal.
    """
    scores = [trial["score"] for trial in trials if trial["score"] is not None]
    if len(scores) < ENOUGH or min(scores) == max(scores):
        return None
    found = get_param_importances(_study(space, trials, RandomSampler(0)), evaluator=FanovaImportanceEvaluator(seed=0))
    return {name: float(share) for name, share in found.items()}


def _study(space: Space, trials: list[dict[str, Any]], sampler: BaseSampler) -> optuna.Study:
    """Return a study of Optuna with finished trials; see `sample`."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(direction="maximize", sampler=sampler)
    distributions = _distributions(space)
    for result in trials:
        failed = result["score"] is None
        study.add_trial(
            create_trial(
                # Optuna ignores failed trials; a trial pruned before its first value ranks last.
                state=TrialState.PRUNED if failed else TrialState.COMPLETE,
                value=result["score"],
                params={name: _parameter(space[name], result["draws"][name]) for name in distributions},
                distributions=distributions,
            )
        )
    return study


def _distributions(space: Space) -> dict[str, BaseDistribution]:
    return {name: _distribution(space[name]) for name in sorted(space)}


def _distribution(dimension: dict[str, Any]) -> BaseDistribution:
    """Optuna's distribution for one dimension of the space."""
    if "choices" in dimension:
        # Indices, because Optuna does not accept lists as choices.
        return CategoricalDistribution(tuple(range(len(dimension["choices"]))))
    if dimension["whole"]:
        return IntDistribution(dimension["low"], dimension["high"], log=dimension["log"], step=dimension["step"] or 1)
    return FloatDistribution(dimension["low"], dimension["high"], log=dimension["log"], step=dimension["step"])


def _value(dimension: dict[str, Any], parameter: Any) -> Any:
    """The value of the setting for a parameter of Optuna."""
    if "choices" in dimension:
        return dimension["choices"][parameter]
    if dimension["whole"] or dimension["step"]:
        return parameter if dimension["whole"] else float(f"{parameter:.12g}")  # 0.3, not 0.30000000000000004
    return min(max(float(f"{parameter:.{DIGITS}g}"), dimension["low"]), dimension["high"])


def _parameter(dimension: dict[str, Any], value: Any) -> Any:
    """The parameter of Optuna for a value of the setting."""
    return dimension["choices"].index(value) if "choices" in dimension else value
