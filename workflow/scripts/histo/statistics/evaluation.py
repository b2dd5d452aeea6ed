"""All metrics of a model of two classes on its out-of-fold predictions."""

from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.metrics import roc_curve

from histo.logits import logit
from histo.statistics.calibration import (
    calibration_error,
    log_losses,
    logistic_recalibration,
    temperature_out_of_fold,
)
from histo.statistics.clustered_auc import AucEstimate, bounded_interval, stratified_auc
from histo.statistics.clustered_means import (
    Estimate,
    bootstrap,
    clustered_mean,
    estimate,
    mean_error,
    proportion,
    wilson,
)
from histo.statistics.ranking import Ranking
from histo.statistics.thresholds import operating_points

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.integer]

CURVE_POINTS = 400  # of the ROC curve


def evaluate_oof(
    labels: Integers, probabilities: Floats, folds: Integers, groups: npt.NDArray[Any], *, ranks: bool = False
) -> dict[str, Any]:
    """Return the metrics of out-of-fold probabilities as plain numbers; counts and rates use the threshold 0.5.

    labels: 0 or 1 [N]; probabilities: float [N]; folds: int [N]; groups: of tiles that may be correlated, any sortable
    values [N]. ranks: whether `probabilities` are ranks; then only what depends on ranks is returned, and "confusion"
    and "probability" are None.

    "auc" is the mean of the AUCs of the folds, with the interval "auc_low" to "auc_high", the standard error
    "auc_error" with "auc_degrees" of freedom, and its variance relative to that of single tiles, "design_effect".
    "auc_pooled" compares predictions of different folds too. "probability" has the metrics of the probabilities, each
    a `clustered_means.Estimate`, "thresholds" and "temperature". "confusion" is [[tn, fp], [fn, tp]].
    """
    clusters = np.unique(groups, return_inverse=True)[1]
    within, pooled = (
        stratified_auc(labels, probabilities, clusters, folds),
        stratified_auc(labels, probabilities, clusters),
    )
    plain = stratified_auc(labels, probabilities, None, folds).error()
    low, high = within.interval()
    pooled_low, pooled_high = pooled.interval()
    by_fold = [
        {"fold": int(k), "tiles": int((folds == k).sum()), "auc": float(value)}
        for k, value in zip(np.unique(folds), within.by_stratum[:, 0], strict=True)
    ]
    called = probabilities >= 0.5
    (tn, fp), (fn, tp) = (
        [int((called[labels == value] == guess).sum()) for guess in (False, True)] for value in (0, 1)
    )
    samples = _bootstrap(labels, probabilities, clusters, folds)
    spread = 1.96 * _deviation(samples["auc"])
    return {
        "auc": float(within.values[0]),
        "auc_low": low,
        "auc_high": high,
        "auc_error": within.error(),
        "auc_degrees": float(within.degrees[0]),
        "auc_bootstrap_low": float(within.values[0]) - spread,
        "auc_bootstrap_high": min(1.0, float(within.values[0]) + spread),
        "design_effect": (within.error() / plain) ** 2 if plain else 1.0,
        "auc_pooled": float(pooled.values[0]),
        "auc_pooled_low": pooled_low,
        "auc_pooled_high": pooled_high,
        "auc_std_of_folds": float(within.by_stratum[:, 0].std(ddof=1)) if len(by_fold) > 1 else 0.0,
        "folds": by_fold,
        "tiles": len(labels),
        "groups": int(clusters.max()) + 1,
        "confusion": None if ranks else [[tn, fp], [fn, tp]],
        "roc": mean_roc(labels, probabilities, folds),
        "probability": None if ranks else _of_probabilities(labels, probabilities, folds, clusters, within, samples),
    }


def _bootstrap(labels: Integers, probabilities: Floats, clusters: Integers, folds: Integers) -> dict[str, Floats]:
    """Return AUC, average precision and F1 of bootstrap samples; as columns of the names."""
    all_tiles = Ranking(labels, probabilities)
    parts = [(folds == k, Ranking(labels[folds == k], probabilities[folds == k])) for k in np.unique(folds)]
    called, positive = probabilities >= 0.5, labels == 1

    def statistic(weights: Floats) -> Floats:
        right, wrong = weights[called & positive].sum(), weights[called != positive].sum()
        area = np.mean([part.auc(weights[rows]) for rows, part in parts])
        f1 = 2 * right / (2 * right + wrong) if right + wrong else np.nan
        return np.array([area, all_tiles.average_precision(weights), f1])

    found = bootstrap(statistic, clusters, folds)
    return dict(zip(("auc", "average_precision", "f1"), found.T, strict=True))


def _deviation(samples: Floats) -> float:
    """Return the standard deviation of the samples that have a value; 0 of fewer than two."""
    known = samples[np.isfinite(samples)]
    return float(known.std(ddof=1)) if len(known) > 1 else 0.0


def _of_probabilities(
    labels: Integers,
    probabilities: Floats,
    folds: Integers,
    clusters: Integers,
    auc: AucEstimate,
    samples: dict[str, Floats],
) -> dict[str, Any]:
    """Return what is meaningful for probabilities only; see `evaluate_oof`."""
    called, positive = probabilities >= 0.5, labels == 1
    right, wrong = int((called & positive).sum()), int((called != positive).sum())
    f1 = 2 * right / (2 * right + wrong) if right + wrong else 0.0
    average_precision = Ranking(labels, probabilities).average_precision(np.ones(len(labels)))
    logits = logit(probabilities).astype(np.float64)
    losses = log_losses(labels, probabilities)
    _, error, degrees = mean_error(probabilities, clusters)
    temperature = None
    if len(np.unique(folds)) > 1:
        value, scaled = temperature_out_of_fold(labels, logits, folds)
        temperature = {
            "temperature": value,
            "log_loss": clustered_mean(log_losses(labels, scaled), clusters),
            "gain": clustered_mean(losses - log_losses(labels, scaled), clusters),
            "calibration_error": calibration_error(labels, scaled, clusters, folds),
        }
    return {
        "accuracy": proportion(called == positive, clusters),
        "precision": proportion(positive[called], clusters[called]),
        "recall": proportion(called[positive], clusters[positive]),
        "specificity": proportion(~called[~positive], clusters[~positive]),
        "f1": _bounded(f1, samples["f1"], auc),
        "average_precision": _bounded(average_precision, samples["average_precision"], auc),
        "mean": clustered_mean(probabilities, clusters)
        | {"error": error if np.isfinite(error) else None, "degrees": degrees},
        "log_loss": clustered_mean(losses, clusters),
        "brier": clustered_mean((probabilities - labels) ** 2, clusters),
        "calibration_error": calibration_error(labels, probabilities, clusters, folds),
        **logistic_recalibration(labels, logits, clusters),
        "temperature": temperature,
        "thresholds": operating_points(labels, probabilities, folds, clusters),
    }


def _bounded(value: float, samples: Floats, auc: AucEstimate) -> Estimate:
    """Return a value between 0 and 1 with an interval from bootstrap samples.

    At 0 and 1, where samples do not vary, the interval is Wilson's for as many tiles as there are positive clusters.
    """
    error = _deviation(samples)
    if error == 0 or not 0 < value < 1:
        return estimate(value, *wilson(value, auc.positive_clusters, 1.96))
    return estimate(value, *bounded_interval(value, error, float(auc.degrees[0])))


def mean_roc(labels: Integers, scores: Floats, folds: Integers) -> dict[str, list[float]]:
    """Return the mean over folds of the true positive rate at each false positive rate: "fpr" and "tpr".

    Vertical averaging (Fawcett, Pattern Recognition Letters 27(8), 2006). The area below it is the mean of the AUCs of
    the folds, up to the distance between the points. labels: 0 or 1 [N]; scores: [N]; folds: int [N].
    """
    rates = np.linspace(0, 1, CURVE_POINTS - 1)
    curves = []
    for k in np.unique(folds):
        fpr, tpr, _ = roc_curve(labels[folds == k], scores[folds == k], drop_intermediate=False)
        last = np.flatnonzero(np.r_[fpr[1:] > fpr[:-1], True])  # of a vertical step, its upper end
        first = np.flatnonzero(np.r_[True, fpr[1:] > fpr[:-1]])
        # Between two false positive rates the curve rises from the upper end of one step to the lower end of the next.
        right = np.searchsorted(fpr[first], rates, side="right") - 1
        start, end = last[right], first[np.minimum(right + 1, len(first) - 1)]
        width = fpr[end] - fpr[start]
        share = np.divide(rates - fpr[start], width, out=np.zeros(len(rates)), where=width > 0)
        curves.append(tpr[start] + share * (tpr[end] - tpr[start]))
    tpr = np.mean(curves, axis=0)
    return {"fpr": [0.0, *np.round(rates, 5).tolist()], "tpr": [0.0, *np.round(tpr, 5).tolist()]}
