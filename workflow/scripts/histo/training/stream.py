"""Tiles read from disk in any order, at the speed of the disk and in bounded memory.

Tiles in random order lie apart, and a disk that is asked for one at a time is mostly waited for. So threads keep many
reads under way, in the order of the files and a window of many batches ahead. Where the file system lets them they read
past the page cache (O_DIRECT), straight to where the batch is made: no page is read, kept or copied for the sake of the
few bytes of it that belong to the tile, and a tile costs the same however many lie around it.
"""

import os
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import pairwise

import numpy as np

from histo.errors import InputError
from histo.tiles.geometry import SHAPE, TILE_BYTES
from histo.tiles.shards import Shard

WINDOW = 512  # tiles that are read at once, 14 MB; two or three windows are held
READERS = 16  # reads that the disk sees at once
RUN = 32  # neighbouring tiles that are read in one go: 0.9 MB
RUNS = 4  # runs that a thread is given at once
SECTOR = 512  # bytes; to read past the page cache, offsets and addresses must be multiples of it


def aligned(count: int) -> np.ndarray:
    """Memory for so many tiles, uint8 [count, 96, 96, 3], each of which begins at a multiple of SECTOR."""
    raw = np.empty(count * TILE_BYTES + SECTOR, dtype=np.uint8)
    start = -raw.ctypes.data % SECTOR
    return raw[start : start + count * TILE_BYTES].reshape(count, *SHAPE)


class Source:
    """A shard's file, open for reading; `direct`: past the page cache."""

    def __init__(self, shard: Shard) -> None:
        self._path, self._offset = shard.path, shard.offset
        self.direct = len(shard) > 0 and self._open_direct()
        if not self.direct:
            self._file = os.open(self._path, os.O_RDONLY)
            os.posix_fadvise(self._file, 0, 0, os.POSIX_FADV_RANDOM)

    def _open_direct(self) -> bool:
        """Open past the page cache, unless a tile cannot be read so: for want of support in the file system, or because
        the disk's sectors are larger."""
        try:
            file = os.open(self._path, os.O_RDONLY | os.O_DIRECT)
        except OSError:
            return False
        try:
            os.preadv(file, list(aligned(1)), self._offset)
        except OSError:
            os.close(file)
            return False
        self._file = file
        return True

    def read(self, row: int, images: list[np.ndarray]) -> None:
        """Read the tiles from `row` on into `images`; InputError when the file ends before they do."""
        offset, size = self._offset + row * TILE_BYTES, len(images) * TILE_BYTES
        if os.preadv(self._file, images, offset) != size:
            raise InputError(f"{self._path}: cut short while it was read. Delete the file and run again.")
        if not self.direct:
            os.posix_fadvise(self._file, offset, size, os.POSIX_FADV_DONTNEED)

    def close(self) -> None:
        os.close(self._file)


Run = tuple[Source, int, list[np.ndarray]]


def stream(
    shards: dict[int, Shard], shard: np.ndarray, row: np.ndarray, order: list[np.ndarray]
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield for each batch of `order` its positions and images, uint8 [n, 96, 96, 3].

    shards: by number; shard, row: of the tile at each position; order: arrays of positions. A batch is a part of its
    window, which stays in memory while one of its batches is used. InputError, naming the file, when one was cut short
    since it was opened.
    """
    windows: list[list[np.ndarray]] = [[]]
    for positions in order:
        if windows[-1] and sum(map(len, windows[-1])) + len(positions) > WINDOW:
            windows.append([])
        windows[-1].append(positions)
    sources: dict[int, Source] = {}
    readers = ThreadPoolExecutor(READERS, "stream")

    def begin(window: list[np.ndarray]) -> tuple[np.ndarray, list[Future[None]]]:
        """Where the tiles of a window will be, and what to wait for."""
        positions = np.concatenate(window) if window else np.empty(0, dtype=np.int64)
        images = aligned(len(positions))
        runs = list(neighbours(sources, shard[positions], row[positions], images))
        return images, [readers.submit(read, runs[start : start + RUNS]) for start in range(0, len(runs), RUNS)]

    try:
        for number, opened in shards.items():
            sources[number] = Source(opened)
        following = begin(windows[0])
        for index, window in enumerate(windows):
            images, reads = following
            if index + 1 < len(windows):
                # Queued behind the reads of this window, so that the disk never waits for us.
                following = begin(windows[index + 1])
            for done in reads:
                done.result()
            start = 0
            for positions in window:
                yield positions, images[start : start + len(positions)]
                start += len(positions)
    finally:
        # No file may be closed under a thread that reads it.
        readers.shutdown(cancel_futures=True)
        for source in sources.values():
            source.close()


def neighbours(sources: dict[int, Source], shard: np.ndarray, row: np.ndarray, images: np.ndarray) -> Iterator[Run]:
    """Tiles in the order of the files, those that follow each other put together, with their places in `images`."""
    places = np.lexsort((row, shard))
    shard, row = shard[places], row[places]
    apart = np.flatnonzero((np.diff(shard) != 0) | (np.diff(row) != 1)) + 1
    for start, stop in pairwise([0, *apart.tolist(), len(places)]):
        for first in range(start, stop, RUN):
            run = places[first : min(first + RUN, stop)]
            yield sources[int(shard[first])], int(row[first]), [images[place] for place in run]


def read(runs: list[Run]) -> None:
    """Read some runs one after another."""
    for source, row, images in runs:
        source.read(row, images)
