"""Evaluate one model on its out-of-fold probabilities: each tile as the network that never saw it predicts it."""

import logging
from pathlib import Path

from histo import tables
from histo.files import write_json
from histo.metrics import report
from histo.predictions import join_folds


def evaluate(predictions: list[Path], folds: Path, output: Path, *, model: str) -> None:
    """Write the figures of `metrics.report` as JSON; InputError unless each training tile is predicted once."""
    frame = join_folds(predictions, tables.read(folds, tables.FOLDS))
    figures = report(frame["label"].to_numpy(), frame["probability"].to_numpy(), frame["fold"].to_numpy())
    write_json(output, {"model": model} | figures)
    logging.info(
        "%s: out-of-fold AUC %.4f (%.4f to %.4f); by fold %s",
        model,
        figures["auc"],
        figures["auc_low"],
        figures["auc_high"],
        ", ".join(f"{row['auc']:.4f}" for row in figures["folds"]),
    )


if __name__ == "__main__":
    from histo import run

    run.start(snakemake)  # noqa: F821
    evaluate(
        [Path(path) for path in snakemake.input.predictions],  # noqa: F821
        Path(snakemake.input.folds),  # noqa: F821
        Path(snakemake.output[0]),  # noqa: F821
        **snakemake.params.settings,  # noqa: F821
    )
