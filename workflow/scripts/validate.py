"""Validate the tiles of one shard: one table row per tile, with a single pass over each file.

Each tile is verified against its name: in this competition, the id of a tile is the SHA-1 of its pixels. The same pass
computes the MD5 of the file, decodes the tile, measures brightness, colour and sharpness, and hashes its aligned blocks
of 16 × 16 pixels, from which `overlaps` finds tiles that share tissue.

A faulty tile is recorded in its row and raises no error: `audit` decides what to do about all faults.
"""

import hashlib
import logging
import time
from pathlib import Path

import numpy as np
import pandas as pd

from histo import tables
from histo.geometry import SIDE
from histo.tiles.decoding import Decoder
from histo.tiles.measurements import BATCH, Measurements
from histo.tiles.tile_file import TileFile

COLUMNS = ["id", "split", "shard", "entry", "fault", "detail"]  # of the index


def examine(indexed: pd.DataFrame, tiles: Path, *, id_is_sha1: bool, tile_side: int = SIDE) -> pd.DataFrame:
    """Return the validation table (`tables.validation`) of a shard.

    indexed: its rows of the index, `COLUMNS`; tiles: its tile file; tile_side: pixels. A fault found by `index`
    (no label, listed twice) is replaced only by a fault of the file itself.
    """
    has_file = (indexed["entry"] != "").to_numpy(bool)
    files = TileFile(tiles, int(has_file.sum()))
    ids = indexed["id"].to_numpy(object)[has_file]
    decoder, measurements = Decoder(tile_side), Measurements(tile_side)
    md5s: list[str] = []
    width, height = np.full(len(files), tile_side), np.full(len(files), tile_side)
    mode, sha1s = np.full(len(files), "RGB", object), np.full(len(files), "", object)
    fault, detail = (indexed[name].to_numpy(object)[has_file] for name in ("fault", "detail"))
    for numbers in files.slices(BATCH):
        md5s += [hashlib.md5(files[number], usedforsecurity=False).hexdigest() for number in numbers]
        block = decoder.decode_block(files.data, files.offsets[numbers.start : numbers.stop + 1])
        measurements.add(block.pixels)
        decoded = [number for number in numbers if number - numbers.start not in block.invalid]
        sha1s[decoded] = [hashlib.sha1(tile.data, usedforsecurity=False).hexdigest() for tile in block.pixels]
        for number, found in block.invalid.items():
            k = numbers.start + number
            width[k], height[k], mode[k] = found.width, found.height, found.mode
            fault[k], detail[k] = found.fault, found.detail
    if id_is_sha1:
        for k in np.flatnonzero((sha1s != "") & (sha1s != ids)):
            fault[k], detail[k] = "sha1_differs", f"pixels have SHA-1 {sha1s[k]}"

    frame = indexed[["id", "split", "shard", "fault", "detail"]].reset_index(drop=True)
    empty = {"bytes": 0, "width": 0, "height": 0, "mode": "", "md5": "", "pixels_sha1": ""}
    of_files = {
        "bytes": np.diff(files.offsets), "width": width, "height": height, "mode": mode,
        "md5": np.array(md5s, object), "pixels_sha1": sha1s, "fault": fault, "detail": detail,
    }  # fmt: skip
    for name, values in of_files.items():
        column = np.full(len(frame), empty[name], values.dtype) if name in empty else frame[name].to_numpy(object)
        column[has_file] = values
        frame[name] = column
    return frame.assign(**measurements.columns((frame["pixels_sha1"] != "").to_numpy(bool)))


def validate(
    tiles: Path, index: Path, output: Path, *, split: str, shard: int, id_is_sha1: bool, tile_side: int = SIDE
) -> None:
    """Write one row per tile of a shard (`tables.validation`); tiles: its tile file; tile_side: pixels."""
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
        Path(snakemake.input.tiles),
        Path(snakemake.input.index),
        Path(snakemake.output[0]),
        **snakemake.params.settings,
    )
