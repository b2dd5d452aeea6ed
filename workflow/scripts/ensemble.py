"""Blend the probabilities of all models of the submission, out-of-fold and on the test tiles.

The setting `submission.method` selects one of the methods of `statistics.blending`. The mean of the AUCs of the folds
is written for all of them, so that they can be compared: an AUC over all folds would also compare predictions of
different networks, which may be calibrated differently.
"""

import logging
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from histo import tables
from histo.class_metrics import evaluate_classes
from histo.files import write_json
from histo.logits import logit
from histo.metrics import auc
from histo.model_files import by_model
from histo.predictions import join_models, stack_networks
from histo.statistics.blending import blends, fit_weights, nested_weights, scaled_ranks, weighted_mean
from histo.statistics.clustered_auc import stratified_auc
from histo.statistics.comparison import agreement, compare_with_best, expected_auc, seed_spread, spread
from histo.statistics.evaluation import evaluate_oof
from histo.statistics.subsets import by_group, by_stratum

log = logging.getLogger(__name__)

TWO_CLASSES = ("comparison", "agreement", "expected", "by_group", "by_stratum")  # of the summary, for two classes only


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
    joined, probabilities = join_models(oof, tables.read(folds, tables.FOLDS))
    labels, fold = joined["label"].to_numpy(), joined["fold"].to_numpy()
    schema = tables.probabilities(tables.classes_of(next(iter(oof.values()))[0]))
    weights = fit_weights(probabilities, labels)
    by_fold = nested_weights(probabilities, labels, fold)
    blended = blends(probabilities, fold, by_fold)
    chosen = joined.assign(**columns(blended[method]))
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
