"""One trial of a search: draw settings, train with them, note what they are worth.

Makes `trial-<n>.json`: what was drawn, the score (best validation AUC, the mean over the folds), the validation loss of
that epoch, epochs done, seconds. The weights are thrown away: only the settings are searched for. A training run that
diverges is a result too: its trial has no score.
"""

import logging
import tempfile
from pathlib import Path
from statistics import fmean
from typing import Any

import pandas as pd

from histo.errors import DivergedError
from histo.files import read_json, write_json
from histo.overrides import place
from histo.training.loop import train
from histo.training.trial_sampling import draw

log = logging.getLogger(__name__)


def rate(history: pd.DataFrame) -> dict[str, Any]:
    """Return what a training run is worth: AUC, loss and number of its epoch of the best AUC, and what it took."""
    best = history.loc[history["auc"].idxmax()]
    return {
        "auc": float(best["auc"]),
        "loss": float(best["validation_loss"]),
        "best_epoch": int(best["epoch"]),
        "epochs": len(history),
        "seconds": round(float(history["seconds"].sum()), 3),
    }


def search_trial(
    shards: list[str],
    folds: str,
    earlier: list[str],
    output: str | Path,
    *,
    trial: int,
    settings: dict[str, Any],
    code: dict[str, str],
    threads: int,
    weights_in: str | None = None,
) -> None:
    """Draw, train once for each validation fold, write the result.

    earlier: results of the trials that this one is drawn from; trial: counted from 1; settings: `base` (complete
    settings of a model), `space`, `sampler`, `seed` (see histo/training/trial_sampling.py) and `folds`, those that validate. Raises
    InputError for unusable input, but not for a run that diverges. A killed trial goes on in the fold that was under
    way. weights_in: file that the network starts from, where `base` asks for one.
    """
    output = Path(output)
    results = [read_json(path) for path in earlier]
    how = {key: settings[key] for key in ("sampler", "seed")}
    draws = draw(settings["space"], **how, trial=trial, earlier=results)
    log.info("Trial %d: %s.", trial, ", ".join(f"{name} {value}" for name, value in draws.items()))
    done, failed = [], None
    for fold in settings["folds"]:
        resume = output.with_name(f"{output.stem}.fold-{fold}.resume.pt")
        with tempfile.TemporaryDirectory() as folder:
            history = Path(folder) / "history.csv"
            try:
                train(
                    shards, folds, str(Path(folder) / "weights.pt"), str(history), str(Path(folder) / "training.json"),
                    fold=fold, settings=place(settings["base"], draws), code=code, threads=threads, resume_path=resume,
                    weights_in=weights_in,
                )  # fmt: skip
            except DivergedError as error:
                failed = f"fold {fold}: {error}"
                log.warning("The trial failed. %s", failed)
                resume.unlink(missing_ok=True)
                break
            done.append({"fold": fold} | rate(pd.read_csv(history)))
    score = None if failed else fmean(row["auc"] for row in done)
    write_json(
        output,
        {
            "trial": trial,
            "draws": draws,
            "score": score,
            "loss": None if failed else fmean(row["loss"] for row in done),
            "epochs": sum(row["epochs"] for row in done),
            "seconds": round(sum(row["seconds"] for row in done), 3),
            "failed": failed,
            "folds": done,
        },
    )
    log.info("Trial %d: %s.", trial, "failed" if failed else f"AUC {score:.4f}")


if __name__ == "__main__":
    from histo import job

    job.start(snakemake)
    search_trial(
        list(snakemake.input.shards),
        snakemake.input.folds,
        list(snakemake.input.earlier),
        snakemake.output[0],
        trial=int(snakemake.wildcards.trial),
        settings=snakemake.params.settings,
        code=snakemake.params.code,
        threads=snakemake.threads,
        weights_in=next(iter(snakemake.input.weights), None),
    )
