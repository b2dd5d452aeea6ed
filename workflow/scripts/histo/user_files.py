"""Files that a user gives: what tells one content from another, wherever the file lies."""

import os
from functools import cache
from pathlib import Path

from histo.errors import InputError
from histo.hashes import file_sha256

SMALL = 2**25  # bytes up to which the content is read: 0.1 s, at every start of the workflow


def identity(path: str | Path) -> str:
    """Return what changes with the content of a file and not with its path.

    Of a file of at most `SMALL` bytes it is the SHA-256, of a larger one size and modification time in nanoseconds.
    Snakemake by itself asks only whether an input is newer than the output, which an older file of other content is
    not. Raises InputError for a file that cannot be read.
    """
    try:
        found = os.stat(path)
        return _identity(str(path), found.st_size, found.st_mtime_ns)
    except OSError as error:
        raise InputError(
            f"{path}: expected a file that can be read: {error.strerror}. Check path and rights."
        ) from None


@cache
def _identity(path: str, size: int, mtime_ns: int) -> str:
    return f"SHA-256 {file_sha256(Path(path))}" if size <= SMALL else f"{size} bytes of {mtime_ns} ns"
