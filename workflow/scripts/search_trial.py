"""One trial of a search: sample settings, train with them, record the validation AUC.

Writes `trial-<n>.json`: the sampled settings, the score (best validation AUC, mean over the folds), the validation loss
of that epoch, number of epochs, seconds, the validation AUC of each epoch. The weights are discarded, because a search
only looks for settings. A trial whose training diverges is a result without a score. With the resource `requeue` a job
of SLURM that reaches its time limit goes back to the queue.
"""

import logging
import tempfile
from contextlib import nullcontext
from pathlib import Path
from statistics import fmean
from typing import Any

import pandas as pd

from histo import tables
from histo.config.train import TrainSettings
from histo.errors import DivergedError
from histo.files import read_json, write_json
from histo.overrides import with_values
from histo.tiles.node_copies import on_this_node
from histo.tiles.shards import open_shards
from histo.training.loop import train
from histo.training.requeue import requeued_after_sigterm
from histo.training.resume import ResumeFile, fingerprint
from histo.training.trial_sampling import sample

log = logging.getLogger(__name__)


def summarise(history: pd.DataFrame) -> dict[str, Any]:
    """Return AUC, loss and number of the epoch with the best AUC, epochs and seconds of the training, and all AUCs."""
    best = history.loc[history["auc"].idxmax()]
    return {
        "auc": float(best["auc"]),
        "loss": float(best["validation_loss"]),
        "best_epoch": int(best["epoch"]),
        "epochs": len(history),
        "seconds": round(float(history["seconds"].sum()), 3),
        "aucs": history["auc"].tolist(),
    }


def resume_files(output: Path, folds: list[int]) -> list[Path]:
    """Resume files of a trial: one with the results of its finished folds, and one of the training of each fold."""
    names = ["resume", *(f"fold-{fold}.resume" for fold in folds)]
    return [output.with_name(f"{output.stem}.{name}.pt") for name in names]


def search_trial(
    shards: list[str],
    folds: str,
    earlier: list[str],
    output: str | Path,
    *,
    trial: int,
    settings: dict[str, Any],
    code: dict[str, str],
    weights_in: str | None = None,
    search: str = "",
) -> None:
    """Sample settings, train once for each validation fold, write the result.

    earlier: files of the earlier trials, from which `tpe` samples; trial: counted from 1; settings: `base` (all
    settings of a model), `space`, `sampler`, `seed` (see histo/training/trial_sampling.py) and `folds` (the validation
    folds); weights_in: file of pretrained weights if `base` needs one; search: its name, for what is shown. A killed
    trial resumes in the fold that was trained; finished folds are not trained again. Raises InputError for unusable
    input, but not for a training run that diverges.
    """
    output = Path(output)
    sampled = sample(
        settings["space"], sampler=settings["sampler"], seed=settings["seed"], trial=trial,
        earlier=[read_json(path) for path in earlier],
    )  # fmt: skip
    log.info("Trial %d: %s.", trial, ", ".join(f"{name} {value}" for name, value in sampled.items()))
    train_settings = TrainSettings(**with_values(settings["base"], sampled))
    finished_path, *resume_paths = resume_files(output, settings["folds"])
    identity = fingerprint(
        settings=train_settings, code=code, fold=None, replicate=0, folds=tables.read(folds, tables.FOLDS),
        shards=open_shards(shards, "train").values(), files=[weights_in] if weights_in else [],
    )  # fmt: skip
    finished = ResumeFile(
        finished_path, identity | {"validation_folds": settings["folds"], "epochs": train_settings.epochs}
    )
    saved, failed = finished.load(), None
    results: list[dict[str, Any]] = saved["progress"]["history"] if saved else []
    left = list(zip(settings["folds"], resume_paths, strict=True))[len(results) :]
    for fold, resume in left:
        curves = output.with_suffix("") / f"fold-{fold}"
        curves.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory() as folder:
            history = Path(folder) / "history.csv"
            try:
                train(
                    shards, folds, str(Path(folder) / "weights.pt"), str(history), str(Path(folder) / "training.json"),
                    fold=fold, settings=train_settings, code=code, resume_path=resume,
                    weights_in=weights_in, model=f"{search} {output.stem}".lstrip(), curves=curves,
                )  # fmt: skip
            except DivergedError as error:
                failed = f"fold {fold}: {error}"
                log.warning("The trial failed. %s", failed)
                resume.unlink(missing_ok=True)
                break
            results.append({"fold": fold} | summarise(pd.read_csv(history)))
            resume.unlink(missing_ok=True)  # left with a constant learning rate
        # With the keys of the resume file of a training, whose position histo/training/requeue.py reads.
        finished.save({"progress": {"history": results, "steps": 0}})
    score = None if failed else fmean(result["auc"] for result in results)
    write_json(
        output,
        {
            "trial": trial,
            "draws": sampled,
            "score": score,
            "loss": None if failed else fmean(result["loss"] for result in results),
            "epochs": sum(result["epochs"] for result in results),
            "seconds": round(sum(result["seconds"] for result in results), 3),
            "failed": failed,
            "folds": results,
        },
    )
    finished.remove()
    log.info("Trial %d: %s.", trial, "failed" if failed else f"AUC {score:.4f}")


if __name__ == "__main__":
    from histo import job

    job.start(snakemake)
    output = Path(snakemake.output[0])
    resume_paths = resume_files(output, snakemake.params.settings["folds"])
    with requeued_after_sigterm(*resume_paths) if snakemake.resources.get("requeue", 0) else nullcontext():
        search_trial(
            on_this_node(snakemake.input.shards, snakemake.resources.get("scratch", "")),
            snakemake.input.folds,
            list(snakemake.input.earlier),
            output,
            trial=int(snakemake.wildcards.trial),
            settings=snakemake.params.settings,
            code=snakemake.params.code,
            weights_in=next(iter(snakemake.input.weights), snakemake.params.weights),
            search=snakemake.wildcards.search,
        )
