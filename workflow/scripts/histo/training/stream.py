"""Reading tiles from disk in any order, at the full speed of the disk and in bounded memory.

Reading tiles in random order one at a time is limited by the latency of the disk. Therefore threads keep many reads in
flight, sorted by file position within a window of several batches, and read one window ahead. Where the file system
supports it, they bypass the page cache (O_DIRECT) and read directly into the memory of the batch: no page is read, kept
or copied for the few bytes of it that belong to a tile, and the cost per tile does not depend on the size of the data.
"""

import os
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import pairwise

import numpy as np

from histo.errors import InputError
from histo.geometry import SIDE
from histo.tiles.shards import Shard, geometry_of

WINDOW = 512  # tiles per window, 14 MB; two or three windows are in memory
READERS = 16  # threads, that is concurrent reads
RUN = 32  # consecutive tiles per read at most: 0.9 MB
RUNS = 4  # runs per task of a thread
SECTOR = 512  # bytes; O_DIRECT needs offsets and addresses that are multiples of it


def aligned(count: int, side: int = SIDE) -> np.ndarray:
    """Uninitialised memory for tiles, uint8 [count, side, side, 3], each of which starts at a multiple of SECTOR.

    side: a multiple of 32, so that tiles fill whole sectors.
    """
    size = count * side**2 * 3
    raw = np.empty(size + SECTOR, dtype=np.uint8)
    start = -raw.ctypes.data % SECTOR
    return raw[start : start + size].reshape(count, side, side, 3)


class Source:
    """Open file of a shard. Attribute `direct`: whether reads bypass the page cache."""

    def __init__(self, shard: Shard) -> None:
        self._path, self._offset, self._geometry = shard.path, shard.offset, shard.geometry
        self.direct = len(shard) > 0 and self._open_direct()
        if not self.direct:
            self._file = os.open(self._path, os.O_RDONLY)
            os.posix_fadvise(self._file, 0, 0, os.POSIX_FADV_RANDOM)

    def _open_direct(self) -> bool:
        """Open with O_DIRECT; return False if a tile cannot be read that way.

        The file system may not support it, or the sectors of the disk may be larger than SECTOR.
        """
        try:
            file = os.open(self._path, os.O_RDONLY | os.O_DIRECT)
        except OSError:
            return False
        try:
            os.preadv(file, list(aligned(1, self._geometry.tile_side)), self._offset)
        except OSError:
            os.close(file)
            return False
        self._file = file
        return True

    def read(self, row: int, images: list[np.ndarray]) -> None:
        """Read the tiles from `row` on into `images`. Raises InputError if the file was truncated."""
        tile_bytes = self._geometry.tile_bytes
        offset, size = self._offset + row * tile_bytes, len(images) * tile_bytes
        # numpy declares the buffer protocol only for Python 3.12 and later.
        if os.preadv(self._file, images, offset) != size:  # type: ignore[arg-type]
            raise InputError(f"{self._path}: truncated while it was read. Delete the file and run again.")
        if not self.direct:
            os.posix_fadvise(self._file, offset, size, os.POSIX_FADV_DONTNEED)

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)


Run = tuple[Source, int, list[np.ndarray]]  # consecutive tiles: file, first row, memory of each tile


def stream(
    shards: dict[int, Shard], shard: np.ndarray, row: np.ndarray, order: list[np.ndarray]
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield for each batch of `order` its positions and images, uint8 [n, side, side, 3].

    shards: by number; shard, row: of the tile at each position; order: arrays of positions. The images of a batch are
    a view of its window, which stays in memory as long as one of its batches is used. Raises InputError, naming the
    file, if a shard was truncated after it was opened.
    """
    side = geometry_of(shards).tile_side
    windows: list[list[np.ndarray]] = [[]]
    for positions in order:
        if windows[-1] and sum(map(len, windows[-1])) + len(positions) > WINDOW:
            windows.append([])
        windows[-1].append(positions)
    sources: dict[int, Source] = {}
    readers = ThreadPoolExecutor(READERS, "stream")

    def submit(window: list[np.ndarray]) -> tuple[np.ndarray, list[Future[None]]]:
        """Start to read a window; return its images and the reads to wait for."""
        positions = np.concatenate(window) if window else np.empty(0, dtype=np.int64)
        images = aligned(len(positions), side)
        runs = list(consecutive_runs(sources, shard[positions], row[positions], images))
        return images, [readers.submit(read, runs[start : start + RUNS]) for start in range(0, len(runs), RUNS)]

    try:
        for number, opened in shards.items():
            sources[number] = Source(opened)
        submitted = submit(windows[0])
        for index, window in enumerate(windows):
            images, reads = submitted
            if index + 1 < len(windows):
                # Queued behind the reads of this window, so that the disk is never idle.
                submitted = submit(windows[index + 1])
            for future in reads:
                future.result()
            start = 0
            for positions in window:
                yield positions, images[start : start + len(positions)]
                start += len(positions)
    finally:
        # Wait for the threads before the files that they read are closed.
        readers.shutdown(cancel_futures=True)
        for source in sources.values():
            source.close()


def consecutive_runs(
    sources: dict[int, Source], shard: np.ndarray, row: np.ndarray, images: np.ndarray
) -> Iterator[Run]:
    """Group the tiles of a window into runs of consecutive rows, sorted by shard and row.

    shard, row: int [n], of the tile for each of the n `images`.
    """
    order = np.lexsort((row, shard))
    shard, row = shard[order], row[order]
    breaks = np.flatnonzero((np.diff(shard) != 0) | (np.diff(row) != 1)) + 1
    for start, stop in pairwise([0, *breaks.tolist(), len(order)]):
        for first in range(start, stop, RUN):
            run = order[first : min(first + RUN, stop)]
            yield sources[int(shard[first])], int(row[first]), [images[index] for index in run]


def read(runs: list[Run]) -> None:
    """Read runs one after another."""
    for source, row, images in runs:
        source.read(row, images)
