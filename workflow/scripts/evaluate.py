"""Evaluate one model on its out-of-fold probabilities: each tile as the network that never saw it predicts it."""

import logging
from pathlib import Path

import pandas as pd

from histo import tables
from histo.evaluation import evaluation
from histo.files import write_json
from histo.metrics import auc
from histo.predictions import join_folds


def augmentation(frame: pd.DataFrame, tta: str) -> dict[str, float | None]:
    """Return the out-of-fold AUC with each kind of test-time augmentation up to the chosen one: {none, flips, all}.

    None for what was not computed; frame: `tables.PREDICTIONS` and label.
    """
    scores = {"none": frame["logit_none"], "flips": frame["logit_flips"], "all": None}
    # A model may take no notice of the setting; then there are no flips, and what it has is the tile as it is.
    scores[tta if scores["flips"].notna().all() else "none"] = frame["probability"]
    labels = frame["label"].to_numpy()
    known = {name: values for name, values in scores.items() if values is not None and values.notna().all()}
    return {name: auc(labels, known[name].to_numpy()) if name in known else None for name in scores}


def evaluate(predictions: list[Path], folds: Path, output: Path, *, model: str, tta: str) -> None:
    """Write the figures of `metrics.report` and `augmentation` as JSON.

    tta: with which `predictions` were made. InputError unless each training tile is predicted once.
    """
    frame = join_folds(predictions, tables.read(folds, tables.FOLDS))
    figures = evaluation(frame["label"].to_numpy(), frame["probability"].to_numpy(), frame["fold"].to_numpy())
    write_json(output, {"model": model} | figures | {"tta": augmentation(frame, tta)})
    logging.info(
        "%s: out-of-fold AUC %.4f (%.4f to %.4f); by fold %s",
        model,
        figures["auc"],
        figures["auc_low"],
        figures["auc_high"],
        ", ".join(f"{row['auc']:.4f}" for row in figures["folds"]),
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
