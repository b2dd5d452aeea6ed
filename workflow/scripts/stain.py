"""Write a copy of a shard with stain-normalised tiles (histo/tiles/stain_normalisation.py).

A separate stage after `pack`: stages that compare pixels (ids, overlaps, the audit's pictures) read the original
shards; training and prediction read these, of both splits. Without `stain.method` this stage does not run.
"""

import logging
import time
from pathlib import Path

from histo.tiles.shards import Shard, write_shard
from histo.tiles.stain_normalisation import normalise


def stain(shard: Path, output: Path, *, code: str) -> None:
    """Write the normalised tiles of `shard` with the same ids in the same order; code: version of the code."""
    start = time.perf_counter()
    tiles = Shard(shard)
    write_shard(
        output,
        split=tiles.split,
        number=tiles.number,
        ids=tiles.ids,
        labels=tiles.labels,
        batches=(normalise(batch) for batch in tiles.batches()),
        code=code,
        geometry=tiles.geometry,
    )
    seconds = max(time.perf_counter() - start, 1e-9)
    logging.info("%d tiles, %.0f tiles/s", len(tiles), len(tiles) / seconds)


if __name__ == "__main__":
    from histo import job

    job.start(snakemake)
    stain(
        Path(snakemake.input[0]),
        Path(snakemake.output[0]),
        code=snakemake.params.code["stain.py"],
    )
