"""Evaluate the ensemble on folds by stain, blended by the method of the submission with weights of these folds."""

import logging
from pathlib import Path

from histo import tables
from histo.class_metrics import evaluate_classes
from histo.files import write_json
from histo.model_files import by_model
from histo.predictions import join_models
from histo.statistics.blending import blends, nested_weights
from histo.statistics.evaluation import evaluate_oof


def ensemble_by_stain(predictions: dict[str, list[Path]], folds: Path, output: Path, *, method: str) -> None:
    """Write the metrics of `evaluate_oof` of the blended out-of-fold probabilities as JSON.

    predictions: of each model, one file per fold; folds: `tables.FOLDS`, by stain; method: of `statistics.blending`. Of
    more than two classes, the metrics are those of `evaluate_classes`. Raises InputError unless each training tile is
    predicted once by each model.
    """
    joined, probabilities = join_models(predictions, tables.read(folds, tables.FOLDS))
    labels, fold, group = (joined[name].to_numpy() for name in ("label", "fold", "group"))
    blended = blends(probabilities, fold, nested_weights(probabilities, labels, fold))[method]
    if blended.ndim == 2:
        metrics = evaluate_classes(labels, blended, fold)
    else:
        metrics = evaluate_oof(labels, blended, fold, group, ranks=method == "rank_mean")
    write_json(output, {"model": "ensemble", "models": list(predictions), "method": method} | metrics)
    logging.info(
        "%s, folds by stain: out-of-fold AUC %.4f (95 %% confidence interval %.4f to %.4f).",
        " + ".join(predictions),
        metrics["auc"],
        metrics["auc_low"],
        metrics["auc_high"],
    )


if __name__ == "__main__":
    from histo import job

    job.start(snakemake)
    settings = snakemake.params.settings
    ensemble_by_stain(
        by_model(snakemake.input.predictions, settings["models"]),
        Path(snakemake.input.folds),
        Path(snakemake.output[0]),
        method=settings["method"],
    )
