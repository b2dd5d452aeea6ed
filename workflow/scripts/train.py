"""Train one model on all folds but one; validate on that one.

Makes `weights.pt` (see histo/checkpoints.py), `history.csv` (a row per epoch) and `training.json` (parameters, device,
precision) from the training shards and the folds. A job of its own per model and fold, because this is the expensive
stage; how it goes is in histo/training.py.
"""

from pathlib import Path

from histo.settings import complete
from histo.training import train

if __name__ == "__main__":
    from histo import run

    run.start(snakemake)  # noqa: F821
    train(
        list(snakemake.input.shards),  # noqa: F821
        snakemake.input.folds,  # noqa: F821
        snakemake.output.weights,  # noqa: F821
        snakemake.output.history,  # noqa: F821
        snakemake.output.figures,  # noqa: F821
        fold=int(snakemake.wildcards.fold),  # noqa: F821
        settings=complete(snakemake.params.settings, list(snakemake.input.bests)),  # noqa: F821
        code=snakemake.params.code,  # noqa: F821
        threads=snakemake.threads,  # noqa: F821
        weights_in=next(iter(snakemake.input.weights), None),  # noqa: F821
        resume_path=Path(snakemake.output.weights).with_name("resume.pt"),  # noqa: F821
    )
