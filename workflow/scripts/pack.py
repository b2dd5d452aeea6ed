"""Pack the tiles of one shard into an HDF5 file: every tile that can be decoded, in the order of the ids.

Later stages (`audit`, `folds`) decide which tiles are used for training, so that a change of their settings does not
require packing again.

`validate` computed the SHA-1 of each tile and the CRC-32 of its file in one pass. Here the CRC is computed anew from
the bytes that are packed: equal CRCs say that they are the bytes of that SHA-1. So the shard gets the SHA-1s without
computing them, at a tenth of the cost; `verify` computes them from the shard. Of files that must be decoded again (PNG,
JPEG, compressed TIFF) the SHA-1 is compared too.
"""

import hashlib
import logging
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
from isal.isal_zlib import crc32

from histo import tables
from histo.errors import InputError
from histo.geometry import COMPETITION, Geometry
from histo.tiles.decoding import Decoder
from histo.tiles.shards import SHA1_BYTES, write_shard
from histo.tiles.source import FolderFiles, open_files
from histo.tiles.tile_file import TileFile

BATCH = 64  # tiles written at a time, 1.8 MB
COLUMNS = ["id", "crc", "pixels_offset", "pixels_sha1"]  # of the validation table


def read_batches(
    files: TileFile | FolderFiles, validated: pd.DataFrame, geometry: Geometry
) -> Iterator[npt.NDArray[np.uint8]]:
    """Yield the pixels of the tiles that were decoded by `validate`, uint8 [≤ 64, side, side, 3].

    validated: `COLUMNS` of the N files. Raises InputError when a file is not the one that was validated.
    """
    decoder, tile_bytes, shape = Decoder(geometry.tile_side), geometry.tile_bytes, geometry.shape
    sha1s = validated["pixels_sha1"].to_numpy(object)
    wanted = sha1s != ""
    crcs, offsets = validated["crc"].to_numpy(np.uint32), validated["pixels_offset"].to_numpy(np.int64)

    def changed(number: int, expected: str, found: str) -> InputError:
        name = validated["id"].iloc[number]
        return InputError(f"{files.path}: {name}: expected {expected}, found {found}. {files.restore}")

    for block in files.blocks(BATCH):
        contents, first = block.files(), block.numbers.start
        found = np.array([crc32(content.data) for content in contents], np.uint32)
        for number in np.flatnonzero(found != crcs[first : block.numbers.stop]).tolist():
            expected = f"the file that was validated, with CRC {crcs[first + number]:08x}"
            raise changed(first + number, expected, f"CRC {found[number]:08x}")
        places, chosen = offsets[first : block.numbers.stop], wanted[first : block.numbers.stop]
        start = places[0]
        if start >= 0 and chosen.all() and _equal(places) and _equal(np.diff(block.offsets)):
            rows = block.data[block.offsets[0] : block.offsets[-1]].reshape(len(contents), -1)
            yield rows[:, start : start + tile_bytes].reshape(-1, *shape)
            continue
        pixels = []
        for number, content, start in zip(block.numbers, contents, places.tolist(), strict=True):
            if not wanted[number]:
                continue
            if start >= 0:
                pixels.append(content[start : start + tile_bytes].reshape(shape))
                continue
            tile = decoder.decode(content.tobytes())
            digest = "" if tile.pixels is None else hashlib.sha1(tile.pixels.data, usedforsecurity=False).hexdigest()
            if digest != sha1s[number]:  # the same file decoded otherwise: by another version of Pillow
                raise changed(number, f"pixels with SHA-1 {sha1s[number]}", tile.detail or digest)
            pixels.append(tile.pixels)
        if pixels:
            yield np.stack(pixels)


def _equal(values: npt.NDArray[np.int64]) -> bool:
    """Return whether all values are equal."""
    return bool((values == values[0]).all())


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

    tiles: the tile file of the shard, or the folder that was indexed; code: version of the code; geometry: of
    the tiles, recorded in the shard. Raises InputError when a file is not the one that was validated.
    """
    start = time.perf_counter()
    indexed = tables.read_index_of_shard(index, split, shard, ["id", "label", "entry", "size"])
    validated = tables.read(validation, tables.VALIDATION, COLUMNS)
    if not indexed["id"].equals(validated["id"]):
        raise InputError(f"{validation}: expected the tiles of {index}, found others. Delete the file and run again.")
    has_file = indexed["entry"] != ""
    sha1s = validated["pixels_sha1"]
    kept = (sha1s != "").to_numpy(bool)
    write_shard(
        output,
        split=split,
        number=shard,
        ids=indexed["id"].to_numpy(object)[kept],
        labels=indexed["label"].to_numpy(np.int8)[kept],
        batches=read_batches(open_files(tiles, indexed[has_file]), validated[has_file], geometry),
        code=code,
        geometry=geometry,
        sha1s=np.frombuffer(bytes.fromhex("".join(sha1s)), np.uint8).reshape(-1, SHA1_BYTES),
    )
    seconds = max(time.perf_counter() - start, 1e-9)
    megabytes = kept.sum() * geometry.tile_bytes / 1e6
    logging.info("%d of %d tiles, %.0f MB/s", kept.sum(), len(kept), megabytes / seconds)


if __name__ == "__main__":
    from histo import job

    job.start(snakemake)
    pack(
        Path(snakemake.params.tiles),
        Path(snakemake.input.index),
        Path(snakemake.input.validation),
        Path(snakemake.output[0]),
        code=snakemake.params.code["pack.py"],
        geometry=Geometry(**snakemake.params.geometry),
        **snakemake.params.settings,
    )
