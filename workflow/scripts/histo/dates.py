"""Dates of files, by which Snakemake tells what is older than what it was made from."""

import shlex
import time
from datetime import datetime
from pathlib import Path

from histo.errors import InputError

TOLERANCE = 60  # seconds by which the clocks of several machines may differ


def require_past(folder: Path) -> None:
    """Raise InputError if a file below a folder is dated in the future: nothing made from it now would be newer."""
    now = time.time()
    files = ((path.stat().st_mtime, path) for path in folder.rglob("*") if path.is_file())
    date, path = max(files, default=(0.0, folder))
    if date > now + TOLERANCE:
        found, expected = (datetime.fromtimestamp(one).isoformat(" ", "seconds") for one in (date, now))
        raise InputError(
            f"{path}: dated {found}, but the clock of this machine says {expected}. Correct the clock, or give all "
            f"such files its date and run again: find {shlex.quote(str(folder))} -newermt @{int(now)} "
            f"-exec touch -d @{int(now)} {{}} +"
        )
