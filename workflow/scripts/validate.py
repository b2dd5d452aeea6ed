"""Validate the tiles of one shard: one row per tile, from one read of each file.

Each tile is proven by its own name: the id of a tile of this competition is the SHA-1 of its pixels. In the same pass
come the file's MD5, the verdict on decoding, brightness, colour and sharpness, and a hash of each of the tile's 36
aligned blocks of 16 × 16 pixels, from which `overlaps` finds tiles that share tissue.

What is wrong with a tile becomes a row, not an error: `audit` sees all of them and decides.
"""

import hashlib
import logging
import time
from pathlib import Path

import numpy as np

from histo import tables
from histo.tiles.decoding import Decoder
from histo.tiles.measurements import Rows

LISTED = ["id", "split", "shard", "entry", "fault", "detail"]  # columns of the index that matter here


def examine(row: dict, folder: Path, decoder: Decoder, *, id_is_sha1: bool) -> tuple[dict, np.ndarray | None]:
    """Return the verdict on one tile and its pixels, uint8 [96, 96, 3], if it has any.

    row: one row of the index. A fault that the tables already show (no label, listed twice) stays the tile's fault.
    """
    verdict = {"id": row["id"], "split": row["split"], "shard": row["shard"], "fault": row["fault"]}
    verdict |= {"detail": row["detail"], "bytes": 0, "width": 0, "height": 0, "mode": "", "md5": "", "pixels_sha1": ""}
    if not row["entry"]:
        return verdict, None
    data = (folder / f"{row['id']}.tif").read_bytes()
    decoded = decoder.decode(data)
    verdict |= {"bytes": len(data), "md5": hashlib.md5(data, usedforsecurity=False).hexdigest()}
    verdict |= {"width": decoded.width, "height": decoded.height, "mode": decoded.mode}
    if decoded.fault:
        # That a tile cannot be read weighs more than what the tables say of it.
        verdict |= {"fault": decoded.fault, "detail": decoded.detail}
    else:
        verdict["pixels_sha1"] = hashlib.sha1(decoded.pixels, usedforsecurity=False).hexdigest()
        if id_is_sha1 and verdict["pixels_sha1"] != row["id"]:
            verdict |= {"fault": "sha1_differs", "detail": f"pixels have SHA-1 {verdict['pixels_sha1']}"}
    return verdict, decoded.pixels


def validate(folder: Path, index: Path, output: Path, *, split: str, shard: int, id_is_sha1: bool) -> None:
    """Write one row per tile of a shard (`tables.VALIDATION`)."""
    rows = tables.read(index, tables.INDEX, LISTED)
    rows = rows[(rows["split"] == split) & (rows["shard"] == shard)]
    start = time.perf_counter()
    decoder, found = Decoder(), Rows()
    for values in zip(*(rows[name].tolist() for name in LISTED), strict=True):
        found.add(*examine(dict(zip(LISTED, values, strict=True)), folder, decoder, id_is_sha1=id_is_sha1))
    frame = found.frame()
    tables.write(frame, output, tables.VALIDATION)
    seconds = time.perf_counter() - start
    faulty = int((frame["fault"] != "").sum())
    logging.info("%d tiles, %d with a fault, %.0f tiles/s", len(frame), faulty, len(frame) / max(seconds, 1e-9))


if __name__ == "__main__":
    from histo import job

    job.start(snakemake)
    validate(
        Path(snakemake.input.folder),
        Path(snakemake.input.index),
        Path(snakemake.output[0]),
        **snakemake.params.settings,
    )
