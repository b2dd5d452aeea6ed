"""Train one model on all folds but one and validate it on that fold, or train it on all folds.

Writes `weights.pt` (see histo/training/checkpoints.py), `history.csv` (a row for each epoch) and `training.json`
(number of parameters, device, precision) from the training shards and the folds. Each model and fold is a job, because
training is the expensive stage. The training run is in histo/training/loop.py; with the resource `gpu` above 1 it has a
process for each GPU. With the resource `requeue` a job of SLURM that reaches its time limit goes back to the queue;
with `scratch`, a folder, it reads copies of the shards that are made there once per node.
"""

from contextlib import nullcontext
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from histo.config.train import TrainSettings
from histo.errors import InputError
from histo.overrides import REMAKE, resolve_search
from histo.tiles.node_copies import on_this_node
from histo.training.launch import launch
from histo.training.requeue import requeued_after_sigterm


def train_settings(settings: dict[str, Any], bests: list[str]) -> TrainSettings:
    """Return all settings of a model, those of its search included; bests: see `resolve_search`.

    Raises InputError if the file of the search is damaged, or holds what is no setting of a model.
    """
    resolved = {key: value for key, value in resolve_search(settings, bests).items() if key != "search"}
    try:
        return TrainSettings.model_validate(resolved)
    except ValidationError as error:
        faults = [f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors(include_url=False)]
        raise InputError(
            f"{', '.join(bests)}: expected settings of a model, found {'; '.join(faults)}. {REMAKE}"
        ) from None


if __name__ == "__main__":
    from histo import job

    job.start(snakemake)
    kind, number = snakemake.wildcards.network.split("-")[0], int(snakemake.wildcards.network.split("-")[1])
    settings = train_settings(snakemake.params.settings, list(snakemake.input.bests))
    scratch = snakemake.resources.get("scratch", "")
    resume_path = Path(snakemake.output.weights).with_name("resume.pt")
    requeue = bool(snakemake.resources.get("requeue", 0))
    with requeued_after_sigterm(resume_path) if requeue else nullcontext():
        launch(
            max(1, snakemake.resources.get("gpu", 1)),
            {
                "shards": on_this_node(snakemake.input.shards, scratch),
                "folds": snakemake.input.folds,
                "weights_out": snakemake.output.weights,
                "history_out": snakemake.output.history,
                "summary_out": snakemake.output.summary,
                "fold": None if kind == "full" else number,
                "replicate": number,
                "settings": settings,
                "code": snakemake.params.code,
                "test_shards": on_this_node(snakemake.input.test_shards, scratch),
                "pseudo_labels": list(snakemake.input.pseudo_labels),
                "weights_in": next(iter(snakemake.input.weights), snakemake.params.weights),
                "stain": snakemake.params.stain,
                "resume_path": resume_path,
                "model": snakemake.wildcards.model + (" by stain" if kind == "stain" else ""),
                "curves": str(resume_path.parent),
                # The signal may arrive while the job ends; Snakemake then deletes the outputs.
                "keep_resume_file": requeue,
            },
        )
