"""Zip archives, read with distrust.

The directory of the archive is read once, by `index`; every later stage goes straight to the bytes of the entries
that it needs. Names of entries are never used as paths.
"""

import logging
import mmap
import stat
import struct
import time
import zipfile
import zlib
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from histo.errors import InputError
from histo.formatting import size_text

LARGEST_TILE = 16 << 20  # bytes; a tile has 27,935
LARGEST_TABLE = 256 << 20  # bytes; the largest table of the competition has 9.5 million
CHUNK = 1 << 20  # compressed bytes unpacked at a time, so that a large entry needs little memory
SLICE = 1000  # entries per job
REPORT = 10.0  # seconds between two lines of progress
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
    """The bytes of an entry are not what the directory of the archive says of them."""


def read_directory(path: str | Path) -> dict[str, Entry]:
    """Return the files of a zip archive by name, without reading their content.

    Raises InputError when it is no complete zip archive, or when an entry is encrypted, a link, leads out of the
    archive, comes twice, is compressed by an unusual method or claims more than LARGEST_TABLE bytes.
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
        cut = " It begins as one, so it was probably cut short:" if start == b"PK\3\4" else ""
        raise InputError(f"{path}: expected a complete zip archive, found {found}.{cut} get it again.") from None

    entries: dict[str, Entry] = {}
    for info in infos:
        if info.is_dir():
            continue
        _check(path, info)
        if info.filename in entries:
            raise _hostile(path, info.filename, "one entry of each name", "two")
        entries[info.filename] = Entry(
            info.filename, info.header_offset, info.compress_size, info.file_size, info.CRC, info.compress_type
        )
    return entries


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
    largest = LARGEST_TILE if name.lower().endswith((".tif", ".tiff")) else LARGEST_TABLE
    if not 0 <= info.header_offset <= info.header_offset + info.compress_size <= path.stat().st_size:
        raise _hostile(
            path, name, "an entry inside the archive", f"{info.compress_size:,} bytes at {info.header_offset:,}"
        )
    if info.file_size > largest:
        raise _hostile(path, name, f"at most {largest:,} bytes", f"{info.file_size:,}")


def _hostile(path: Path, name: str, expected: str, found: str) -> InputError:
    return InputError(f"{path}: entry {name!r}: expected {expected}, found {found}. Get the archive from its source.")


def read_entry(file: BinaryIO, entry: Entry) -> bytes:
    """Return the content of an entry of the open archive `file`; DamagedEntry when a size or the CRC differs."""
    file.seek(entry.offset)
    header = file.read(_LOCAL_HEADER.size)
    if len(header) < _LOCAL_HEADER.size or header[:4] != b"PK\3\4":
        raise DamagedEntry("no entry begins where the directory of the archive says")
    *_, name_length, extra_length = _LOCAL_HEADER.unpack(header)
    file.seek(name_length + extra_length, 1)
    data = file.read(entry.compressed)
    if len(data) != entry.compressed:
        raise DamagedEntry(f"{entry.compressed:,} bytes expected, {len(data):,} there")
    if entry.method == zipfile.ZIP_DEFLATED:
        inflate = zlib.decompressobj(-zlib.MAX_WBITS)
        try:
            # One byte more than the directory claims shows a bomb without inflating it.
            data = inflate.decompress(data, entry.size + 1)
        except zlib.error as error:
            raise DamagedEntry(f"does not inflate ({error})") from None
    if len(data) != entry.size:
        more = "more than " if len(data) > entry.size else ""
        raise DamagedEntry(f"{entry.size:,} bytes expected, {more}{min(len(data), entry.size):,} there")
    if zlib.crc32(data) != entry.crc:
        raise DamagedEntry(f"CRC {entry.crc:08x} expected, {zlib.crc32(data):08x} found")
    return data


def crc_faults(path: Path, entries: list[zipfile.ZipInfo], pool: ThreadPoolExecutor) -> list[str]:
    """What is wrong with which entry. zlib works outside Python's lock, so that threads share the work."""
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
                    log.info("%s of %s proven (%.0f %%)", size_text(done), size_text(total), 100 * done / total)
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
    """What is wrong with one entry: its local header, its compressed bytes, its length or its CRC."""
    header = content[entry.header_offset : entry.header_offset + 30]
    if len(header) < 30 or header[:4] != b"PK\3\4":
        return "no entry where the directory says"
    if entry.flag_bits & 1 or entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        return "encrypted, or compressed in a way that is not expected here"
    start = entry.header_offset + 30 + sum(struct.unpack("<HH", header[26:30]))
    end = start + entry.compress_size
    inflate = zlib.decompressobj(-15) if entry.compress_type == zipfile.ZIP_DEFLATED else None
    crc = length = 0
    try:
        for begin in range(start, end, CHUNK):
            data = content[begin : min(begin + CHUNK, end)]
            while data:
                plain = inflate.decompress(data, 4 * CHUNK) if inflate else data
                data = inflate.unconsumed_tail if inflate else b""
                crc, length = zlib.crc32(plain, crc), length + len(plain)
    except zlib.error:
        return "its bytes cannot be unpacked"
    if length != entry.file_size:
        return f"{length} bytes instead of {entry.file_size}"
    return None if crc == entry.CRC else "its CRC differs"
