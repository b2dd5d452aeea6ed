"""Blend the probabilities of all models of the submission, out-of-fold and on the test tiles.

The setting `submission.method` selects one of three methods. The mean of the AUCs of the folds is written for all
three, so that they can be compared: an AUC over all folds would also compare predictions of different networks, which
may be calibrated differently.

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
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.optimize import minimize
from scipy.stats import rankdata

from histo import tables
from histo.class_metrics import evaluate_classes
from histo.files import write_json
from histo.logits import logit
from histo.metrics import auc
from histo.model_files import by_model
from histo.predictions import join_folds, stack_networks
from histo.statistics.clustered_auc import stratified_auc
from histo.statistics.comparison import agreement, compare_with_best, expected_auc, seed_spread, spread
from histo.statistics.evaluation import evaluate_oof
from histo.statistics.subsets import by_group, by_stratum

log = logging.getLogger(__name__)

FLOOR = 1e-15  # of the likelihood of a label, so that its logarithm is finite for a certain but wrong prediction
TWO_CLASSES = ("comparison", "agreement", "expected", "by_group", "by_stratum")  # of the summary, for two classes only


def scaled_ranks(values: np.ndarray) -> np.ndarray:
    """Return the ranks of values [..., N], scaled to (0, 1) as (rank - 1/2) / N; tied values have their mean rank."""
    return (rankdata(values, axis=-1) - 0.5) / values.shape[-1]


def rank_mean(probabilities: np.ndarray, folds: np.ndarray) -> np.ndarray:
    """Return the mean over models of the ranks within each fold, [N]; probabilities: [N, models]; folds: int [N].

    Of more than two classes, the ranks of each class: [N, models, K] give [N, K].
    """
    if probabilities.ndim == 3:
        return np.stack([rank_mean(of_class, folds) for of_class in np.moveaxis(probabilities, 2, 0)], axis=1)
    mean = np.empty(len(probabilities))
    for fold in np.unique(folds):
        mean[folds == fold] = scaled_ranks(probabilities[folds == fold].T).mean(axis=0)
    return mean


def weighted_mean(probabilities: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the weighted mean over models, [N]; probabilities: [N, models]; weights: same or [models], with sum 1.

    Of more than two classes, [N, models, K] give [N, K].
    """
    if probabilities.ndim == 3:
        weights = weights[..., None]
    return np.minimum((probabilities * weights).sum(axis=1), 1)  # rounding may exceed 1


def fit_weights(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
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

    def loss(weights: np.ndarray) -> tuple[float, np.ndarray]:
        blended = np.maximum(likelihood @ weights, FLOOR)  # the optimizer may leave the bounds by a rounding error
        return -np.log(blended).mean(), -(likelihood / blended[:, None]).mean(axis=0)

    result = minimize(
        loss, np.full(models, 1 / models), jac=True, method="SLSQP", bounds=[(0, 1)] * models,
        constraints={"type": "eq", "fun": lambda w: w.sum() - 1, "jac": np.ones_like}, options={"ftol": 1e-12},
    )  # fmt: skip
    if not result.success:
        log.warning("The fit of the blend weights did not converge, they may not be optimal: %s.", result.message)
    weights = np.clip(result.x, 0, None)
    return weights / weights.sum()


def nested_weights(probabilities: np.ndarray, labels: np.ndarray, folds: np.ndarray) -> dict[int, np.ndarray]:
    """Return for each fold the blend weights [models] fitted to the other folds; see `fit_weights`."""
    return {int(k): fit_weights(probabilities[folds != k], labels[folds != k]) for k in np.unique(folds)}


def ensemble(
    oof: dict[str, list[Path]],
    test: dict[str, list[Path]],
    folds: Path,
    tiles: Path,
    oof_out: Path,
    test_out: Path,
    summary: Path,
    *,
    method: str,
    recipes: list[list[str]],
) -> None:
    """Write blended out-of-fold and test probabilities (`tables.probabilities`; fold -1 for test tiles) and a summary.

    oof, test: predictions of each model, one file per network; tiles: `tables.TILES`; recipes: names of models, those
    that differ in their seed alone in one list. The summary has the metrics of `evaluate_oof` and `models`, `method`,
    `methods` (mean of the AUCs of the folds, of each method), `weights` (blend weights by model, fitted to all folds),
    `weights_by_fold` (fitted to the other folds, a list in the order of the folds), `comparison` and `agreement` of
    several models (`statistics.comparison`), `expected` (`expected_auc` on the test tiles), `networks` (number of
    networks that are averaged on the test tiles), `spread` (`spread_of`), `seeds` (`seed_spread`), and of probabilities
    `by_group` and `by_stratum` (`statistics.subsets`); what does not exist is None. Of more than two classes, it has
    the metrics of `evaluate_classes` instead, `methods` and the AUCs of `seeds` are macro AUCs, and what is only
    defined for two classes is None.
    """
    folds_table = tables.read(folds, tables.FOLDS)
    parts = [join_folds(paths, folds_table) for paths in oof.values()]
    labels, fold = parts[0]["label"].to_numpy(), parts[0]["fold"].to_numpy()
    probabilities = np.stack([tables.probability_values(part) for part in parts], axis=1)
    schema = tables.probabilities(tables.classes_of(next(iter(oof.values()))[0]))
    weights = fit_weights(probabilities, labels)
    by_fold = (
        nested_weights(probabilities, labels, fold) if len(oof) > 1 else {int(k): weights for k in np.unique(fold)}
    )
    blended = {
        "mean": probabilities.mean(axis=1),
        "rank_mean": rank_mean(probabilities, fold),
        "weights": weighted_mean(probabilities, np.stack([by_fold[k] for k in fold.tolist()])),
    }
    chosen = parts[0].assign(**columns(blended[method]))
    tables.write(chosen, oof_out, schema)
    ids, networks = stack_networks([path for paths in test.values() for path in paths])
    if probabilities.ndim == 3:
        scores = {name: auc(labels, values) for name, values in blended.items()}
        aucs = [auc(labels, values) for values in np.moveaxis(probabilities, 1, 0)]
        metrics = evaluate_classes(labels, blended[method], fold) | dict.fromkeys(TWO_CLASSES)
    else:
        values = np.stack(list(blended.values()), axis=1)
        scores = dict(zip(blended, stratified_auc(labels, values, None, fold).values.tolist(), strict=True))
        aucs = stratified_auc(labels, probabilities, None, fold).values.tolist()
        metrics = evaluate_two_classes(chosen, list(oof), probabilities, len(ids), tiles, ranks=method == "rank_mean")
    write_json(
        summary,
        {"model": "ensemble", "models": list(oof), "method": method, "methods": scores}
        | metrics
        | {
            "weights": weight_of(oof, weights),
            "weights_by_fold": [weight_of(oof, row) for row in by_fold.values()],
            "networks": len(networks),
            "spread": spread_of(test, networks),
            "seeds": seed_spread(recipes, dict(zip(oof, aucs, strict=True))),
        },
    )

    if method == "rank_mean" and networks.ndim == 2:
        networks = scaled_ranks(networks)
    elif method == "rank_mean":  # of each class
        networks = np.moveaxis(scaled_ranks(np.moveaxis(networks, 2, 1)), 1, 2)
    ends = np.cumsum([len(paths) for paths in test.values()])
    # [N, models], of more than two classes [N, models, K]
    models = np.stack([part.mean(axis=0) for part in np.split(networks, ends[:-1])], axis=1)
    averaged = weighted_mean(models, weights) if method == "weights" else models.mean(axis=1)
    tables.write(pd.DataFrame({"id": ids, "fold": -1, **columns(averaged)}), test_out, schema)
    log.info(
        "%s: %s %s; blend weights %s; selected method: %s.",
        " + ".join(oof),
        "mean AUC of the folds" if probabilities.ndim == 2 else "macro AUC",
        ", ".join(f"{name} {score:.4f}" for name, score in scores.items()),
        ", ".join(f"{weight:.4f}" for weight in weights),
        method,
    )


def spread_of(test: dict[str, list[Path]], networks: np.ndarray) -> dict[str, dict[str, Any] | None]:
    """Return of each model the spread of its networks on the test tiles (`comparison.spread`), None where unknown.

    test: see `ensemble`; networks: probabilities, [networks, N], of more than two classes [networks, N, K]. "by" is
    what the networks differ in: seed, those of all training tiles, or fold, which is training tiles and seed.
    """
    ends = np.cumsum([len(paths) for paths in test.values()])
    found = {}
    for (model, paths), part in zip(test.items(), np.split(networks, ends[:-1]), strict=True):
        by = "seed" if paths[0].parent.name.startswith("full-") else "fold"
        differ = spread(part) if part.ndim == 2 else None
        found[model] = differ and differ | {"by": by}
    return found


def evaluate_two_classes(
    chosen: pd.DataFrame,
    models: list[str],
    probabilities: np.ndarray,
    test_tiles: int,
    tiles: Path,
    *,
    ranks: bool,
) -> dict[str, Any]:
    """Return the part of the summary that depends on out-of-fold predictions; see `ensemble`.

    chosen: id, label, fold, group and probability of the blend; models: names; probabilities: [N, models]; test_tiles:
    their number; tiles: `tables.TILES`; ranks: whether the blended probabilities are ranks.
    """
    labels, blend, fold, group = (chosen[name].to_numpy() for name in ("label", "probability", "fold", "group"))
    metrics = evaluate_oof(labels, blend, fold, group, ranks=ranks)
    several, clusters = len(models) > 1, np.unique(group, return_inverse=True)[1]
    return metrics | {
        "comparison": compare_with_best(models, stratified_auc(labels, probabilities, clusters, fold))
        if several
        else None,
        "agreement": agreement(probabilities, fold) if several else None,
        "expected": expected_auc(metrics, test_tiles),
        "by_group": None if ranks else by_group(chosen),
        "by_stratum": None if ranks else by_stratum(chosen, measurements(tiles, chosen["id"])),
    }


def columns(blended: np.ndarray) -> dict[str, np.ndarray]:
    """Return the columns of `tables.probabilities` that hold blended probabilities, [N] or [N, K]."""
    return tables.probability_columns(blended) | ({"logit": logit(blended)} if blended.ndim == 1 else {})


def measurements(tiles: Path, ids: pd.Series) -> dict[str, np.ndarray]:
    """Return what training tiles look like, in the order of ids, float64 [N] each; tiles: `tables.TILES`.

    Brightness (mean grey level), colour spread (mean of the standard deviations of the channels, grey levels),
    sharpness (variance of the Laplacian) and blankness (per cent of the pixels without stain).
    """
    names = list(tables.MEASUREMENTS)
    frame = tables.read(tiles, tables.TILES, ["id", "split", *names])
    frame = frame[frame["split"] == "train"].set_index("id").loc[ids, names].astype(float)
    return {
        "brightness": frame["brightness"].to_numpy(),
        "colour spread": frame[["std_r", "std_g", "std_b"]].mean(axis=1).to_numpy(),
        "sharpness": frame["sharpness"].to_numpy(),
        "blankness": 100 * frame["blank_share"].to_numpy(),
    }


def weight_of(models: Iterable[str], weights: np.ndarray) -> dict[str, float]:
    """Return {model: blend weight}."""
    return dict(zip(models, weights.tolist(), strict=True))


if __name__ == "__main__":
    from histo import job

    job.start(snakemake)
    settings = snakemake.params.settings
    models = settings["models"]
    inputs = snakemake.input
    ensemble(
        by_model(inputs.oof, models),
        by_model(inputs.test, models),
        Path(inputs.folds),
        Path(inputs.tiles),
        Path(snakemake.output.oof),
        Path(snakemake.output.test),
        Path(snakemake.output.summary),
        method=settings["method"],
        recipes=settings["recipes"],
    )
