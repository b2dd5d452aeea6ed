"""The pixels of a tile that JPEG compression leaves comparable: the inner 14 × 14 pixels of each block of 16 × 16.

JPEG codes a tile in blocks: 8 × 8 pixels of brightness and, where colour is stored at half resolution (4:2:0),
16 × 16 pixels of colour (ITU-T T.81). Tiles of one slide were cut on a grid of 16 pixels, so tissue that two tiles
share lies in the same blocks of both and is decoded to the same values. Only the outermost line of pixels of a block
differs: decoders interpolate colour between neighbouring blocks, and the neighbours differ at the edge of a tile.
"""

from functools import cache

import numpy as np
import numpy.typing as npt

from histo.geometry import BLOCK
from histo.tiles.measurements import FLAT_STD, block_hashes

BATCH = 32  # tiles hashed at a time; their pixels stay in the processor's cache


@cache
def _inner(side: int) -> npt.NDArray[np.uint8]:
    """Return which pixels of a tile are inner ones, uint8 [side, side, 1]: 255 inside a block, 0 at its edges."""
    line = np.tile(np.r_[0, np.full(BLOCK - 2, 255), 0], side // BLOCK).astype(np.uint8)
    return np.bitwise_and.outer(line, line)[..., np.newaxis]


def inner_pixels(images: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Return tiles whose pixels at the edge of a block are 0: uint8 [N, side, side, 3] → the same shape."""
    return images & _inner(images.shape[1])


def inner_hashes(images: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint64]:
    """Hash the inner pixels of every aligned block: uint8 [N, side, side, 3] → uint64 [N, blocks], row by row.

    A block is flat, and its hash 0, where the green channel of its inner pixels has a standard deviation below 4.
    """
    side = images.shape[1]
    across = side // BLOCK
    hashes = np.empty((len(images), across**2), np.uint64)
    for start in range(0, len(images), BATCH):
        batch = images[start : start + BATCH]
        lines = batch[..., 1].reshape(-1, across, BLOCK, side)[:, :, 1:-1].astype(np.float32) - 128
        lines = lines.reshape(-1, across, BLOCK - 2, across, BLOCK)[..., 1:-1]
        count = (BLOCK - 2) ** 2
        variance = (lines**2).sum((2, 4)) / count - (lines.sum((2, 4)) / count) ** 2
        flat = (variance < FLAT_STD**2).reshape(len(batch), -1)
        hashes[start : start + BATCH] = np.where(flat, np.uint64(0), block_hashes(inner_pixels(batch)))
    return hashes
