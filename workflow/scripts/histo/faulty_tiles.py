"""Faulty tiles in messages and logs.

Not in histo/faults.py, whose texts only pages show: what they say must rerun no other stage.
"""

import pandas as pd

from histo.errors import InputError

MAX_LISTED = 10  # faulty tiles named in an error message


def describe(faulty: pd.DataFrame) -> list[str]:
    """Return one line per faulty tile: split, id, fault, detail."""
    return [f"{row.split}/{row.id}: {row.fault}: {row.detail}" for row in faulty.itertuples()]


def refused(faulty: pd.DataFrame, total: int) -> InputError:
    """Return the error for faulty tiles with `audit.on_fault: fail`; total: number of tiles."""
    lines = describe(faulty)
    listed = "\n".join(["", *lines[:MAX_LISTED]])
    listed += f"\n… and {len(lines) - MAX_LISTED} more" if len(lines) > MAX_LISTED else ""
    advice = "Fix the archive, or set `audit: {on_fault: leave_out}` to exclude these tiles."
    if (faulty["fault"] == "sha1_differs").any():
        advice += " If ids of this data set are no SHA-1 of the pixels, set `validate: {id_is_sha1: false}`."
    return InputError(f"{len(faulty)} of {total} tiles have a fault (this log lists all):{listed}\n{advice}")
