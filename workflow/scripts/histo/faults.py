"""Faults of tiles: in every table, the column `fault` has one of these codes or is empty."""

import pandas as pd

from histo.errors import InputError

MAX_LISTED = 10  # faulty tiles named in an error message

FAULTS = {
    "missing_file": "listed in a table, but no file in the archive",
    "unlisted_file": "a file in the archive, but not listed in a table",
    "no_label": "no label in train_labels.csv",
    "bad_label": "a label that is not one of the classes",
    "repeated_id": "listed more than once",
    "empty_file": "a file of zero bytes",
    "unreadable": "cannot be decoded as an image",
    "wrong_size": "another size than the other tiles",
    "wrong_mode": "not three channels of 8 bits",
    "sha1_differs": "SHA-1 of the pixels differs from the id",
    "conflicting_copies": "same pixels as a tile with another id and another label",
}


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
