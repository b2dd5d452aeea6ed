"""Tile files: the files of one shard's tiles in one file, since creating a file per tile costs more than inflating it.

The files lie one after another, in the order of the index rows that have an entry (sorted by id). Then follow N + 1
offsets and N, the number of tiles, as unsigned 64-bit integers, little endian: tile k is the bytes from offset k to
offset k + 1. `validate` compares the CRC-32 of each file with the index. To read such a file without this module:

    import struct

    def read_tiles(path):
        with open(path, "rb") as file:
            data = file.read()
        (count,) = struct.unpack("<Q", data[-8:])
        offsets = struct.unpack(f"<{count + 1}Q", data[-8 * (count + 2) : -8])
        return [data[start:stop] for start, stop in zip(offsets, offsets[1:])]
"""

import mmap
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt

from histo.errors import InputError
from histo.files import atomic_write

WRITTEN = 1 << 20  # bytes written at a time, at least
_WORD = np.dtype("<u8")


@dataclass(frozen=True)
class Block:
    """The files of some tiles of a shard that are neighbours.

    numbers: of the tiles, counted among those of the shard that have a file; data: the bytes of the files one after
    another, uint8; offsets: int64 [n + 1], of the files in `data`.
    """

    numbers: range
    data: npt.NDArray[np.uint8]
    offsets: npt.NDArray[np.int64]

    def files(self) -> list[npt.NDArray[np.uint8]]:
        """Return views of the bytes of each file."""
        ends = self.offsets.tolist()
        return [self.data[start:stop] for start, stop in pairwise(ends)]


@contextmanager
def writing(path: str | Path, sizes: npt.ArrayLike) -> Iterator[Callable[[int, bytes], None]]:
    """Write a tile file atomically; yield a function write(number, data), which writes tile `number` in any order.

    sizes: bytes of the N tiles. The block must write each tile once; ValueError for data of another size. Neighbouring
    tiles that follow one another are written together, in half the time. The file is not flushed to the disk: it is
    temporary, and the CRCs of its files are checked when they are read.
    """
    offsets = np.zeros(np.size(sizes) + 1, _WORD)
    np.cumsum(sizes, out=offsets[1:], dtype=_WORD)
    starts: list[int] = offsets.tolist()
    with atomic_write(path, sync=False) as temporary, open(temporary, "wb", buffering=0) as file:
        waiting: list[bytes] = []  # files of neighbouring tiles, up to tile `following`
        following = 0

        def write_at(data: bytes, start: int) -> None:
            view = memoryview(data)
            while view:  # the kernel writes fewer bytes than asked for when the disk becomes full, then raises OSError
                done = os.pwrite(file.fileno(), view, start)
                view, start = view[done:], start + done

        def write_waiting() -> None:
            write_at(b"".join(waiting), starts[following - len(waiting)])
            waiting.clear()

        def write(number: int, data: bytes) -> None:
            nonlocal following
            if len(data) != starts[number + 1] - starts[number]:
                raise ValueError(f"tile {number}: {starts[number + 1] - starts[number]} bytes, got {len(data)}")
            if number != following or starts[following] - starts[following - len(waiting)] >= WRITTEN:
                write_waiting()
            waiting.append(data)
            following = number + 1

        yield write
        write_waiting()
        write_at(offsets.tobytes() + np.array(len(starts) - 1, _WORD).tobytes(), starts[-1])


class TileFile:
    """A tile file, opened for reading.

    Attributes: path; data: uint8 [bytes of all tiles], a read-only memory map; offsets: int64 [N + 1], of the tiles in
    `data`; restore: what to do if a tile has changed, as a sentence.

    Raises InputError when the file is missing or truncated, when its offsets are not in ascending order, or when it
    does not have `count` tiles, the number of index rows that have an entry.
    """

    def __init__(self, path: str | Path, count: int) -> None:
        self.path, self.restore = Path(path), "Delete the file and run again."
        try:
            with open(self.path, "rb") as file:
                size = os.fstat(file.fileno()).st_size
                self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) if size else None
        except FileNotFoundError:
            raise InputError(f"{path}: no such file. Run the stage that writes it.") from None
        content = np.frombuffer(self._map if self._map is not None else b"", np.uint8)
        if size < 2 * _WORD.itemsize:
            raise self._error("a tile file, of at least 16 bytes", f"{size} bytes")
        found = int(content[-_WORD.itemsize :].view(_WORD)[0])
        if found != count:
            raise self._error(f"the {count} tiles of the index", f"{found} tiles (perhaps the file is truncated)")
        end = size - (count + 2) * _WORD.itemsize
        if end < 0:
            raise self._error(f"{count + 1} offsets", f"a file of {size} bytes")
        # A copy, since the offsets are not aligned in the file.
        offsets = np.frombuffer(content[end : -_WORD.itemsize].tobytes(), _WORD)
        if offsets[0] != 0 or offsets[-1] != end or (offsets[1:] < offsets[:-1]).any():
            raise self._error(f"offsets in ascending order from 0 to {end}", "other offsets")
        self.data: npt.NDArray[np.uint8] = content[:end]
        self.offsets: npt.NDArray[np.int64] = offsets.astype(np.int64)

    def _error(self, expected: str, found: str) -> InputError:
        return InputError(f"{self.path}: expected {expected}, found {found}. {self.restore}")

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, number: int) -> memoryview:
        """The bytes of one tile, 0 ≤ number < N."""
        return self.data[self.offsets[number] : self.offsets[number + 1]].data

    def blocks(self, count: int) -> Iterator[Block]:
        """Yield the files in order, `count` at a time; afterwards unmap the pages of each block.

        Without this, all tiles that were read would count as memory of the process.
        """
        for start in range(0, len(self), count):
            stop = min(start + count, len(self))
            yield Block(range(start, stop), self.data, self.offsets[start : stop + 1])
            first, last = (int(self.offsets[k]) // mmap.PAGESIZE * mmap.PAGESIZE for k in (start, stop))
            if self._map is not None and first < last:
                self._map.madvise(mmap.MADV_DONTNEED, first, last - first)
