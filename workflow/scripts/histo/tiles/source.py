"""The source of the tiles: a zip archive, or a folder extracted from one, behind one interface.

The files of a shard's tiles are read block by block, from the tile file that `unzip` wrote or straight from the folder.

A folder is trusted as little as an archive. Only `train/`, `test/` and the tables beside them are read. A symbolic link
counts as its target as long as the target lies inside the folder; everything else that is not a regular file is
rejected (reading from a pipe would block for ever). Entries of a folder have no offset, no compression and no checksum.
"""

import os
import stat
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd

from histo.errors import InputError
from histo.tiles.tile_file import Block, TileFile
from histo.tiles.zip_archive import LARGEST_TABLE, LARGEST_TILE, TILES, DamagedEntry, Entry, read_directory, read_entry

FOLDERS = ("", "train", "test")  # searched for files, relative to the source folder
TABLES = ("train_labels.csv", "sample_submission.csv")


def list_entries(path: Path) -> dict[str, Entry]:
    """Return the files of an archive or a folder by name, without reading their content.

    Raises InputError when the archive or folder is not usable.
    """
    return _list_folder(path) if path.is_dir() else read_directory(path)


def count_tiles(path: Path) -> int:
    """Return the number of tiles of an archive or a folder, without checking anything; 0 if it cannot be read.

    That of a folder is the number of rows of its tables.
    """
    try:
        if path.is_dir():
            return sum((path / table).read_bytes().count(b"\n") for table in TABLES)
        with zipfile.ZipFile(path) as file:
            return sum(name.lower().endswith(TILES) for name in file.namelist())
    except (OSError, ValueError, NotImplementedError, zipfile.BadZipFile):
        return 0  # index says what is wrong


@contextmanager
def open_source(path: Path) -> Iterator[Callable[[Entry], bytes]]:
    """Yield a function that returns the content of an entry, or raises DamagedEntry when it differs from the listing.

    path: an archive or a folder. Raises InputError when it cannot be opened.
    """
    if path.is_dir():
        root = _real(path)
        yield lambda entry: _read_file(root, entry)
        return
    if not path.is_file():
        raise InputError(f"{path}: expected the archive or folder that was indexed, found nothing. Put it back.")
    with open(path, "rb") as file:
        yield lambda entry: read_entry(file, entry)


class FolderFiles:
    """The files of a shard's tiles in a folder, read as those of a `TileFile` are; nothing is copied.

    rows: of the index that have a file. Attributes: path; restore: what to do if a tile has changed, as a sentence.
    """

    def __init__(self, path: Path, rows: pd.DataFrame) -> None:
        self.path, self.restore = path, how_to_restore(path)
        self._root = _real(path)
        columns = (rows[name].tolist() for name in ("entry", "size"))
        self._entries = [Entry(name, 0, size, size, 0, zipfile.ZIP_STORED) for name, size in zip(*columns, strict=True)]

    def __len__(self) -> int:
        return len(self._entries)

    def blocks(self, count: int) -> Iterator[Block]:
        """Yield the files in order, `count` at a time; InputError for one that differs from the index."""
        for start in range(0, len(self), count):
            parts = [self._read(entry) for entry in self._entries[start : start + count]]
            offsets = np.cumsum([0, *map(len, parts)], dtype=np.int64)
            yield Block(range(start, start + len(parts)), np.frombuffer(b"".join(parts), np.uint8), offsets)

    def _read(self, entry: Entry) -> bytes:
        try:
            return _read_file(self._root, entry)
        except DamagedEntry as error:
            raise InputError(f"{self.path}: {entry.name}: {error}. {self.restore}") from None


def open_files(path: Path, rows: pd.DataFrame) -> TileFile | FolderFiles:
    """Open the files of a shard's tiles: its tile file, or the folder that was indexed.

    rows: of the index that have a file, at least `entry` and `size`. Raises InputError when neither is there.
    """
    if not path.exists():
        raise InputError(
            f"{path}: expected the tiles that were indexed, found nothing. Put the folder back, or run the stage that "
            "writes the file."
        )
    return FolderFiles(path, rows) if path.is_dir() else TileFile(path, len(rows))


def how_to_restore(path: Path) -> str:
    """Return what to do about damaged entries of an archive or a folder, as a sentence for an error message."""
    if path.is_dir():
        return "Fix the folder, then run with `--forcerun index`."
    return "Get the archive again."


def _real(path: Path) -> Path:
    """Return `path` with all links resolved. For a circular link, realpath returns a missing file; resolve raises."""
    return Path(os.path.realpath(path))


def _list_folder(path: Path) -> dict[str, Entry]:
    root = _real(path)
    entries: dict[str, Entry] = {}
    for part in FOLDERS:
        folder = _real(root / part)
        if not folder.is_relative_to(root):
            raise _rejected(path, part, "a folder", f"a link that leads out of it, to {folder}")
        if not folder.is_dir():
            continue  # the caller reports missing tiles
        try:
            with os.scandir(folder) as items:
                for item in items:
                    if item.name.lower().endswith(TILES) if part else item.name in TABLES:
                        name = f"{part}/{item.name}" if part else item.name
                        size = _file_size(path, root, name, item)
                        entries[name] = Entry(name, 0, size, size, 0, zipfile.ZIP_STORED)
        except OSError as error:
            raise InputError(f"{path}: {part or 'it'} cannot be read ({error.strerror}). Check permissions.") from None
    return entries


def _file_size(path: Path, root: Path, name: str, item: os.DirEntry[str]) -> int:
    """Return the bytes of a file of the folder; InputError unless it is a regular file inside, of a plausible size."""
    if item.is_symlink():
        target = _real(Path(item.path))
        if not target.is_relative_to(root):
            raise _rejected(path, name, "a file inside the folder", f"a link that leads out of it, to {str(target)!r}")
        if not target.exists():
            raise _rejected(path, name, "a file", "a broken link")
    status = item.stat()
    if not stat.S_ISREG(status.st_mode):
        raise _rejected(path, name, "a file", "a folder" if stat.S_ISDIR(status.st_mode) else "a pipe or a device")
    largest = LARGEST_TABLE if name in TABLES else LARGEST_TILE
    if status.st_size > largest:
        raise _rejected(path, name, f"at most {largest:,} bytes", f"{status.st_size:,}")
    return status.st_size


def _rejected(path: Path, name: str, expected: str, found: str) -> InputError:
    return InputError(f"{path}: {name!r}: expected {expected}, found {found}. Fix the folder, or use another one.")


def _read_file(root: Path, entry: Entry) -> bytes:
    path = _real(root / entry.name)
    if not path.is_relative_to(root):
        raise DamagedEntry("is now a link that leads out of the folder")
    try:
        # The file may have been replaced by a link or a pipe meanwhile: do not follow the one or wait for the other.
        with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise DamagedEntry("is no longer a regular file")
            data = file.read(entry.size + 1)
    except OSError as error:
        raise DamagedEntry(f"cannot be read ({error.strerror})") from None
    if len(data) != entry.size:
        more = "more than " if len(data) > entry.size else ""
        raise DamagedEntry(f"expected {entry.size:,} bytes, found {more}{min(len(data), entry.size):,}")
    return data
