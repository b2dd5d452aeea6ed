"""Unzip the tiles of one shard into one temporary file (`histo.tiles.tile_file`).

Jobs for several shards run in parallel; each reads only its own entries of the archive. Every entry is checked against
the size and the CRC in the archive's directory. The files of a folder are not copied: this stage does not run.
"""

import logging
from pathlib import Path

import numpy as np

from histo import tables
from histo.errors import InputError
from histo.tiles import tile_file
from histo.tiles.source import how_to_restore, open_source
from histo.tiles.zip_archive import DamagedEntry, Entry

FIELDS = ["entry", "offset", "compressed", "size", "crc", "method"]  # of the index, in the order of `Entry`
MAX_LISTED = 5  # damaged entries named in an error message


def unzip(archive: Path, index: Path, output: Path, *, split: str, shard: int) -> None:
    """Write the tiles of a shard to a tile file; InputError when entries of the archive are damaged."""
    rows = tables.read_index_of_shard(index, split, shard, FIELDS)
    rows = rows[rows["entry"] != ""]
    entries = [Entry(*values) for values in zip(*(rows[name].tolist() for name in FIELDS), strict=True)]
    damaged = []
    with open_source(archive) as read, tile_file.writing(output, rows["size"].to_numpy()) as write:
        # In the order of the archive, so that reads are sequential.
        for number in np.argsort(rows["offset"].to_numpy(), kind="stable").tolist():
            entry = entries[number]
            try:
                write(number, read(entry))
            except DamagedEntry as error:
                damaged.append(f"{entry.name}: {error}")
        if damaged:
            more = f" (and {len(damaged) - MAX_LISTED} more)" if len(damaged) > MAX_LISTED else ""
            raise InputError(
                f"{archive}: {len(damaged)} of {len(rows)} entries of {split} shard {shard} are damaged: "
                f"{'; '.join(damaged[:MAX_LISTED])}{more}. {how_to_restore(archive)}"
            )
    logging.info("%d tiles, %.1f MB", len(rows), rows["size"].sum() / 1e6)


if __name__ == "__main__":
    from histo import job

    job.start(snakemake)
    unzip(
        Path(snakemake.params.archive),
        Path(snakemake.input.index),
        Path(snakemake.output[0]),
        **snakemake.params.settings,
    )
