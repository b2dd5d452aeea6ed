"""Blend the probabilities of all models of the submission, out-of-fold and on the test tiles.

Three methods, of which `submission.method` chooses; the out-of-fold AUC of all three is written, so that they can be
compared:

- `mean` of the probabilities of the models, and on the test tiles of the networks of all folds.
- `rank_mean`: mean of ranks, for models whose probabilities are spread differently, since the AUC knows ranks alone. A
  rank has a meaning among the predictions of one network only: out-of-fold it is taken within each fold, each of which
  was predicted by a network of its own; on the test tiles within each network, before folds and models are averaged.
  Out-of-fold this takes all folds for equally rich in tumour, which the folds are made to be. The results are ranks
  scaled to 0..1 and no probabilities.
- `weights`: weighted mean of the probabilities. The weights are not negative, sum to 1 and make the out-of-fold labels
  as likely as possible. Weights that rated the tiles that they were fitted on would make the AUC too good, so each
  fold is blended with weights fitted on the other folds; those for the test tiles are fitted on all.
"""

import logging
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.optimize import minimize
from scipy.stats import rankdata

from histo import tables
from histo.evaluation import evaluation
from histo.files import write_json
from histo.logits import logit
from histo.metrics import auc
from histo.predictions import join_folds, stack_networks

log = logging.getLogger(__name__)

FLOOR = 1e-15  # of a label's likelihood, so that one tile that a model is wrongly certain of has a logarithm


def scaled_ranks(values: np.ndarray) -> np.ndarray:
    """Return the ranks of values [..., N] in (0, 1): (rank - 1/2) / N, equal values share the mean of their ranks."""
    return (rankdata(values, axis=-1) - 0.5) / values.shape[-1]


def rank_mean(probabilities: np.ndarray, folds: np.ndarray) -> np.ndarray:
    """Return the mean over models of ranks within each fold, [N]; probabilities [N, models], folds int [N]."""
    mean = np.empty(len(probabilities))
    for fold in np.unique(folds):
        mean[folds == fold] = scaled_ranks(probabilities[folds == fold].T).mean(axis=0)
    return mean


def weighted_mean(probabilities: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the mean over models, [N], of probabilities [N, models]; weights [models] or [N, models], of sum 1."""
    return np.minimum((probabilities * weights).sum(axis=1), 1)  # a rounding may lead past 1


def fit_weights(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return the weights [models], >= 0 with sum 1, whose mean of probabilities makes the labels most likely.

    probabilities [N, models], labels 0/1 [N]. The logarithm of the likelihood is concave in the weights: one maximum.
    """
    models = probabilities.shape[1]
    if models == 1:
        return np.ones(1)
    likelihood = np.maximum(np.where(labels[:, None] == 1, probabilities, 1 - probabilities), FLOOR)

    def loss(weights: np.ndarray) -> tuple[float, np.ndarray]:
        blended = np.maximum(likelihood @ weights, FLOOR)  # a step of the search may leave the bounds by a rounding
        return -np.log(blended).mean(), -(likelihood / blended[:, None]).mean(axis=0)

    found = minimize(
        loss, np.full(models, 1 / models), jac=True, method="SLSQP", bounds=[(0, 1)] * models,
        constraints={"type": "eq", "fun": lambda w: w.sum() - 1, "jac": np.ones_like}, options={"ftol": 1e-12},
    )  # fmt: skip
    if not found.success:
        log.warning("The weights of the models may not be the best: %s.", found.message)
    weights = np.clip(found.x, 0, None)
    return weights / weights.sum()


def nested_weights(probabilities: np.ndarray, labels: np.ndarray, folds: np.ndarray) -> dict[int, np.ndarray]:
    """Return for each fold the weights [models] that the tiles of the other folds give; see `fit_weights`."""
    return {int(k): fit_weights(probabilities[folds != k], labels[folds != k]) for k in np.unique(folds)}


def ensemble(
    oof: dict[str, list[Path]],
    test: dict[str, list[Path]],
    folds: Path,
    oof_out: Path,
    test_out: Path,
    figures: Path,
    *,
    method: str,
) -> None:
    """Write blended out-of-fold and test probabilities (`tables.PROBABILITIES`; fold -1 on the test tiles) and figures.

    oof, test: predictions of each model, one file per fold. The figures are those of `metrics.report`, with `models`,
    `method`, `methods` (out-of-fold AUC of each), `weights` (fitted on all folds, by model) and `weights_by_fold`
    (fitted on the others, a list in the order of the folds).
    """
    deal = tables.read(folds, tables.FOLDS)
    parts = [join_folds(paths, deal) for paths in oof.values()]
    labels, fold = parts[0]["label"].to_numpy(), parts[0]["fold"].to_numpy()
    probabilities = np.stack([part["probability"].to_numpy() for part in parts], axis=1)
    weights = fit_weights(probabilities, labels)
    by_fold = (
        nested_weights(probabilities, labels, fold) if len(oof) > 1 else {int(k): weights for k in np.unique(fold)}
    )
    blended = {
        "mean": probabilities.mean(axis=1),
        "rank_mean": rank_mean(probabilities, fold),
        "weights": weighted_mean(probabilities, np.stack([by_fold[k] for k in fold.tolist()])),
    }
    scores = {name: auc(labels, values) for name, values in blended.items()}
    chosen = parts[0].assign(probability=blended[method], logit=logit(blended[method]))
    tables.write(chosen, oof_out, tables.PROBABILITIES)
    write_json(
        figures,
        {"model": "ensemble", "models": list(oof), "method": method, "methods": scores}
        | evaluation(labels, blended[method], fold)
        | {"weights": named(oof, weights), "weights_by_fold": [named(oof, row) for row in by_fold.values()]},
    )

    ids, networks = stack_networks([path for paths in test.values() for path in paths])
    networks = networks.reshape(len(test), len(networks) // len(test), len(ids))  # [models, folds, N]
    if method == "rank_mean":
        networks = scaled_ranks(networks)
    models = networks.mean(axis=1).T
    tiles = weighted_mean(models, weights) if method == "weights" else models.mean(axis=1)
    table = {"id": ids, "fold": -1, "logit": logit(tiles), "probability": tiles}
    tables.write(pd.DataFrame(table), test_out, tables.PROBABILITIES)
    log.info(
        "%s: out-of-fold AUC %s; weights %s; submitted: %s.",
        " + ".join(oof),
        ", ".join(f"{name} {score:.4f}" for name, score in scores.items()),
        ", ".join(f"{weight:.4f}" for weight in weights),
        method,
    )


def named(models: dict[str, list[Path]], weights: np.ndarray) -> dict[str, float]:
    """Return {model: weight}."""
    return dict(zip(models, weights.tolist(), strict=True))


if __name__ == "__main__":
    from histo import job

    job.start(snakemake)
    settings = snakemake.params.settings
    models = settings["models"]
    inputs = snakemake.input
    count = len(inputs.oof) // len(models)

    def by_model(paths: list[str]) -> dict[str, list[Path]]:
        """Split a flat list, models in order and the folds of each in order."""
        return {model: [Path(p) for p in paths[i * count : (i + 1) * count]] for i, model in enumerate(models)}

    ensemble(
        by_model(inputs.oof),
        by_model(inputs.test),
        Path(inputs.folds),
        Path(snakemake.output.oof),
        Path(snakemake.output.test),
        Path(snakemake.output.figures),
        method=settings["method"],
    )
