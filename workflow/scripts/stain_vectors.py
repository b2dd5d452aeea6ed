"""Measure the stain of every tile of a training shard, for folds by stain (`folds.by: stain`)."""

import logging
import time
from pathlib import Path

import numpy as np
import pandas as pd

from histo import tables
from histo.tiles.shards import Shard
from histo.tiles.stain_vectors import BATCH, SCHEMA, SUMS, band_sums


def stain_vectors(shard: Path, output: Path) -> None:
    """Write the sums of each tile of a shard (`stain_vectors.SCHEMA`), in the order of its rows."""
    start = time.perf_counter()
    tiles = Shard(shard)
    sums = [band_sums(batch).reshape(-1, SUMS) for batch in tiles.batches(BATCH)]
    rows = list(np.concatenate(sums)) if sums else []
    tables.write(pd.DataFrame({"id": tiles.ids.astype(object), "sums": pd.Series(rows, dtype=object)}), output, SCHEMA)
    logging.info("%d tiles, %.0f tiles/s", len(tiles), len(tiles) / max(time.perf_counter() - start, 1e-9))


if __name__ == "__main__":
    from histo import job

    job.start(snakemake)
    stain_vectors(Path(snakemake.input.shard), Path(snakemake.output[0]))
