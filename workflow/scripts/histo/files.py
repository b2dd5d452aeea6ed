"""Files that are written atomically, and JSON files."""

import glob
import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

from histo.errors import InputError


@contextmanager
def atomic_write(path: str | Path, *, sync: bool = True) -> Iterator[Path]:
    """Yield a temporary path beside `path`; move it to `path` when the block succeeds, remove it when it fails.

    The content is flushed to the disk before it is renamed, so that a crash leaves the old file or the new one. Without
    `sync` a power failure may leave a damaged file: only for a file whose reader notices that.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # The suffix stays last: some writers choose the format by the suffix.
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.part{path.suffix}")
    for left in path.parent.glob(f".{glob.escape(path.stem)}.*.part{glob.escape(path.suffix)}"):
        if re.fullmatch("[0-9]+", left.name[len(path.stem) + 2 : -len(f".part{path.suffix}")]):
            left.unlink(missing_ok=True)  # of a job that was killed: no two jobs write one file
    try:
        yield temporary
        if sync:
            with open(temporary, "rb+") as file:
                os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: str | Path, value: Any) -> None:
    """Write `value` as indented JSON, atomically; ValueError for NaN and infinity, which JSON does not have."""
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(value, indent=1, allow_nan=False) + "\n")


class MissingKeyError(InputError, KeyError):
    """A mapping of a JSON file lacks a key. Also a KeyError, which templates of pages take for an optional key."""

    __str__ = Exception.__str__  # that of KeyError shows the message in quotes


class _Mapping(dict[str, Any]):
    """A mapping of a JSON file; a key that it lacks is a MissingKeyError."""

    def __init__(self, path: str | Path, value: dict[str, Any]) -> None:
        super().__init__(value)
        self._path = path

    def __missing__(self, key: str) -> NoReturn:
        raise MissingKeyError(
            f"{self._path}: expected the key {key!r}, found {', '.join(map(repr, self)) or 'no key'}. Delete the "
            "file and run again."
        )


def read_json(path: str | Path) -> Any:
    """Return the mapping that a JSON file holds; InputError when the file is missing or holds something else.

    A key that the mapping, or one within it, lacks raises MissingKeyError, an InputError.
    """
    try:
        value = json.loads(Path(path).read_text(), object_hook=lambda value: _Mapping(path, value))
    except FileNotFoundError:
        raise InputError(f"{path}: no such file. Run the stage that writes it.") from None
    except (ValueError, RecursionError) as error:
        raise InputError(
            f"{path}: expected JSON, found something else ({error}). Delete the file and run again."
        ) from None
    if not isinstance(value, dict):
        kind = type(value).__name__
        raise InputError(f"{path}: expected a mapping in JSON, found a {kind}. Delete the file and run again.")
    return value
