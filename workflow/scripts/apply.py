"""Apply a trained model to other tiles or larger images: probabilities, flags of tiles unlike the training tiles, maps.

`python -m histo.apply` does the same without Snakemake.
"""

from pathlib import Path

from histo.apply.application import apply
from histo.apply.flags import read_reference

if __name__ == "__main__":
    from histo import job

    job.start(snakemake)
    apply(
        [Path(path) for path in snakemake.input.weights],
        Path(snakemake.input.evaluation),
        read_reference(Path(snakemake.input.reference)),
        snakemake.params.tiles,
        Path(snakemake.output.predictions),
        stride=snakemake.params.stride,
        microns_per_pixel=snakemake.params.microns_per_pixel,
        **snakemake.params.settings,
        threads=snakemake.threads,
    )
