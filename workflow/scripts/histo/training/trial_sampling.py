"""Drawing the settings of a trial with Optuna's samplers, without a study that lives anywhere.

What trial n draws depends on the seed, on n, on the space and, with `tpe`, on the results of earlier trials, which it
is given; on nothing else. So trials can be jobs, in any order that this allows, and more trials change none before.

`random`: Bergstra and Bengio (2012), JMLR 13:281. `tpe`: tree-structured Parzen estimator, Bergstra et al. (2011),
NeurIPS 24; Watanabe (2023), arXiv:2304.11127. Its first ten trials are random.
"""

from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.trial import TrialState, create_trial

SAMPLERS: dict[str, type[BaseSampler]] = {"random": RandomSampler, "tpe": TPESampler}
DIGITS = 6  # of a number drawn from a range

Space = dict[str, dict[str, Any]]


def draw(space: Space, *, sampler: str, seed: int, trial: int, earlier: list[dict[str, Any]]) -> dict[str, Any]:
    """Return a value for each setting of `space`.

    space: dotted name → {low, high, whole, log, step} (log, step: or None) or {choices}; trial: counted from 1;
    earlier: results that `tpe` learns from, each with `draws` and `score` (higher is better; None: failed, which
    counts as worse than any score).
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    own_seed = int(np.random.SeedSequence([seed, trial]).generate_state(1)[0])
    study = optuna.create_study(direction="maximize", sampler=SAMPLERS[sampler](seed=own_seed))
    distributions = {name: _distribution(space[name]) for name in sorted(space)}
    for result in earlier:
        failed = result["score"] is None
        study.add_trial(
            create_trial(
                # A failed trial of Optuna's teaches nothing; one pruned before its first value ranks last.
                state=TrialState.PRUNED if failed else TrialState.COMPLETE,
                value=result["score"],
                params={name: _drawn(space[name], result["draws"][name]) for name in distributions},
                distributions=distributions,
            )
        )
    asked = study.ask(distributions)
    return {name: _value(space[name], asked.params[name]) for name in distributions}


def _distribution(part: dict[str, Any]) -> BaseDistribution:
    if "choices" in part:
        # Their places, since Optuna takes no lists as choices.
        return CategoricalDistribution(tuple(range(len(part["choices"]))))
    if part["whole"]:
        return IntDistribution(part["low"], part["high"], log=part["log"], step=part["step"] or 1)
    return FloatDistribution(part["low"], part["high"], log=part["log"], step=part["step"])


def _value(part: dict[str, Any], drawn: Any) -> Any:
    """The setting's value for what Optuna drew."""
    if "choices" in part:
        return part["choices"][drawn]
    if part["whole"] or part["step"]:
        return drawn if part["whole"] else float(f"{drawn:.12g}")  # 0.3, not 0.30000000000000004
    return min(max(float(f"{drawn:.{DIGITS}g}"), part["low"]), part["high"])


def _drawn(part: dict[str, Any], value: Any) -> Any:
    """What Optuna drew, for the setting's value."""
    return part["choices"].index(value) if "choices" in part else value
