"""Where tiles lie: in a zip archive, or in a folder that was extracted from one. To the stages both look alike.

A folder is read with the same distrust as an archive. Only `train/`, `test/` and the tables beside them are looked at;
a link counts as the file that it leads to as long as that lies inside the folder, and whatever else is no plain file
(a pipe would hold its reader for ever) is refused. Its entries have no offset, no compression and no checksum.
"""

import os
import stat
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from histo.errors import InputError
from histo.tiles.zip_archive import LARGEST_TABLE, LARGEST_TILE, DamagedEntry, Entry, read_directory, read_entry

FOLDERS = ("", "train", "test")  # in which files are looked for, relative to the folder
TILES = (".tif", ".tiff")
TABLES = ("train_labels.csv", "sample_submission.csv")


def list_entries(path: Path) -> dict[str, Entry]:
    """Return the files of an archive or a folder by name, without reading their content; InputError when unusable."""
    return _list_folder(path) if path.is_dir() else read_directory(path)


@contextmanager
def open_source(path: Path) -> Iterator[Callable[[Entry], bytes]]:
    """Yield a function that returns the content of an entry, and raises DamagedEntry when it is not as it was listed.

    path: an archive or a folder; InputError when it cannot be opened.
    """
    if path.is_dir():
        root = _real(path)
        yield lambda entry: _read_file(root, entry)
        return
    if not path.is_file():
        raise InputError(f"{path}: expected the archive or folder that was indexed, found nothing. Put it back.")
    with open(path, "rb") as file:
        yield lambda entry: read_entry(file, entry)


def get_again(path: Path) -> str:
    """What to do about damaged entries of an archive or a folder."""
    return "Mend the folder, then run with `--forcerun index`." if path.is_dir() else "Get the archive again."


def _real(path: Path) -> Path:
    """`path` with all links followed. Unlike Path.resolve, realpath takes a circle of links for a file not there."""
    return Path(os.path.realpath(path))


def _list_folder(path: Path) -> dict[str, Entry]:
    root = _real(path)
    entries: dict[str, Entry] = {}
    for part in FOLDERS:
        folder = _real(root / part)
        if not folder.is_relative_to(root):
            raise _refused(path, part, "a folder", f"a link that leads out of it, to {folder}")
        if not folder.is_dir():
            continue  # that no tiles were found is said by who looks for them
        try:
            with os.scandir(folder) as found:
                for item in found:
                    if item.name.lower().endswith(TILES) if part else item.name in TABLES:
                        name = f"{part}/{item.name}" if part else item.name
                        size = _size(path, root, name, item)
                        entries[name] = Entry(name, 0, size, size, 0, zipfile.ZIP_STORED)
        except OSError as error:
            raise InputError(f"{path}: {part or 'it'} cannot be read ({error.strerror}). Check permissions.") from None
    return entries


def _size(path: Path, root: Path, name: str, item: os.DirEntry) -> int:
    """Bytes of a file of the folder; InputError unless it is a plain file inside it, of a credible size."""
    if item.is_symlink():
        target = _real(Path(item.path))
        if not target.is_relative_to(root):
            raise _refused(path, name, "a file inside the folder", f"a link that leads out of it, to {str(target)!r}")
        if not target.exists():
            raise _refused(path, name, "a file", "a link to nothing")
    status = item.stat()
    if not stat.S_ISREG(status.st_mode):
        raise _refused(path, name, "a file", "a folder" if stat.S_ISDIR(status.st_mode) else "a pipe or a device")
    largest = LARGEST_TABLE if name in TABLES else LARGEST_TILE
    if status.st_size > largest:
        raise _refused(path, name, f"at most {largest:,} bytes", f"{status.st_size:,}")
    return status.st_size


def _refused(path: Path, name: str, expected: str, found: str) -> InputError:
    return InputError(f"{path}: {name!r}: expected {expected}, found {found}. Mend the folder, or name another one.")


def _read_file(root: Path, entry: Entry) -> bytes:
    path = _real(root / entry.name)
    if not path.is_relative_to(root):
        raise DamagedEntry("is now a link that leads out of the folder")
    try:
        # Neither a link nor a pipe that has taken its place meanwhile is waited for.
        with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise DamagedEntry("is now no plain file")
            data = file.read(entry.size + 1)
    except OSError as error:
        raise DamagedEntry(f"cannot be read ({error.strerror})") from None
    if len(data) != entry.size:
        more = "more than " if len(data) > entry.size else ""
        raise DamagedEntry(f"{entry.size:,} bytes expected, {more}{min(len(data), entry.size):,} there")
    return data
