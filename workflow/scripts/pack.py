"""Pack the tiles of one shard into an HDF5 file: every tile that can be decoded, in the order of the ids.

Later stages (`audit`, `folds`) decide which tiles are used for training, so that a change of their settings does not
require packing again.
"""

import logging
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from histo import tables
from histo.errors import InputError
from histo.geometry import TILE_BYTES
from histo.tiles.decoding import Decoder
from histo.tiles.shards import write_shard

BATCH = 512  # tiles written at a time, 14 MB


def read_batches(folder: Path, ids: list[str]) -> Iterator[npt.NDArray[np.uint8]]:
    """Yield the pixels of the files ID.tif, uint8 [≤ 512, 96, 96, 3]."""
    decoder = Decoder()
    for start in range(0, len(ids), BATCH):
        batch = []
        for name in ids[start : start + BATCH]:
            decoded = decoder.decode((folder / f"{name}.tif").read_bytes())
            if decoded.pixels is None:
                raise InputError(
                    f"{folder}/{name}.tif: expected the tile that was validated, found a changed file "
                    f"({decoded.detail}). Delete the folder and run again."
                )
            batch.append(decoded.pixels)
        yield np.stack(batch)


def pack(folder: Path, index: Path, validation: Path, output: Path, *, split: str, shard: int, code: str) -> None:
    """Write a shard of those tiles in `folder` that were decoded by `validate`; code: version of the code."""
    start = time.perf_counter()
    labels = tables.read_index_of_shard(index, split, shard, ["id", "split", "label", "shard"]).set_index("id")["label"]
    validated = tables.read(validation, tables.VALIDATION, ["id", "pixels_sha1"])
    ids = validated.loc[validated["pixels_sha1"] != "", "id"].tolist()
    write_shard(
        output,
        split=split,
        number=shard,
        ids=np.array(ids, dtype="S40"),
        labels=labels.loc[ids].to_numpy(np.int8),
        batches=read_batches(folder, ids),
        code=code,
    )
    seconds = max(time.perf_counter() - start, 1e-9)
    logging.info("%d of %d tiles, %.0f MB/s", len(ids), len(validated), len(ids) * TILE_BYTES / 1e6 / seconds)


if __name__ == "__main__":
    from histo import job

    job.start(snakemake)
    pack(
        Path(snakemake.input.folder),
        Path(snakemake.input.index),
        Path(snakemake.input.validation),
        Path(snakemake.output[0]),
        code=snakemake.params.code["pack.py"],
        **snakemake.params.settings,
    )
