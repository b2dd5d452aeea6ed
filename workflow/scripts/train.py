"""Train one model on all folds but one and validate it on that fold, or train it on all folds.

Writes `weights.pt` (see histo/training/checkpoints.py), `history.csv` (a row for each epoch) and `training.json`
(number of parameters, device, precision) from the training shards and the folds. Each model and fold is a job, because
training is the expensive stage. The training run is in histo/training/loop.py; with the resource `gpu` above 1 it has a
process for each GPU. With the resource `requeue` a job of SLURM that reaches its time limit goes back to the queue.
"""

from contextlib import nullcontext
from pathlib import Path

from pydantic import ValidationError

from histo.config.train import TrainSettings
from histo.errors import InputError
from histo.overrides import REMAKE, resolve_search
from histo.training.launch import launch
from histo.training.requeue import requeued_after_sigterm

if __name__ == "__main__":
    from histo import job

    job.start(snakemake)
    kind, number = snakemake.wildcards.network.split("-")[0], int(snakemake.wildcards.network.split("-")[1])
    settings = resolve_search(snakemake.params.settings, list(snakemake.input.bests))
    settings = {key: value for key, value in settings.items() if key != "search"}
    try:
        checked = TrainSettings.model_validate(settings)
    except ValidationError as error:
        faults = [f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors(include_url=False)]
        where = ", ".join(snakemake.input.bests)
        raise InputError(f"{where}: expected settings of a model, found {'; '.join(faults)}. {REMAKE}") from None
    resume_path = Path(snakemake.output.weights).with_name("resume.pt")
    with requeued_after_sigterm(resume_path) if snakemake.resources.get("requeue", 0) else nullcontext():
        launch(
            max(1, snakemake.resources.get("gpu", 1)),
            {
                "shards": list(snakemake.input.shards),
                "folds": snakemake.input.folds,
                "weights_out": snakemake.output.weights,
                "history_out": snakemake.output.history,
                "summary_out": snakemake.output.summary,
                "fold": number if kind == "fold" else None,
                "replicate": number,
                "settings": checked,
                "code": snakemake.params.code,
                "threads": snakemake.threads,
                "test_shards": list(snakemake.input.test_shards),
                "pseudo_labels": list(snakemake.input.pseudo_labels),
                "weights_in": next(iter(snakemake.input.weights), snakemake.params.weights),
                "stain": snakemake.params.stain,
                "resume_path": resume_path,
                "model": snakemake.wildcards.model,
                "curves": str(resume_path.parent),
            },
        )
