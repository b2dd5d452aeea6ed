"""Sampling the settings of a trial with Optuna, without a persistent study.

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
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.trial import TrialState, create_trial

SAMPLERS: dict[str, Callable[..., BaseSampler]] = {"random": RandomSampler, "tpe": TPESampler}
DIGITS = 6  # significant digits of a number sampled from a range

Space = dict[str, dict[str, Any]]


def sample(space: Space, *, sampler: str, seed: int, trial: int, earlier: list[dict[str, Any]]) -> dict[str, Any]:
    """Sample a value for each setting of `space`.

    space: maps dotted names of settings to {low, high, whole, log, step} (whole: integers only; step: None for any
    value) or to {choices}; trial: counted from 1; earlier: results for `tpe`, each with `draws` and `score` (higher is
    better; None: a failed trial, which ranks below any score).
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    own_seed = int(np.random.SeedSequence([seed, trial]).generate_state(1)[0])
    study = optuna.create_study(direction="maximize", sampler=SAMPLERS[sampler](seed=own_seed))
    distributions = {name: _distribution(space[name]) for name in sorted(space)}
    for result in earlier:
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
    sampled = study.ask(distributions)
    return {name: _value(space[name], sampled.params[name]) for name in distributions}


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
