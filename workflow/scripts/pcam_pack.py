"""Copy the tiles of one shard from PatchCamelyon's HDF5 files into the shard, and measure them in the same pass.

Does for PatchCamelyon what `validate` and `pack` do for an archive. The tiles need no decoding. Their only possible
fault, pixels that differ from those that were indexed, ends the job.
"""

import hashlib
import logging
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from histo import tables
from histo.errors import InputError
from histo.geometry import SIDE, TILE_BYTES
from histo.tiles.measurements import ValidationRows
from histo.tiles.pcam import open_tiles, read_slices
from histo.tiles.shards import write_shard

VALID = {
    "bytes": TILE_BYTES, "width": SIDE, "height": SIDE, "mode": "RGB", "md5": "", "crc": 0, "pixels_offset": -1,
    "fault": "", "detail": "",
}  # fmt: skip


def stream(
    indexed: pd.DataFrame, images: dict[str, Path], validation: ValidationRows
) -> Iterator[npt.NDArray[np.uint8]]:
    """Yield the tiles of the given index rows, uint8 [n, 96, 96, 3], and add each to the validation rows.

    indexed: rows of the index in the order of the files; images: HDF5 file of tiles by part.
    """
    for part, tiles in indexed.groupby("entry", sort=False):
        rows = tiles.to_dict("records")
        path = images[str(part)]
        with open_tiles(path) as dataset:
            start = stop = rows[0]["offset"]
            for batch in read_slices(dataset, start, start + len(rows)):
                for row, tile in zip(rows[stop - start :], batch, strict=False):
                    sha1 = hashlib.sha1(tile.data, usedforsecurity=False).hexdigest()
                    if not sha1.startswith(row["id"].partition("-")[0]):
                        raise InputError(
                            f"{path}: expected the pixels of {row['id']} as tile {row['offset']}, found other "
                            "pixels than when it was indexed. Run with `--forcerun pcam_gunzip`."
                        )
                    record = {key: row[key] for key in ("id", "split", "shard")}
                    validation.add({**record, **VALID, "pixels_sha1": sha1}, tile)
                stop += len(batch)
                yield batch


def pcam_pack(
    index: Path,
    images: list[Path],
    output: Path,
    validation: Path,
    *,
    split: str,
    shard: int,
    parts: list[str],
    code: str,
) -> None:
    """Write a shard and its validation rows (`tables.VALIDATION`), both in the order of PatchCamelyon's files.

    images: the HDF5 files of tiles of `parts`; parts: the parts that the split consists of, in order; code: version of
    the code. Raises InputError when a file is damaged or has changed since it was indexed.
    """
    start = time.perf_counter()
    indexed = tables.read_index_of_shard(index, split, shard)
    part_number = indexed["entry"].map({name: number for number, name in enumerate(parts)})
    indexed = indexed.assign(part=part_number).sort_values(["part", "offset"])
    rows = ValidationRows()
    write_shard(
        output,
        split=split,
        number=shard,
        ids=indexed["id"].to_numpy(),
        labels=indexed["label"].to_numpy(np.int8),
        batches=stream(indexed, dict(zip(parts, images, strict=True)), rows),
        code=code,
    )
    tables.write(rows.frame(), validation, tables.VALIDATION)
    seconds = max(time.perf_counter() - start, 1e-9)
    logging.info("%d tiles, %.0f tiles/s", len(indexed), len(indexed) / seconds)


if __name__ == "__main__":
    from histo import job

    job.start(snakemake)
    pcam_pack(
        Path(snakemake.input.index),
        [Path(path) for path in snakemake.input.images],
        Path(snakemake.output.shard),
        Path(snakemake.output.validation),
        code=snakemake.params.code["pcam_pack.py"],
        **snakemake.params.settings,
    )
