"""Validate the tiles of one shard: one row per tile, from one read of each file.

Each tile is proven by its own name: the id of a tile of this competition is the SHA-1 of its pixels. In the same pass
come the file's MD5, the verdict on decoding, brightness, colour and sharpness, and a hash of each of the tile's 36
aligned blocks of 16 × 16 pixels, from which `overlaps` finds tiles that share tissue.

What is wrong with a tile becomes a row, not an error: `audit` sees all of them and decides.
"""

import hashlib
import logging
import time
from pathlib import Path

import numpy as np
import pandas as pd

from histo import tables
from histo.tiles import SIDE, Decoder

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


def measure(images: np.ndarray) -> dict[str, np.ndarray]:
    """Measure tiles, uint8 [N, 96, 96, 3].

    Returns, in grey levels (0 to 255): brightness [N], mean and std [N, 3] per channel; sharpness [N], the variance
    of the Laplacian of the green channel; flat [N, 36], blocks whose green channel has a standard deviation below 4.
    """
    count = len(images)
    values = images.reshape(count * SIDE, SIDE * 3).astype(np.float32)
    values -= 128  # near the mean, so that squares keep their precision
    shape = (count, PER_SIDE, BLOCK, PER_SIDE, 3)
    sums = (values @ LINE_SUMS).reshape(shape).sum(2)
    values *= values
    squares = (values @ LINE_SUMS).reshape(shape).sum(2)
    block_mean = sums / BLOCK**2
    block_variance = squares / BLOCK**2 - block_mean**2
    mean = block_mean.mean((1, 2))
    variance = np.maximum(squares.mean((1, 2)) / BLOCK**2 - mean**2, 0)
    mean += 128

    green = images[..., 1].astype(np.int16)
    laplacian = green[:, 1:-1, 1:-1] * 4
    for rows, columns in ((slice(0, -2), slice(1, -1)), (slice(2, None), slice(1, -1))):
        laplacian -= green[:, rows, columns]
        laplacian -= green[:, columns, rows]
    flat_laplacian = laplacian.reshape(count, -1).astype(np.float32)
    sharpness = np.einsum("ij,ij->i", flat_laplacian, flat_laplacian) / flat_laplacian.shape[1]
    sharpness -= flat_laplacian.mean(1) ** 2
    return {
        "brightness": mean.mean(1),
        "mean": mean,
        "std": np.sqrt(variance),
        "sharpness": sharpness,
        "flat": (block_variance[..., 1] < FLAT**2).reshape(count, -1),
    }


def examine(row: dict, folder: Path, decoder: Decoder, *, id_is_sha1: bool) -> tuple[dict, np.ndarray | None]:
    """Return the verdict on one tile and its pixels, uint8 [96, 96, 3], if it has any.

    row: one row of the index. A fault that the tables already show (no label, listed twice) stays the tile's fault.
    """
    verdict = {"id": row["id"], "split": row["split"], "shard": row["shard"], "fault": row["fault"]}
    verdict |= {"detail": row["detail"], "bytes": 0, "width": 0, "height": 0, "mode": "", "md5": "", "pixels_sha1": ""}
    if not row["entry"]:
        return verdict, None
    data = (folder / f"{row['id']}.tif").read_bytes()
    decoded = decoder.decode(data)
    verdict |= {"bytes": len(data), "md5": hashlib.md5(data, usedforsecurity=False).hexdigest()}
    verdict |= {"width": decoded.width, "height": decoded.height, "mode": decoded.mode}
    if decoded.fault:
        # That a tile cannot be read weighs more than what the tables say of it.
        verdict |= {"fault": decoded.fault, "detail": decoded.detail}
    else:
        verdict["pixels_sha1"] = hashlib.sha1(decoded.pixels, usedforsecurity=False).hexdigest()
        if id_is_sha1 and verdict["pixels_sha1"] != row["id"]:
            verdict |= {"fault": "sha1_differs", "detail": f"pixels have SHA-1 {verdict['pixels_sha1']}"}
    return verdict, decoded.pixels


def validate(folder: Path, index: Path, output: Path, *, split: str, shard: int, id_is_sha1: bool) -> None:
    """Write one row per tile of a shard (`tables.VALIDATION`)."""
    rows = tables.read(index, tables.INDEX)
    rows = rows[(rows["split"] == split) & (rows["shard"] == shard)]
    start = time.perf_counter()
    decoder = Decoder()
    verdicts, batch, columns = [], [], []

    def flush() -> None:
        if batch:
            images = np.stack(batch)
            columns.append(measure(images) | {"blocks": block_hashes(images)})
            batch.clear()

    measured = []
    for row in rows.to_dict("records"):
        verdict, pixels = examine(row, folder, decoder, id_is_sha1=id_is_sha1)
        verdicts.append(verdict)
        measured.append(pixels is not None)
        if pixels is not None:
            batch.append(pixels)
        if len(batch) == BATCH:
            flush()
    flush()

    tables.write(_frame(verdicts, np.array(measured, bool), columns), output, tables.VALIDATION)
    seconds = time.perf_counter() - start
    faulty = sum(bool(verdict["fault"]) for verdict in verdicts)
    logging.info("%d tiles, %d with a fault, %.0f tiles/s", len(rows), faulty, len(rows) / max(seconds, 1e-9))


def _frame(verdicts: list[dict], measured: np.ndarray, columns: list[dict[str, np.ndarray]]) -> pd.DataFrame:
    """Join verdicts and measurements; a tile without pixels has NaN for the latter and no block hashes."""
    frame = pd.DataFrame.from_records(verdicts, columns=VERDICT)
    joined = {key: np.concatenate([part[key] for part in columns]) for key in columns[0]} if columns else {}
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
    frame["blocks"] = list(blocks)
    return frame


if __name__ == "__main__":
    from histo import run

    run.start(snakemake)  # noqa: F821
    validate(
        Path(snakemake.input.folder),  # noqa: F821
        Path(snakemake.input.index),  # noqa: F821
        Path(snakemake.output[0]),  # noqa: F821
        **snakemake.params.settings,  # noqa: F821
    )
