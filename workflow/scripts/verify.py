"""Read every byte of the shards and compare it with the SHA-256 that their writer noted.

On request only: every other stage checks what costs nothing (form, version, counts, length) whenever it opens a shard.
"""

import logging
from pathlib import Path

from histo.errors import InputError
from histo.tiles.shards import Shard


def verify(shards: list[Path]) -> None:
    """Verify all shards; InputError that names each one that is damaged."""
    errors = []
    for path in shards:
        try:
            shard = Shard(path)
            shard.verify()
            logging.info("%s: %d tiles, all right", path, len(shard))
        except InputError as error:
            errors.append(str(error))
    if errors:
        raise InputError("\n".join(errors))


if __name__ == "__main__":
    from histo import job

    job.start(snakemake)
    verify([Path(path) for path in snakemake.input])
