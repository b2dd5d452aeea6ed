"""Zip archives as untrusted input.

The directory of the archive is read once, by `index`; every later stage seeks to the entries that it needs. Names of
entries are never used as paths, and no entry is inflated beyond the size that the directory states.
"""

import logging
import mmap
import stat
import struct
import time
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from isal.igzip_lib import DECOMP_DEFLATE, IgzipDecompressor, IsalError
from isal.isal_zlib import crc32

from histo.errors import InputError

TILES = (".tif", ".tiff", ".png", ".jpg", ".jpeg")  # endings of tiles' names, lower case
LARGEST_TILE = 16 << 20  # bytes; a tile has 27,935
LARGEST_TABLE = 256 << 20  # bytes; the largest table of the competition has 9.5 million
CHUNK = 1 << 20  # compressed bytes read at a time, so that checking a large entry needs little memory
PIECE = 4 << 20  # bytes inflated at a time
SLICE = 1000  # entries per task of the pool
REPORT = 10.0  # seconds between two log lines of progress
_LOCAL_HEADER = struct.Struct("<4s5H3L2H")
_METHODS = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Entry:
    """One file in an archive. Sizes and offset (of the local header) in bytes; method: 0 stored, 8 deflated."""

    name: str
    offset: int
    compressed: int
    size: int
    crc: int
    method: int


class DamagedEntry(Exception):
    """The content of an entry is not what the directory of the archive states."""


def read_directory(path: str | Path) -> dict[str, Entry]:
    """Return the files of a zip archive by name, without reading their content.

    Raises InputError when the file is not a complete zip archive, and when an entry is encrypted, is a symbolic link,
    leads out of the archive, occurs twice, is neither stored nor deflated, or claims more than LARGEST_TILE (a tile)
    or LARGEST_TABLE bytes.
    """
    path = Path(path)
    if not path.is_file():
        found = "a folder" if path.is_dir() else "nothing"
        raise InputError(f"{path}: expected a zip archive, found {found}. Check `dataset.archive`.")
    try:
        with zipfile.ZipFile(path) as file:
            infos = file.infolist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, struct.error, UnicodeDecodeError) as error:
        with open(path, "rb") as file:
            start = file.read(4)
        found = f"{path.stat().st_size} bytes that begin with {start.hex(' ') or 'nothing'} ({error})"
        cut = " It begins like a zip archive, so it was probably cut short." if start == b"PK\3\4" else ""
        raise InputError(f"{path}: expected a complete zip archive, found {found}.{cut} Get it again.") from None

    entries: dict[str, Entry] = {}
    for info in infos:
        if info.is_dir():
            continue
        _check(path, info)
        if info.filename in entries:
            raise _hostile(path, info.filename, "one entry of each name", "two")
        entries[info.filename] = _entry(info)
    return entries


def _entry(info: zipfile.ZipInfo) -> Entry:
    return Entry(info.filename, info.header_offset, info.compress_size, info.file_size, info.CRC, info.compress_type)


def _check(path: Path, info: zipfile.ZipInfo) -> None:
    name = info.filename
    parts = name.replace("\\", "/").split("/")
    if ".." in parts or parts[0] == "" or ":" in parts[0]:
        raise _hostile(path, name, "names inside the archive", "one that leads out of it")
    if stat.S_ISLNK(info.external_attr >> 16):
        raise _hostile(path, name, "files", "a symbolic link")
    if info.flag_bits & 1:
        raise _hostile(path, name, "readable entries", "an encrypted one")
    if info.compress_type not in _METHODS:
        raise _hostile(path, name, "stored or deflated entries", f"compression method {info.compress_type}")
    largest = LARGEST_TILE if name.lower().endswith(TILES) else LARGEST_TABLE
    if not 0 <= info.header_offset <= info.header_offset + info.compress_size <= path.stat().st_size:
        raise _hostile(
            path, name, "an entry inside the archive", f"{info.compress_size:,} bytes at {info.header_offset:,}"
        )
    if info.file_size > largest:
        raise _hostile(path, name, f"at most {largest:,} bytes", f"{info.file_size:,}")


def _hostile(path: Path, name: str, expected: str, found: str) -> InputError:
    return InputError(f"{path}: entry {name!r}: expected {expected}, found {found}. Get the archive from its source.")


def read_entry(file: BinaryIO, entry: Entry) -> bytes:
    """Return the content of an entry of the open archive `file`; DamagedEntry when its size or its CRC differs."""

    def read(offset: int, size: int) -> bytes:
        file.seek(offset)
        return file.read(size)

    return b"".join(_content(read, entry))


def _content(read: Callable[[int, int], bytes], entry: Entry) -> Iterator[bytes]:
    """Yield the content of an entry in pieces of at most PIECE bytes.

    read(offset, size) returns bytes of the archive, fewer at its end. Raises DamagedEntry, when all pieces have been
    yielded at the latest, unless the content has the size and the CRC that the directory states.
    """
    header = read(entry.offset, _LOCAL_HEADER.size)
    if len(header) < _LOCAL_HEADER.size or header[:4] != b"PK\3\4":
        raise DamagedEntry("no entry begins where the directory of the archive says")
    *_, name_length, extra_length = _LOCAL_HEADER.unpack(header)
    start = entry.offset + _LOCAL_HEADER.size + name_length + extra_length
    inflate = IgzipDecompressor(DECOMP_DEFLATE) if entry.method == zipfile.ZIP_DEFLATED else None
    size = crc = 0
    for done in range(0, entry.compressed, CHUNK):
        wanted = min(CHUNK, entry.compressed - done)
        data = read(start + done, wanted)
        if len(data) != wanted:
            raise DamagedEntry(f"{entry.compressed:,} compressed bytes expected, {done + len(data):,} there")
        while True:
            piece = data
            if inflate:
                try:
                    # One byte more than the directory states reveals a zip bomb without inflating it.
                    piece = inflate.decompress(data, min(PIECE, entry.size - size + 1))
                except IsalError as error:  # type: ignore[misc]  # isal's stubs declare it as a value
                    raise DamagedEntry(f"does not inflate ({error})") from None
                data = b""  # the decompressor keeps what it has not used yet
                if not piece and not inflate.needs_input and not inflate.eof:
                    raise DamagedEntry("does not inflate (no progress)")  # instead of an endless loop
            size, crc = size + len(piece), crc32(piece, crc)
            if size > entry.size:
                raise DamagedEntry(f"{entry.size:,} bytes expected, more than {entry.size:,} there")
            yield piece
            if not inflate or inflate.needs_input or inflate.eof:
                break
        if inflate and inflate.eof:
            break
    if size != entry.size:
        raise DamagedEntry(f"{entry.size:,} bytes expected, {size:,} there")
    if crc != entry.crc:
        raise DamagedEntry(f"CRC {entry.crc:08x} expected, {crc:08x} found")


def crc_faults(path: Path, entries: list[zipfile.ZipInfo], pool: ThreadPoolExecutor) -> list[str]:
    """Return a line for each damaged entry of an archive: its name and what is wrong with it.

    isal releases the interpreter's lock, so the threads of the pool work in parallel.
    """
    entries = sorted(entries, key=lambda entry: entry.header_offset)
    total, done, last = sum(entry.compress_size for entry in entries), 0, time.monotonic()
    faults: list[str] = []
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        slices = [entries[start : start + SLICE] for start in range(0, len(entries), SLICE)]
        jobs: list[Future[list[str]]] = [pool.submit(_slice_faults, content, part) for part in slices]
        try:
            for part, job in zip(slices, jobs, strict=True):
                faults += job.result()
                done += sum(entry.compress_size for entry in part)
                if time.monotonic() - last >= REPORT:
                    log.info("%.2f of %.2f GB verified (%.0f %%)", done / 1e9, total / 1e9, 100 * done / total)
                    last = time.monotonic()
        finally:
            for job in jobs:
                job.cancel()
            for job in jobs:  # none may read the map once it is closed
                if not job.cancelled():
                    job.exception()
    return faults


def _slice_faults(content: mmap.mmap, entries: list[zipfile.ZipInfo]) -> list[str]:
    return [f"{entry.filename}: {fault}" for entry in entries if (fault := _fault(content, entry))]


def _fault(content: mmap.mmap, entry: zipfile.ZipInfo) -> str | None:
    """Return what is wrong with an entry, None for a sound one."""
    if entry.flag_bits & 1:
        return "encrypted"
    if entry.compress_type not in _METHODS:
        return f"stored or deflated expected, compression method {entry.compress_type} found"
    try:
        for _ in _content(lambda offset, size: content[offset : offset + size], _entry(entry)):
            pass
    except DamagedEntry as error:
        return str(error)
    return None
