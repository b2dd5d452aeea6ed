"""Blend the probabilities of several models, by one of three methods.

- `mean`: mean of the probabilities of the models, and on the test tiles also of the folds.
- `rank_mean`: mean of the ranks, for models whose probabilities have different distributions; the AUC depends on ranks
  only. Ranks are comparable only among predictions of the same trained network. Out-of-fold, they are computed within
  each fold, because each fold is predicted by a different network; this assumes similar proportions of tumour in all
  folds, which stratification provides. On the test tiles, they are computed for each network before averaging over
  folds and models. The results are ranks scaled to 0..1, not probabilities.
- `weights`: weighted mean of the probabilities. The blend weights are non-negative, sum to 1 and maximise the
  likelihood of the labels given the out-of-fold probabilities. If they were fitted to the tiles that are evaluated, the
  AUC would be optimistically biased, so each fold is blended with weights fitted to the other folds. The weights for
  the test tiles are fitted to all folds.
"""

import logging

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize
from scipy.stats import rankdata

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.integer]

log = logging.getLogger(__name__)

FLOOR = 1e-15  # of the likelihood of a label, so that its logarithm is finite for a certain but wrong prediction


def scaled_ranks(values: Floats) -> Floats:
    """Return the ranks of values [..., N], scaled to (0, 1) as (rank - 1/2) / N; tied values have their mean rank."""
    scaled: Floats = (rankdata(values, axis=-1) - 0.5) / values.shape[-1]
    return scaled


def rank_mean(probabilities: Floats, folds: Integers) -> Floats:
    """Return the mean over models of the ranks within each fold, [N]; probabilities: [N, models]; folds: int [N].

    Of more than two classes, the ranks of each class: [N, models, K] give [N, K].
    """
    if probabilities.ndim == 3:
        return np.stack([rank_mean(of_class, folds) for of_class in np.moveaxis(probabilities, 2, 0)], axis=1)
    mean = np.empty(len(probabilities))
    for fold in np.unique(folds):
        mean[folds == fold] = scaled_ranks(probabilities[folds == fold].T).mean(axis=0)
    return mean


def weighted_mean(probabilities: Floats, weights: Floats) -> Floats:
    """Return the weighted mean over models, [N]; probabilities: [N, models]; weights: same or [models], with sum 1.

    Of more than two classes, [N, models, K] give [N, K].
    """
    if probabilities.ndim == 3:
        weights = weights[..., None]
    mean: Floats = (probabilities * weights).sum(axis=1)
    return np.minimum(mean, 1)  # rounding may exceed 1


def fit_weights(probabilities: Floats, labels: Integers) -> Floats:
    """Return the blend weights [models], >= 0 with sum 1, that maximise the likelihood of the labels.

    probabilities: [N, models], of K > 2 classes [N, models, K]; labels: 0 to K - 1, [N]. The log-likelihood is concave
    in the weights, so a local maximum is global.
    """
    models = probabilities.shape[1]
    if models == 1:
        return np.ones(1)
    if probabilities.ndim == 3:
        of_label = probabilities[np.arange(len(labels)), :, labels]
    else:
        of_label = np.where(labels[:, None] == 1, probabilities, 1 - probabilities)
    likelihood = np.maximum(of_label, FLOOR)

    def loss(weights: Floats) -> tuple[float, Floats]:
        blended = np.maximum(likelihood @ weights, FLOOR)  # the optimizer may leave the bounds by a rounding error
        return -np.log(blended).mean(), -(likelihood / blended[:, None]).mean(axis=0)

    result = minimize(
        loss, np.full(models, 1 / models), jac=True, method="SLSQP", bounds=[(0, 1)] * models,
        constraints={"type": "eq", "fun": lambda w: w.sum() - 1, "jac": np.ones_like}, options={"ftol": 1e-12},
    )  # fmt: skip
    if not result.success:
        log.warning("The fit of the blend weights did not converge, they may not be optimal: %s.", result.message)
    positive: Floats = np.clip(result.x, 0, None)
    weights: Floats = positive / positive.sum()
    return weights


def nested_weights(probabilities: Floats, labels: Integers, folds: Integers) -> dict[int, Floats]:
    """Return for each fold the blend weights [models] fitted to the other folds; see `fit_weights`."""
    return {int(k): fit_weights(probabilities[folds != k], labels[folds != k]) for k in np.unique(folds)}


def blends(probabilities: Floats, folds: Integers, weights_by_fold: dict[int, Floats]) -> dict[str, Floats]:
    """Return the out-of-fold probabilities blended by each method, {method: [N]}, of K > 2 classes [N, K].

    probabilities: [N, models], of K > 2 classes [N, models, K]; folds: int [N]; weights_by_fold: see `nested_weights`.
    """
    return {
        "mean": probabilities.mean(axis=1),
        "rank_mean": rank_mean(probabilities, folds),
        "weights": weighted_mean(probabilities, np.stack([weights_by_fold[k] for k in folds.tolist()])),
    }
