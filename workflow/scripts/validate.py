"""Validate the tiles of one shard: one table row per tile, with a single pass over each file.

Each tile is verified against its name: in this competition, the id of a tile is the SHA-1 of its pixels. The same pass
computes MD5 and CRC-32 of the file, decodes the tile, measures brightness, colour, sharpness and the share without
stain, and hashes its aligned blocks of 16 × 16 pixels, from which `overlaps` finds tiles that share tissue.

A faulty tile is recorded in its row and raises no error: `audit` decides what to do about all faults.
"""

import hashlib
import logging
import time
from pathlib import Path

import numpy as np
import pandas as pd
from isal.isal_zlib import crc32

from histo import tables
from histo.errors import InputError
from histo.geometry import SIDE
from histo.tiles.decoding import Decoder
from histo.tiles.measurements import BATCH, Measurements
from histo.tiles.source import open_files
from histo.tiles.tile_file import TileFile

COLUMNS = ["id", "split", "shard", "entry", "size", "crc", "fault", "detail"]  # of the index


def examine(indexed: pd.DataFrame, tiles: Path, *, id_is_sha1: bool, tile_side: int = SIDE) -> pd.DataFrame:
    """Return the validation table (`tables.validation`) of a shard.

    indexed: its rows of the index, `COLUMNS`; tiles: its tile file, or the folder that was indexed; tile_side: pixels.
    A fault found by `index` (no label, listed twice) is replaced only by a fault of the file itself. Raises InputError
    when a file is not the one that was indexed.
    """
    has_file = (indexed["entry"] != "").to_numpy(bool)
    files = open_files(tiles, indexed[has_file])
    ids = indexed["id"].to_numpy(object)[has_file]
    decoder, measurements = Decoder(tile_side), Measurements(tile_side)
    md5s: list[str] = []
    crcs, offsets = np.zeros(len(files), np.uint32), np.full(len(files), -1, np.int32)
    width, height = np.full(len(files), tile_side), np.full(len(files), tile_side)
    mode, sha1s = np.full(len(files), "RGB", object), np.full(len(files), "", object)
    fault, detail = (indexed[name].to_numpy(object)[has_file] for name in ("fault", "detail"))
    for block in files.blocks(BATCH):
        start, stop = block.numbers.start, block.numbers.stop
        for number, content in zip(block.numbers, block.files(), strict=True):
            md5s.append(hashlib.md5(content.data, usedforsecurity=False).hexdigest())
            crcs[number] = crc32(content.data)
        decoded = decoder.decode_block(block.data, block.offsets)
        offsets[start:stop] = decoded.offsets
        measurements.add(decoded.pixels)
        valid = [number for number in block.numbers if number - start not in decoded.invalid]
        sha1s[valid] = [hashlib.sha1(tile.data, usedforsecurity=False).hexdigest() for tile in decoded.pixels]
        for number, found in decoded.invalid.items():
            k = start + number
            width[k], height[k], mode[k] = found.width, found.height, found.mode
            fault[k], detail[k] = found.fault, found.detail
    if isinstance(files, TileFile):  # of a folder, the index has no CRCs
        altered = ids[crcs != indexed["crc"].to_numpy(np.uint32)[has_file]]
        if len(altered):
            raise InputError(
                f"{tiles}: expected the files that were unzipped, found {len(altered)} with another CRC: {altered[0]}, "
                f"…. {files.restore}"
            )
    if id_is_sha1:
        for k in np.flatnonzero((sha1s != "") & (sha1s != ids)):
            fault[k], detail[k] = "sha1_differs", f"pixels have SHA-1 {sha1s[k]}"

    frame = indexed[["id", "split", "shard", "fault", "detail"]].reset_index(drop=True)
    empty = dict.fromkeys(("bytes", "width", "height", "crc"), 0) | dict.fromkeys(("mode", "md5", "pixels_sha1"), "")
    empty["pixels_offset"] = -1
    of_files = {
        "bytes": indexed["size"].to_numpy()[has_file], "width": width, "height": height, "mode": mode,
        "md5": np.array(md5s, object), "crc": crcs, "pixels_offset": offsets, "pixels_sha1": sha1s, "fault": fault,
        "detail": detail,
    }  # fmt: skip
    for name, values in of_files.items():
        column = frame[name].to_numpy(object) if name in frame else np.full(len(frame), empty[name], values.dtype)
        column[has_file] = values
        frame[name] = column
    return frame.assign(**measurements.columns((frame["pixels_sha1"] != "").to_numpy(bool)))


def validate(
    tiles: Path, index: Path, output: Path, *, split: str, shard: int, id_is_sha1: bool, tile_side: int = SIDE
) -> None:
    """Write one row per tile of a shard (`tables.validation`).

    tiles: its tile file, or the folder that was indexed; tile_side: pixels.
    """
    indexed = tables.read_index_of_shard(index, split, shard, COLUMNS)
    start = time.perf_counter()
    frame = examine(indexed, tiles, id_is_sha1=id_is_sha1, tile_side=tile_side)
    tables.write(frame, output, tables.validation(tile_side))
    seconds = time.perf_counter() - start
    faulty = int((frame["fault"] != "").sum())
    logging.info("%d tiles, %d with a fault, %.0f tiles/s", len(frame), faulty, len(frame) / max(seconds, 1e-9))


if __name__ == "__main__":
    from histo import job

    job.start(snakemake)
    validate(
        Path(snakemake.params.tiles),
        Path(snakemake.input.index),
        Path(snakemake.output[0]),
        **snakemake.params.settings,
    )
