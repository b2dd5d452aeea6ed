"""Train one model on all folds but one; validate on that one.

Makes `weights.pt` (see histo/training/checkpoints.py), `history.csv` (a row per epoch) and `training.json` (parameters, device,
precision) from the training shards and the folds. A job of its own per model and fold, because this is the expensive
stage; how it goes is in histo/training/loop.py.
"""

from pathlib import Path

from histo.overrides import complete
from histo.training.loop import train

if __name__ == "__main__":
    from histo import job

    job.start(snakemake)
    train(
        list(snakemake.input.shards),
        snakemake.input.folds,
        snakemake.output.weights,
        snakemake.output.history,
        snakemake.output.figures,
        fold=int(snakemake.wildcards.fold),
        settings=complete(snakemake.params.settings, list(snakemake.input.bests)),
        code=snakemake.params.code,
        threads=snakemake.threads,
        weights_in=next(iter(snakemake.input.weights), None),
        resume_path=Path(snakemake.output.weights).with_name("resume.pt"),
    )
