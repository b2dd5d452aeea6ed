"""Read all images of the shards and compare their SHA-256 with the one stored when they were written.

Runs on request only: whenever a stage opens a shard, it performs the checks that take no time (datasets, format
version, number of tiles, file size).
"""

import logging
from pathlib import Path

from histo.errors import InputError
from histo.tiles.shards import Shard


def verify(shards: list[Path]) -> None:
    """Verify all shards; InputError that names each damaged one."""
    errors = []
    for path in shards:
        try:
            shard = Shard(path)
            shard.verify()
            logging.info("%s: %d tiles, verified", path, len(shard))
        except InputError as error:
            errors.append(str(error))
    if errors:
        raise InputError("\n".join(errors))


if __name__ == "__main__":
    from histo import job

    job.start(snakemake)
    verify([Path(path) for path in snakemake.input])
