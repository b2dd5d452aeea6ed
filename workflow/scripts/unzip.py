"""Unzip the tiles of one shard into a temporary folder, as ID.tif.

Jobs of one archive run side by side; each goes straight to its own entries. Every entry is checked against the size
and the CRC that the archive states. Where the source is a folder, its files are copied.
"""

import logging
from pathlib import Path

from histo import tables
from histo.errors import InputError
from histo.tiles.source import get_again, open_source
from histo.tiles.zip_archive import DamagedEntry, Entry

NAMED = 5  # damaged entries that an error names


def unzip(archive: Path, index: Path, folder: Path, *, split: str, shard: int) -> None:
    """Write the tiles of a shard to `folder`; InputError when entries of the archive are damaged."""
    rows = tables.read(index, tables.INDEX)
    rows = rows[(rows["split"] == split) & (rows["shard"] == shard) & (rows["entry"] != "")]
    folder.mkdir(parents=True, exist_ok=True)
    damaged = []
    with open_source(archive) as read:
        # In the order of the archive, so that it is read from front to back.
        for row in rows.sort_values("offset").itertuples():
            entry = Entry(row.entry, row.offset, row.compressed, row.size, row.crc, row.method)
            try:
                (folder / f"{row.id}.tif").write_bytes(read(entry))
            except DamagedEntry as error:
                damaged.append(f"{row.entry}: {error}")
    if damaged:
        more = f" (and {len(damaged) - NAMED} more)" if len(damaged) > NAMED else ""
        raise InputError(
            f"{archive}: {len(damaged)} of {len(rows)} entries of {split} shard {shard} are damaged: "
            f"{'; '.join(damaged[:NAMED])}{more}. {get_again(archive)}"
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
