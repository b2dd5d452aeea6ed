"""What is measured of every tile: brightness, colour, sharpness, and the hashes of its blocks."""

import numpy as np
import pandas as pd

from histo import tables
from histo.tiles.geometry import SIDE

BATCH = 32  # tiles measured at once; their pixels stay in the processor's cache
BLOCK = 16  # pixels: tiles of one slide were cut at offsets that are multiples of it
PER_SIDE = SIDE // BLOCK
WORDS = BLOCK * BLOCK * 3 // 8
FLAT = 4.0  # grey levels: a block whose green channel varies less is background, equal by chance

VERDICT = [name for name in tables.VALIDATION.names if name not in (*tables.COLOUR, "blocks")]

# Multilinear hashing (Lemire & Kaser, The Computer Journal 57(11), 2014): odd 64-bit multipliers, fixed for all time.
MULTIPLIERS = np.random.Generator(np.random.PCG64(20181107)).integers(0, 2**64, WORDS, dtype=np.uint64) | np.uint64(1)

# Sums over the 6 blocks of a line of 96 interleaved RGB pixels, as a matrix [288, 18]: column 3 * block + channel.
LINE_SUMS = np.zeros((SIDE * 3, PER_SIDE * 3), np.float32)
LINE_SUMS[np.arange(SIDE * 3), np.arange(SIDE * 3) // (BLOCK * 3) * 3 + np.arange(SIDE * 3) % 3] = 1


def block_hashes(images: np.ndarray) -> np.ndarray:
    """Hash every aligned 16 × 16 block: uint8 [N, 96, 96, 3] → uint64 [N, 36], row by row, never 0."""
    count = len(images)
    blocks = images.reshape(count, PER_SIDE, BLOCK, PER_SIDE, BLOCK * 3).transpose(0, 1, 3, 2, 4)
    words = np.ascontiguousarray(blocks).reshape(count, PER_SIDE**2, -1).view(np.uint64)
    hashes = np.einsum("nbw,w->nb", words, MULTIPLIERS)
    hashes ^= hashes >> np.uint64(31)
    return np.maximum(hashes, np.uint64(1))


def block_sums(values: np.ndarray) -> np.ndarray:
    """Sums over the blocks of tiles, float32 [N, 6, 16, 288] → [N, 6, 6, 3]; over lines first, which is the cheaper."""
    return (values.sum(2) @ LINE_SUMS).reshape(len(values), PER_SIDE, PER_SIDE, 3)


def measure(images: np.ndarray) -> dict[str, np.ndarray]:
    """Measure tiles, uint8 [N, 96, 96, 3].

    Returns, in grey levels (0 to 255): brightness [N], mean and std [N, 3] per channel; sharpness [N], the variance
    of the Laplacian of the green channel; flat [N, 36], blocks whose green channel has a standard deviation below 4.
    """
    count = len(images)
    values = images.reshape(count, PER_SIDE, BLOCK, SIDE * 3).astype(np.float32)
    values -= 128  # near the mean, so that squares keep their precision
    sums = block_sums(values)
    values *= values
    squares = block_sums(values)
    block_mean = sums / BLOCK**2
    block_variance = squares / BLOCK**2 - block_mean**2
    mean = block_mean.mean((1, 2))
    variance = np.maximum(squares.mean((1, 2)) / BLOCK**2 - mean**2, 0)
    mean += 128

    # Over the tiles as one run of pixels, since long runs are added fastest; what wraps around an edge is cut off.
    green = images[..., 1].astype(np.int16).reshape(-1)
    laplacian = np.zeros_like(green)
    inner = laplacian[SIDE:-SIDE]
    np.multiply(green[SIDE:-SIDE], 4, out=inner)
    for shift in (-SIDE, -1, 1, SIDE):
        inner -= green[SIDE + shift : len(green) - SIDE + shift]
    laplacian = laplacian.reshape(count, SIDE, SIDE)[:, 1:-1, 1:-1]
    flat_laplacian = laplacian.astype(np.float32, order="C").reshape(count, -1)
    sharpness = np.einsum("ij,ij->i", flat_laplacian, flat_laplacian) / flat_laplacian.shape[1]
    sharpness -= flat_laplacian.mean(1) ** 2
    return {
        "brightness": mean.mean(1),
        "mean": mean,
        "std": np.sqrt(variance),
        "sharpness": sharpness,
        "flat": (block_variance[..., 1] < FLAT**2).reshape(count, -1),
    }


class Rows:
    """Collects the validation table of one shard, tile by tile; measures some tiles at once."""

    def __init__(self) -> None:
        self._verdicts: list[dict] = []
        self._measured: list[bool] = []
        self._batch: list[np.ndarray] = []
        self._columns: list[dict[str, np.ndarray]] = []

    def add(self, verdict: dict, pixels: np.ndarray | None) -> None:
        """Add a tile: what is known of it (all columns that are not measured) and its pixels, uint8 [96, 96, 3]."""
        self._verdicts.append(verdict)
        self._measured.append(pixels is not None)
        if pixels is not None:
            self._batch.append(pixels)
        if len(self._batch) == BATCH:
            self._measure()

    def frame(self) -> pd.DataFrame:
        """Return the table (`tables.VALIDATION`); a tile without pixels has NaN for measurements and no hashes."""
        if self._batch:
            self._measure()
        frame = pd.DataFrame.from_records(self._verdicts, columns=VERDICT)
        parts, measured = self._columns, np.array(self._measured, bool)
        joined = {key: np.concatenate([part[key] for part in parts]) for key in parts[0]} if parts else {}
        values = {name: np.full(len(frame), np.nan, np.float32) for name in tables.COLOUR}
        blocks = np.zeros((len(frame), tables.BLOCKS), np.uint64)
        if joined:
            values["brightness"][measured] = joined["brightness"]
            values["sharpness"][measured] = joined["sharpness"]
            for channel, letter in enumerate("rgb"):
                values[f"mean_{letter}"][measured] = joined["mean"][:, channel]
                values[f"std_{letter}"][measured] = joined["std"][:, channel]
            blocks[measured] = np.where(joined["flat"], np.uint64(0), joined["blocks"])
        frame = frame.assign(**values)
        # Typed, since a shard without tiles has no list to tell the type by.
        frame["blocks"] = pd.Series(list(blocks), index=frame.index, dtype=object)
        return frame

    def _measure(self) -> None:
        images = np.stack(self._batch)
        self._columns.append(measure(images) | {"blocks": block_hashes(images)})
        self._batch.clear()
