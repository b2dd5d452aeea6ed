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
from histo.geometry import COMPETITION, Geometry
from histo.tiles.decoding import Decoder
from histo.tiles.shards import write_shard
from histo.tiles.tile_file import TileFile

BATCH = 512  # tiles written at a time, 14 MB


def read_batches(
    files: TileFile, ids: list[str], wanted: npt.NDArray[np.bool_], side: int
) -> Iterator[npt.NDArray[np.uint8]]:
    """Yield the pixels of the wanted tiles, uint8 [≤ 512, side, side, 3].

    ids, wanted: of the N tiles of the file. Raises InputError when a wanted tile cannot be decoded.
    """
    decoder = Decoder(side)
    for numbers in files.slices(BATCH):
        block = decoder.decode_block(files.data, files.offsets[numbers.start : numbers.stop + 1])
        chosen = wanted[numbers.start : numbers.stop]
        for number, found in block.invalid.items():
            if chosen[number]:
                raise InputError(
                    f"{files.path}: {ids[numbers.start + number]}: expected the tile that was validated, found a "
                    f"changed one ({found.detail}). Delete the file and run again."
                )
        chosen = np.delete(chosen, list(block.invalid))
        yield block.pixels if chosen.all() else block.pixels[chosen]


def pack(
    tiles: Path,
    index: Path,
    validation: Path,
    output: Path,
    *,
    split: str,
    shard: int,
    code: str,
    geometry: Geometry = COMPETITION,
) -> None:
    """Write a shard of those tiles that were decoded by `validate`.

    tiles: the tile file of the shard; code: version of the code; geometry: of the tiles, recorded in the shard.
    """
    start = time.perf_counter()
    indexed = tables.read_index_of_shard(index, split, shard, ["id", "split", "label", "shard", "entry"])
    labels = indexed.set_index("id")["label"]
    with_file = indexed.loc[indexed["entry"] != "", "id"]
    files = TileFile(tiles, len(with_file))
    validated = tables.read(validation, tables.VALIDATION, ["id", "pixels_sha1"])
    ids = validated.loc[validated["pixels_sha1"] != "", "id"].tolist()
    write_shard(
        output,
        split=split,
        number=shard,
        ids=np.array(ids, dtype="S40"),
        labels=labels.loc[ids].to_numpy(np.int8),
        batches=read_batches(files, with_file.tolist(), with_file.isin(ids).to_numpy(bool), geometry.tile_side),
        code=code,
        geometry=geometry,
    )
    seconds = max(time.perf_counter() - start, 1e-9)
    logging.info("%d of %d tiles, %.0f MB/s", len(ids), len(validated), len(ids) * geometry.tile_bytes / 1e6 / seconds)


if __name__ == "__main__":
    from histo import job

    job.start(snakemake)
    pack(
        Path(snakemake.input.tiles),
        Path(snakemake.input.index),
        Path(snakemake.input.validation),
        Path(snakemake.output[0]),
        code=snakemake.params.code["pack.py"],
        geometry=Geometry(**snakemake.params.geometry),
        **snakemake.params.settings,
    )
