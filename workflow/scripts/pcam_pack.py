"""Stream the tiles of one shard from PatchCamelyon's HDF5 files into the shard, and measure them on the way.

What `validate` and `pack` do for an archive of files, in one pass: the tiles need no decoding, and their only possible
fault, other pixels than when they were listed, ends the job.
"""

import hashlib
import logging
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from histo import tables
from histo.errors import InputError
from histo.tiles.geometry import SIDE, TILE_BYTES
from histo.tiles.measurements import Rows
from histo.tiles.pcam import open_tiles, read_slices
from histo.tiles.shards import write_shard

SOUND = {"bytes": TILE_BYTES, "width": SIDE, "height": SIDE, "mode": "RGB", "md5": "", "fault": "", "detail": ""}


def stream(rows: pd.DataFrame, images: dict[str, Path], found: Rows) -> Iterator[np.ndarray]:
    """Yield the tiles of `rows` (of the index, in the order of the files), uint8 [n, 96, 96, 3], and measure them."""
    for part, tiles in rows.groupby("entry", sort=False):
        known = tiles.to_dict("records")
        with open_tiles(images[part]) as dataset:
            start = stop = known[0]["offset"]
            for batch in read_slices(dataset, start, start + len(known)):
                for row, tile in zip(known[stop - start :], batch, strict=False):
                    sha1 = hashlib.sha1(tile, usedforsecurity=False).hexdigest()
                    if not sha1.startswith(row["id"].partition("-")[0]):
                        raise InputError(
                            f"{images[part]}: tile {row['offset']} has other pixels than when it was listed as "
                            f"{row['id']}. Run with `--forcerun pcam_gunzip`."
                        )
                    own = {key: row[key] for key in ("id", "split", "shard")}
                    found.add({**own, **SOUND, "pixels_sha1": sha1}, tile)
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

    images: the HDF5 files of the tiles of `parts`, which the split consists of in this order.
    """
    begun = time.perf_counter()
    rows = tables.read(index, tables.INDEX)
    rows = rows[(rows["split"] == split) & (rows["shard"] == shard)]
    rows = rows.assign(place=rows["entry"].map({name: k for k, name in enumerate(parts)}))
    rows = rows.sort_values(["place", "offset"])
    found = Rows()
    write_shard(
        output,
        split=split,
        number=shard,
        ids=rows["id"].to_numpy(),
        labels=rows["label"].to_numpy(np.int8),
        batches=stream(rows, dict(zip(parts, images, strict=True)), found),
        code=code,
    )
    tables.write(found.frame(), validation, tables.VALIDATION)
    seconds = max(time.perf_counter() - begun, 1e-9)
    logging.info("%d tiles, %.0f tiles/s", len(rows), len(rows) / seconds)


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
