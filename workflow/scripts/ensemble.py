"""Average the probabilities of all models of the submission: a plain mean, out-of-fold and on the test tiles."""

import logging
from pathlib import Path

import numpy as np

from histo import tables
from histo.files import write_json
from histo.metrics import report
from histo.predictions import join_folds, mean_of_folds


def logit(probability: np.ndarray) -> np.ndarray:
    """Return log(p / (1 - p)), float32, finite also where a probability has rounded to 0 or 1."""
    p = np.clip(probability, 1e-15, 1 - 1e-15)
    return (np.log(p) - np.log1p(-p)).astype(np.float32)


def ensemble(
    oof: dict[str, list[Path]], test: dict[str, list[Path]], folds: Path, oof_out: Path, test_out: Path, figures: Path
) -> None:
    """Write blended out-of-fold and test probabilities (`tables.PREDICTIONS`; fold -1 on the test tiles).

    oof, test: predictions of each model, one file per fold.
    """
    deal = tables.read(folds, tables.FOLDS)
    parts = {model: join_folds(paths, deal) for model, paths in oof.items()}
    blended = next(iter(parts.values())).copy()
    blended["probability"] = np.mean([part["probability"].to_numpy() for part in parts.values()], axis=0)
    blended["logit"] = logit(blended["probability"].to_numpy())
    tables.write(blended, oof_out, tables.PREDICTIONS)
    result = report(*(blended[name].to_numpy() for name in ("label", "probability", "fold")))
    write_json(figures, {"model": "ensemble", "models": list(oof)} | result)

    tests = {model: mean_of_folds(paths) for model, paths in test.items()}
    tiles = next(iter(tests.values())).copy()
    tiles["probability"] = np.mean([part["probability"].to_numpy() for part in tests.values()], axis=0)
    tiles["logit"] = logit(tiles["probability"].to_numpy())
    tables.write(tiles.assign(fold=-1), test_out, tables.PREDICTIONS)
    logging.info("%s: out-of-fold AUC %.4f", " + ".join(oof), result["auc"])


if __name__ == "__main__":
    from histo import run

    run.start(snakemake)  # noqa: F821
    models = snakemake.params.settings["models"]  # noqa: F821
    inputs = snakemake.input  # noqa: F821
    count = len(inputs.oof) // len(models)

    def by_model(paths: list[str]) -> dict[str, list[Path]]:
        """Split a flat list, models in order and the folds of each in order."""
        return {model: [Path(p) for p in paths[i * count : (i + 1) * count]] for i, model in enumerate(models)}

    ensemble(
        by_model(inputs.oof),
        by_model(inputs.test),
        Path(inputs.folds),
        Path(snakemake.output.oof),  # noqa: F821
        Path(snakemake.output.test),  # noqa: F821
        Path(snakemake.output.figures),  # noqa: F821
    )
