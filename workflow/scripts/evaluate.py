"""Evaluate one model on its out-of-fold predictions: each tile is predicted by the model trained without its fold."""

import logging
from pathlib import Path

import pandas as pd

from histo import tables
from histo.class_metrics import evaluate_classes
from histo.files import write_json
from histo.metrics import auc
from histo.predictions import join_folds
from histo.statistics.clustered_auc import stratified_auc
from histo.statistics.evaluation import evaluate_oof


def auc_by_augmentation(frame: pd.DataFrame, tta: str) -> dict[str, float | None]:
    """Return the mean of the AUCs of the folds with each test-time augmentation up to `tta`: {none, flips, all}.

    A value is None if its predictions were not computed; of more than two classes, which have the macro AUC over all
    folds, all but that of `tta`. frame: see `join_folds`.
    """
    if "probability" not in frame:
        macro = auc(frame["label"].to_numpy(), tables.probability_values(frame))
        return {name: macro if name == tta else None for name in ("none", "flips", "all")}
    scores = {"none": frame["logit_none"], "flips": frame["logit_flips"], "all": None}
    # Some models ignore the setting. They have no logits of flips, and their probability is that of the original tile.
    scores[tta if scores["flips"].notna().all() else "none"] = frame["probability"]
    labels, folds = frame["label"].to_numpy(), frame["fold"].to_numpy()
    known = {name: values for name, values in scores.items() if values is not None and values.notna().all()}
    return {
        name: float(stratified_auc(labels, known[name].to_numpy(), None, folds).values[0]) if name in known else None
        for name in scores
    }


def evaluate(predictions: list[Path], folds: Path, output: Path, *, model: str, tta: str) -> None:
    """Write the metrics of `evaluate_oof` and, under "tta", those of `auc_by_augmentation` as JSON.

    tta: the test-time augmentation of `predictions`. Of more than two classes, the metrics are those of
    `evaluate_classes`. Raises InputError unless each training tile is predicted once.
    """
    frame = join_folds(predictions, tables.read(folds, tables.FOLDS))
    values = tables.probability_values(frame)
    labels, fold, group = (frame[name].to_numpy() for name in ("label", "fold", "group"))
    metrics = evaluate_classes(labels, values, fold) if values.ndim == 2 else evaluate_oof(labels, values, fold, group)
    write_json(output, {"model": model} | metrics | {"tta": auc_by_augmentation(frame, tta)})
    logging.info(
        "%s: out-of-fold AUC %.4f (95 %% confidence interval %.4f to %.4f); by fold %s.",
        model,
        metrics["auc"],
        metrics["auc_low"],
        metrics["auc_high"],
        ", ".join(f"{row['auc']:.4f}" for row in metrics["folds"]),
    )


if __name__ == "__main__":
    from histo import job

    job.start(snakemake)
    evaluate(
        [Path(path) for path in snakemake.input.predictions],
        Path(snakemake.input.folds),
        Path(snakemake.output[0]),
        **snakemake.params.settings,
    )
