"""Measurements of every tile: brightness, colour, sharpness, share without stain, and hashes of its blocks."""

from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from histo import tables
from histo.geometry import BLOCK, SIDE

BATCH = 32  # tiles measured at a time; their pixels stay in the processor's cache
WORDS_PER_BLOCK = BLOCK * BLOCK * 3 // 8  # of 64 bits
FLAT_STD = 4.0  # grey levels; a block whose green channel varies less is background, which is often equal by chance
# Grey level of green, which haematoxylin and eosin both absorb; a brighter pixel shows glass, fat or a lumen. On 1,031
# original tiles, the share of such pixels has a rank correlation of 0.96 with that below Otsu's threshold of
# saturation.
UNSTAINED = 200
SHIFT = 128  # grey levels; the mean of squares minus the squared mean is most precise for values near 0

RECORD_COLUMNS = [name for name in tables.VALIDATION.names if name not in (*tables.MEASUREMENTS, "blocks")]

# Multilinear hashing (Lemire & Kaser, The Computer Journal 57(11), 2014): odd 64-bit multipliers. Never change them:
# the hashes are stored in tables.
MULTIPLIERS = np.random.Generator(np.random.PCG64(20181107)).integers(
    0, 2**64, WORDS_PER_BLOCK, dtype=np.uint64
) | np.uint64(1)


@cache
def line_sums(values: int) -> npt.NDArray[np.float32]:
    """Return the matrix that maps a line of interleaved RGB pixels to sums over its blocks.

    float32 [values, values // 16]: column 3 * block + channel.
    """
    sums = np.zeros((values, values // BLOCK), np.float32)
    sums[np.arange(values), np.arange(values) // (BLOCK * 3) * 3 + np.arange(values) % 3] = 1
    return sums


def block_hashes(images: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint64]:
    """Hash every aligned 16 × 16 block: uint8 [N, 96, 96, 3] → uint64 [N, 36], row by row, never 0.

    Tiles of another side have another number of blocks.
    """
    count, across = len(images), images.shape[1] // BLOCK
    blocks = images.reshape(count, across, BLOCK, across, BLOCK * 3).transpose(0, 1, 3, 2, 4)
    words = np.ascontiguousarray(blocks).reshape(count, across**2, -1).view(np.uint64)
    hashes: npt.NDArray[np.uint64] = np.einsum("nbw,w->nb", words, MULTIPLIERS)
    hashes ^= hashes >> np.uint64(31)
    return np.maximum(hashes, np.uint64(1))


def block_sums(images: npt.NDArray[np.uint8]) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Return the sums of (value - 128) and of its square over the blocks of tiles: uint8 [N, 96, 96, 3] → [N, 6, 6, 3].

    float32; all are whole numbers below 2^24, hence exact.
    """
    count, side = images.shape[:2]
    values = images.reshape(count, side // BLOCK, BLOCK, side * 3).astype(np.float32)
    # Summing over the lines of a block first is cheaper, and einsum faster than sum. Values and squares are shifted
    # after summing, not pixel by pixel; every number on the way is a whole number below 2^24 too.
    lines = line_sums(side * 3)
    sums = np.einsum("nbls->nbs", values) @ lines
    squares = np.einsum("nbls,nbls->nbs", values, values) @ lines
    squares -= 2 * SHIFT * sums
    squares += SHIFT**2 * BLOCK**2
    sums -= SHIFT * BLOCK**2
    shape = (count, side // BLOCK, side // BLOCK, 3)
    return sums.reshape(shape), squares.reshape(shape)


def measure(images: npt.NDArray[np.uint8]) -> dict[str, npt.NDArray[Any]]:
    """Measure tiles, uint8 [N, 96, 96, 3].

    Returns, in grey levels (0 to 255): brightness [N], mean and std [N, 3] per channel; sharpness [N], the variance
    of the Laplacian of the green channel; flat [N, 36], blocks whose green channel has a standard deviation below 4;
    blank_share [N], from 0 to 1, pixels whose green channel is above 200.
    """
    count, side = images.shape[:2]
    sums, squares = block_sums(images)
    block_mean = sums / BLOCK**2
    block_variance = squares / BLOCK**2 - block_mean**2
    mean = block_mean.mean((1, 2))
    variance = np.maximum(squares.mean((1, 2)) / BLOCK**2 - mean**2, 0)
    mean += SHIFT

    # Computed over all tiles as one line of pixels, since long lines are fastest; the wrong values at the edges of a
    # tile are cut off.
    green = images[..., 1].astype(np.int16).reshape(-1)
    laplacian = green * np.int16(4)
    inner = laplacian[side:-side]
    for shift in (-side, -1, 1, side):
        inner -= green[side + shift : len(green) - side + shift]
    laplacian = laplacian.reshape(count, side, side)[:, 1:-1, 1:-1]
    flat_laplacian = laplacian.astype(np.float32, order="C").reshape(count, -1)
    sharpness = np.einsum("ij,ij->i", flat_laplacian, flat_laplacian) / flat_laplacian.shape[1]
    sharpness -= flat_laplacian.mean(1) ** 2
    unstained = (green > UNSTAINED).reshape(count, -1)
    return {
        "brightness": mean.mean(1),
        "mean": mean,
        "std": np.sqrt(variance),
        "sharpness": sharpness,
        "flat": (block_variance[..., 1] < FLAT_STD**2).reshape(count, -1),
        # A count of each tile takes a third of the time of a mean over all.
        "blank_share": np.array([np.count_nonzero(pixels) for pixels in unstained]) / side**2,
    }


class Measurements:
    """Measure the tiles of one shard, of `side` × `side` pixels, added in order, in batches of 32."""

    def __init__(self, side: int = SIDE) -> None:
        self._blocks = (side // BLOCK) ** 2  # per tile
        self._waiting: list[npt.NDArray[np.uint8]] = []  # arrays of fewer than 32 tiles in all
        self._measured: list[dict[str, npt.NDArray[Any]]] = []

    def add(self, images: npt.NDArray[np.uint8]) -> None:
        """Add tiles, uint8 [n, 96, 96, 3]; the caller must not change them afterwards."""
        while len(images):
            missing = BATCH - sum(len(part) for part in self._waiting)
            self._waiting.append(images[:missing])
            if len(images) >= missing:
                self._measure()
            images = images[missing:]

    def columns(self, rows: npt.NDArray[np.bool_]) -> dict[str, Any]:
        """Return the measured columns of `tables.validation`.

        rows: bool [N], which rows of the table have the added tiles; the others get NaN and hashes of 0.
        """
        if self._waiting:
            self._measure()
        parts = self._measured
        joined = {key: np.concatenate([part[key] for part in parts]) for key in parts[0]} if parts else {}
        values: dict[str, Any] = {name: np.full(len(rows), np.nan, np.float32) for name in tables.MEASUREMENTS}
        blocks = np.zeros((len(rows), self._blocks), np.uint64)
        if joined:
            for name in ("brightness", "sharpness", "blank_share"):
                values[name][rows] = joined[name]
            for channel, letter in enumerate("rgb"):
                values[f"mean_{letter}"][rows] = joined["mean"][:, channel]
                values[f"std_{letter}"][rows] = joined["std"][:, channel]
            blocks[rows] = np.where(joined["flat"], np.uint64(0), joined["blocks"])
        # An explicit dtype, since it cannot be inferred for a shard without tiles.
        return values | {"blocks": pd.Series(list(blocks), dtype=object)}

    def _measure(self) -> None:
        images = self._waiting[0] if len(self._waiting) == 1 else np.concatenate(self._waiting)
        self._measured.append(measure(images) | {"blocks": block_hashes(images)})
        self._waiting.clear()


class ValidationRows:
    """Collect the validation table of one shard, tile by tile."""

    def __init__(self) -> None:
        self._records: list[dict[str, Any]] = []
        self._has_pixels: list[bool] = []
        self._measurements = Measurements()

    def add(self, record: dict[str, Any], pixels: npt.NDArray[np.uint8] | None) -> None:
        """Add a tile: its `RECORD_COLUMNS`, and its pixels, uint8 [96, 96, 3], if it has any."""
        self._records.append(record)
        self._has_pixels.append(pixels is not None)
        if pixels is not None:
            self._measurements.add(pixels[np.newaxis])

    def frame(self) -> pd.DataFrame:
        """Return the table (`tables.VALIDATION`); a tile without pixels has NaN measurements and hashes of 0."""
        frame = pd.DataFrame.from_records(self._records, columns=RECORD_COLUMNS)
        return frame.assign(**self._measurements.columns(np.array(self._has_pixels, bool)))
