"""Pack the tiles of one shard into an HDF5 file: every tile that decodes, in the order of the ids.

Which of them are used for training is decided later (`audit`, `folds`), so that a change of mind packs nothing again.
"""

import logging
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from histo import tables
from histo.errors import InputError
from histo.tiles.decoding import Decoder
from histo.tiles.geometry import TILE_BYTES
from histo.tiles.shards import write_shard

BATCH = 512  # tiles written at once, 14 MB


def read_batches(folder: Path, ids: list[str]) -> Iterator[np.ndarray]:
    """Yield the pixels of the files ID.tif, uint8 [≤ 512, 96, 96, 3]."""
    decoder = Decoder()
    for start in range(0, len(ids), BATCH):
        batch = []
        for name in ids[start : start + BATCH]:
            decoded = decoder.decode((folder / f"{name}.tif").read_bytes())
            if decoded.pixels is None:
                raise InputError(f"{folder}/{name}.tif: was a tile when it was validated, now: {decoded.detail}.")
            batch.append(decoded.pixels)
        yield np.stack(batch)


def pack(folder: Path, index: Path, validation: Path, output: Path, *, split: str, shard: int, code: str) -> None:
    """Write the shard of the tiles in `folder` whose validation found pixels."""
    start = time.perf_counter()
    labels = tables.read(index, tables.INDEX, ["id", "split", "label", "shard"])
    labels = labels[(labels["split"] == split) & (labels["shard"] == shard)].set_index("id")["label"]
    verdicts = tables.read(validation, tables.VALIDATION, ["id", "pixels_sha1"])
    ids = verdicts.loc[verdicts["pixels_sha1"] != "", "id"].tolist()
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
    logging.info("%d of %d tiles, %.0f MB/s", len(ids), len(verdicts), len(ids) * TILE_BYTES / 1e6 / seconds)


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
