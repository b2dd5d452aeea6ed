"""Tile files: the files of one shard's tiles in one file, since creating a file per tile costs more than inflating it.

The files lie one after another, in the order of the index rows that have an entry (sorted by id). Then follow N + 1
offsets and N, the number of tiles, as unsigned 64-bit integers, little endian: tile k is the bytes from offset k to
offset k + 1. To read such a file without this module:

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
from pathlib import Path

import numpy as np
import numpy.typing as npt

from histo.errors import InputError
from histo.files import atomic_write

_WORD = np.dtype("<u8")


@contextmanager
def writing(path: str | Path, sizes: npt.ArrayLike) -> Iterator[Callable[[int, bytes], None]]:
    """Write a tile file atomically; yield a function write(number, data), which writes tile `number` in any order.

    sizes: bytes of the N tiles. The block must write each tile once; ValueError for data of another size.
    """
    offsets = np.zeros(np.size(sizes) + 1, _WORD)
    np.cumsum(sizes, out=offsets[1:], dtype=_WORD)
    starts: list[int] = offsets.tolist()
    with atomic_write(path) as temporary, open(temporary, "wb", buffering=0) as file:

        def write_at(data: bytes, start: int) -> None:
            view = memoryview(data)
            while view:  # the kernel writes fewer bytes than asked for when the disk becomes full, then raises OSError
                done = os.pwrite(file.fileno(), view, start)
                view, start = view[done:], start + done

        def write(number: int, data: bytes) -> None:
            if len(data) != starts[number + 1] - starts[number]:
                raise ValueError(f"tile {number}: {starts[number + 1] - starts[number]} bytes, got {len(data)}")
            write_at(data, starts[number])

        yield write
        write_at(offsets.tobytes() + np.array(len(starts) - 1, _WORD).tobytes(), starts[-1])


class TileFile:
    """A tile file, opened for reading.

    Attributes: path; data: uint8 [bytes of all tiles], a read-only memory map; offsets: int64 [N + 1], of the tiles in
    `data`.

    Raises InputError when the file is missing or truncated, when its offsets are not in ascending order, or when it
    does not have `count` tiles, the number of index rows that have an entry.
    """

    def __init__(self, path: str | Path, count: int) -> None:
        self.path = Path(path)
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
        return InputError(f"{self.path}: expected {expected}, found {found}. Delete the file and run again.")

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, number: int) -> memoryview:
        """The bytes of one tile, 0 ≤ number < N."""
        return self.data[self.offsets[number] : self.offsets[number + 1]].data

    def slices(self, count: int) -> Iterator[range]:
        """Yield the numbers of the tiles, in order, `count` at a time; afterwards unmap the pages of each slice.

        Without this, all tiles that were read would count as memory of the process.
        """
        for start in range(0, len(self), count):
            stop = min(start + count, len(self))
            yield range(start, stop)
            first, last = (int(self.offsets[k]) // mmap.PAGESIZE * mmap.PAGESIZE for k in (start, stop))
            if self._map is not None and first < last:
                self._map.madvise(mmap.MADV_DONTNEED, first, last - first)
