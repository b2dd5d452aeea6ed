"""Compute colour and texture features of the tiles of one shard, for the classical models (section `classical`).

A separate stage, since computing the features takes longer than fitting any of these models to the table.
"""

import logging
import time
from pathlib import Path

import numpy as np
import pandas as pd

from histo import tables
from histo.tiles.colour_texture import NAMES, SCHEMA, features
from histo.tiles.shards import Shard


def measure(shard: Path, output: Path) -> None:
    """Write one row per tile of the shard (`histo.tiles.colour_texture.SCHEMA`), sorted by id."""
    start = time.perf_counter()
    tiles = Shard(shard)
    values = [
        np.empty((0, len(NAMES)), np.float32),
        *(features(batch, tiles.geometry.centre_side) for batch in tiles.batches()),
    ]
    frame = pd.DataFrame(np.concatenate(values), columns=list(NAMES))
    frame.insert(0, "id", tiles.ids)
    tables.write(frame.sort_values("id", ignore_index=True), output, SCHEMA)
    seconds = max(time.perf_counter() - start, 1e-9)
    logging.info("%d features of %d tiles, %.0f tiles/s", len(NAMES), len(tiles), len(tiles) / seconds)


if __name__ == "__main__":
    from histo import job

    job.start(snakemake)
    measure(Path(snakemake.input[0]), Path(snakemake.output[0]))
