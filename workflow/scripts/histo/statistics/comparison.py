"""Comparisons of models, and of estimates with what they predict."""

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.stats import rankdata, t

from histo.statistics.clustered_auc import AucEstimate, bounded_interval, holm

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.integer]


def compare_with_best(names: list[str], aucs: AucEstimate) -> dict[str, Any]:
    """Return the differences of all models to the one with the highest AUC: {"best", "rows"}.

    rows: of each model "model", "auc", and of all but the best "difference", its interval "low" to "high", "p" and
    "p_holm", adjusted for the number of comparisons. The best was chosen by the same AUCs, so differences to it are
    somewhat too large. aucs: of the models, in the order of `names`.
    """
    best = int(np.argmax(aucs.values))
    others = [k for k in range(len(names)) if k != best]
    differences = {k: aucs.difference(k, best) for k in others}
    adjusted = dict(zip(others, holm([differences[k].p for k in others]), strict=True))
    rows = []
    for k, name in enumerate(names):
        row: dict[str, Any] = {"model": name, "auc": float(aucs.values[k])}
        if k != best:
            found = differences[k]
            row |= {"difference": found.value, "low": found.low, "high": found.high}
            row |= {"p": found.p, "p_holm": adjusted[k]}
        rows.append(row)
    return {"best": names[best], "rows": rows}


def agreement(probabilities: Floats, folds: Integers) -> dict[str, list[list[float]]]:
    """Return "correlation" and "disagreement" of the models as matrices [M][M]; probabilities: [N, M]; folds: int [N].

    correlation: Spearman's, the mean over the folds; disagreement: proportion of tiles that are on different sides of
    the threshold 0.5. The correlation with a model that is constant within a fold is 0 there.
    """
    matrices = []
    for k in np.unique(folds):
        ranks = rankdata(probabilities[folds == k], axis=0)
        centred = ranks - ranks.mean(axis=0)
        norms = np.sqrt((centred**2).sum(axis=0))
        norms[norms == 0] = 1
        matrices.append(centred.T @ centred / np.outer(norms, norms))
    called = (probabilities >= 0.5).astype(np.float64)
    different = called.T @ (1 - called) + (1 - called).T @ called
    return {
        "correlation": np.mean(matrices, axis=0).tolist(),
        "disagreement": (different / len(probabilities)).tolist(),
    }


def spread(networks: Floats) -> dict[str, float] | None:
    """Return how far networks of one model differ on the same tiles; networks: probabilities, [K, N].

    correlation: Spearman's, and disagreement: proportion of tiles on different sides of the threshold 0.5, both means
    over the pairs of networks; deviation: standard deviation of the probability of a tile, root mean square over the
    tiles. None for fewer than two networks, or without tiles.
    """
    count, tiles = networks.shape
    if count < 2 or not tiles:
        return None
    found = agreement(networks.T, np.zeros(tiles, int))
    pairs = np.triu_indices(count, 1)
    return {
        "networks": count,
        "correlation": float(np.array(found["correlation"])[pairs].mean()),
        "disagreement": float(np.array(found["disagreement"])[pairs].mean()),
        "deviation": float(np.sqrt(networks.var(axis=0, ddof=1).mean())),
    }


def seed_spread(recipes: list[list[str]], aucs: dict[str, float]) -> dict[str, Any] | None:
    """Return the spread of the AUCs of models that differ in their seed alone, None without such models.

    recipes: names of models, those that differ in their seed alone in one list. "rows": of each recipe with several
    seeds "models", "auc" (their mean), "lowest", "highest" and "deviation", the standard deviation. "deviation": pooled
    over the recipes. "share": expected variance of the means of the recipes from seeds alone, as a share of their
    variance (one-way analysis of variance by unweighted means), at most 1; None for a single recipe or equal means.
    """
    values = [np.array([aucs[name] for name in names]) for names in recipes]
    repeated = [(names, found) for names, found in zip(recipes, values, strict=True) if len(names) > 1]
    if not repeated:
        return None
    degrees = sum(len(found) - 1 for _, found in repeated)
    variance = sum(float(found.var(ddof=1)) * (len(found) - 1) for _, found in repeated) / degrees
    between = float(np.var([found.mean() for found in values], ddof=1)) if len(values) > 1 else 0.0
    by_seeds = variance * float(np.mean([1 / len(found) for found in values]))
    return {
        "rows": [
            {
                "models": names, "auc": float(found.mean()), "lowest": float(found.min()),
                "highest": float(found.max()), "deviation": float(found.std(ddof=1)),
            }
            for names, found in repeated
        ],
        "deviation": variance**0.5,
        "share": min(1.0, by_seeds / between) if between else None,
    }  # fmt: skip


def expected_auc(metrics: dict[str, Any], tiles: int) -> dict[str, Any]:
    """Return the AUC to expect on `tiles` new tiles of other slides: {"value", "low", "high", "tiles"}.

    metrics: from `evaluate_oof`. A 95 % prediction interval: the variance of the out-of-fold AUC and that of the AUC
    of the new tiles, which is the same in proportion to the numbers of tiles. It holds for one network, new slides that
    are as varied as those of the training tiles, and groups that hold all that is correlated. Without new tiles or a
    standard error, the limits are None.
    """
    value, error = metrics["auc"], metrics["auc_error"]
    found = {"value": value, "low": None, "high": None, "tiles": tiles}
    if not tiles or not error or not 0 < value < 1:
        return found
    total = error * (1 + metrics["tiles"] / tiles) ** 0.5
    low, high = bounded_interval(value, total, metrics["auc_degrees"])
    return found | {"low": low, "high": high}


def p_of_difference(difference: float, error: float, degrees: float) -> float:
    """Return the two-sided p value of a difference with this standard error; 1 without an error."""
    return float(2 * t.sf(abs(difference) / error, degrees)) if error else 1.0


def p_of_decrease(before: tuple[float, float, float], after: tuple[float, float, float]) -> float:
    """Return the one-sided p value of "`after` is not below `before`", for independent estimates.

    before, after: value, standard error and degrees of freedom (Welch, Biometrika 34(1/2), 1947). Without any error it
    is 1.
    """
    variances = [before[1] ** 2, after[1] ** 2]
    if not sum(variances):
        return 1.0
    degrees = sum(variances) ** 2 / sum(v**2 / d for v, d in zip(variances, (before[2], after[2]), strict=True))
    return float(t.sf((before[0] - after[0]) / sum(variances) ** 0.5, degrees))
