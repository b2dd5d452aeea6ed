"""Zip archives, read with distrust.

The directory of the archive is read once, by `index`; every later stage goes straight to the bytes of the entries
that it needs. Names of entries are never used as paths.
"""

import stat
import struct
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from histo.errors import InputError

LARGEST_TILE = 16 << 20  # bytes; a tile has 27,935
LARGEST_TABLE = 256 << 20  # bytes; the largest table of the competition has 9.5 million
_LOCAL_HEADER = struct.Struct("<4s5H3L2H")
_METHODS = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}


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
