"""Apply a trained model to other tiles: probabilities, and flags of tiles that are unlike the training tiles.

`python -m histo.apply` does the same without Snakemake.
"""

from pathlib import Path

from histo.apply.flags import read_reference
from histo.apply.prediction import apply

if __name__ == "__main__":
    from histo import job

    job.start(snakemake)
    apply(
        [Path(path) for path in snakemake.input.weights],
        Path(snakemake.input.evaluation),
        read_reference(Path(snakemake.input.reference)),
        snakemake.params.tiles,
        Path(snakemake.output.predictions),
        **snakemake.params.settings,
        threads=snakemake.threads,
    )
