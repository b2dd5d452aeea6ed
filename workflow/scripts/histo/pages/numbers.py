"""The numbers of a page as one table: every value of its JSON files, with its path inside the file."""

import csv
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from histo.files import atomic_write, read_json


def values(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield (path, value) of every value inside mappings and lists: ("folds.0.auc", 0.97)."""
    if isinstance(value, dict | list):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        for key, part in items:
            yield from values(part, f"{path}.{key}" if path else str(key))
    else:
        yield path, value


def write_numbers(output: Path, files: list[Path]) -> None:
    """Write the values of JSON files as CSV with the columns file, key and value; a missing value is empty.

    Files are named relative to the folder of the output.
    """
    with atomic_write(output) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["file", "key", "value"])
        for path in files:
            name = Path(os.path.relpath(path, output.parent)).as_posix()
            writer.writerows([name, *pair] for pair in values(read_json(path)))
