"""Unpack the tiles of one part of PatchCamelyon into a temporary file: HDF5 needs random access."""

import gzip
import logging
import shutil
from pathlib import Path

from histo.errors import InputError
from histo.files import atomic_write
from histo.formatting import size_text
from histo.tiles.pcam import GZIP_ERRORS

CHUNK = 1 << 20  # bytes


def pcam_gunzip(packed: Path, output: Path) -> None:
    """Write the content of a gzip file; InputError when it is damaged."""
    try:
        with atomic_write(output) as temporary, gzip.open(packed) as source, open(temporary, "wb") as target:
            shutil.copyfileobj(source, target, CHUNK)
    except GZIP_ERRORS as error:
        raise InputError(
            f"{packed}: expected a complete gzip file, found a damaged one ({error}). Delete it and run again."
        ) from None
    logging.info("%s → %s", size_text(packed.stat().st_size), size_text(output.stat().st_size))


if __name__ == "__main__":
    from histo import job

    job.start(snakemake)
    pcam_gunzip(Path(snakemake.input[0]), Path(snakemake.output[0]))
