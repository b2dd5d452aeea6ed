"""Validate the tiles of one shard: one table row per tile, with a single read of each file.

Each tile is verified against its name: in this competition, the id of a tile is the SHA-1 of its pixels. The same pass
computes the MD5 of the file, decodes the tile, measures brightness, colour and sharpness, and hashes its 36 aligned
blocks of 16 × 16 pixels, from which `overlaps` finds tiles that share tissue.

A faulty tile is recorded in its row and raises no error: `audit` decides what to do about all faults.
"""

import hashlib
import logging
import time
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from histo import tables
from histo.tiles.decoding import Decoder
from histo.tiles.measurements import ValidationRows

COLUMNS = ["id", "split", "shard", "entry", "fault", "detail"]  # of the index


def examine(
    row: dict[Hashable, Any], folder: Path, decoder: Decoder, *, id_is_sha1: bool
) -> tuple[dict[str, Any], npt.NDArray[np.uint8] | None]:
    """Return the record of one tile (the columns that are not measured) and its pixels, uint8 [96, 96, 3] or None.

    row: one row of the index. A fault found by `index` (no label, listed twice) is replaced only by a fault of the
    file itself.
    """
    record = {"id": row["id"], "split": row["split"], "shard": row["shard"], "fault": row["fault"]}
    record |= {"detail": row["detail"], "bytes": 0, "width": 0, "height": 0, "mode": "", "md5": "", "pixels_sha1": ""}
    if not row["entry"]:
        return record, None
    data = (folder / f"{row['id']}.tif").read_bytes()
    decoded = decoder.decode(data)
    record |= {"bytes": len(data), "md5": hashlib.md5(data, usedforsecurity=False).hexdigest()}
    record |= {"width": decoded.width, "height": decoded.height, "mode": decoded.mode}
    if decoded.pixels is None:
        record |= {"fault": decoded.fault, "detail": decoded.detail}
    else:
        record["pixels_sha1"] = hashlib.sha1(decoded.pixels.data, usedforsecurity=False).hexdigest()
        if id_is_sha1 and record["pixels_sha1"] != row["id"]:
            record |= {"fault": "sha1_differs", "detail": f"pixels have SHA-1 {record['pixels_sha1']}"}
    return record, decoded.pixels


def validate(folder: Path, index: Path, output: Path, *, split: str, shard: int, id_is_sha1: bool) -> None:
    """Write one row per tile of a shard (`tables.VALIDATION`)."""
    indexed = tables.read_index_of_shard(index, split, shard, COLUMNS)
    start = time.perf_counter()
    decoder, rows = Decoder(), ValidationRows()
    for row in indexed.to_dict("records"):
        rows.add(*examine(row, folder, decoder, id_is_sha1=id_is_sha1))
    frame = rows.frame()
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
