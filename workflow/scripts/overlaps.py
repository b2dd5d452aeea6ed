"""Find the tiles that share tissue, from their pixels alone.

Tiles of one slide were cut on a grid of 16 pixels, and where two of them overlap, the shared region is equal to the
bit. So tiles that overlap share whole aligned blocks: joined on the hashes of their blocks, each match proposes a
pair and an offset, and the pixels of the whole shared region decide.

Blocks of bare background are equal by chance. Flat ones have no hash; one that occurs more often than tiles can lie
over one place of a slide is passed over and counted.
"""

import logging
import time
from pathlib import Path

import numpy as np
import pandas as pd

from histo import tables
from histo.files import write_json
from histo.tiles.geometry import SIDE
from histo.tiles.shards import Shard, open_shards

PER_SIDE = 6
BLOCK = SIDE // PER_SIDE  # pixels
BLOCKS = PER_SIDE**2
MOST = BLOCKS  # tiles on the grid that can contain one and the same block
REACH = PER_SIDE - 1  # largest offset, in blocks, at which two tiles still share one
SPAN = 2 * REACH + 1
CHUNK = 256  # pairs whose pixels are compared at once, 14 MB


def propose(hashes: np.ndarray) -> tuple[np.ndarray, dict[str, int]]:
    """Join block hashes, uint64 [N, 36] with 0 for flat blocks, and propose pairs of tiles.

    Returns int64 [M, 4] of distinct (a, b, dy, dx) with a < b, where (dy, dx) is the origin of b minus that of a in
    blocks; and counts of what was joined and what was passed over.
    """
    flat = hashes.ravel()
    places = np.flatnonzero(flat)
    order = places[np.argsort(flat[places], kind="stable")]
    values = flat[order]
    starts = np.flatnonzero(np.r_[True, values[1:] != values[:-1]]) if len(values) else np.empty(0, np.int64)
    lengths = np.diff(np.r_[starts, len(values)])
    counts = {
        "blocks": int(flat.size),
        "flat_blocks": int(flat.size - len(places)),
        "passed_over_hashes": int((lengths > MOST).sum()),
        "passed_over_blocks": int(lengths[lengths > MOST].sum()),
    }
    repeated = np.repeat((lengths > 1) & (lengths <= MOST), lengths)
    order, run = order[repeated], np.repeat(np.arange(len(lengths)), lengths)[repeated]
    keys = np.empty(0, np.int64)
    for lag in range(1, MOST):
        here = np.flatnonzero(run[lag:] == run[:-lag])
        if not len(here):
            break
        # `order` is stable, so within a run tiles rise and the first of a pair is the lower one.
        (a, block_a), (b, block_b) = np.divmod(order[here], BLOCKS), np.divmod(order[here + lag], BLOCKS)
        dy = block_a // PER_SIDE - block_b // PER_SIDE
        dx = block_a % PER_SIDE - block_b % PER_SIDE
        other = a != b
        key = ((a * len(hashes) + b) * SPAN + dy + REACH) * SPAN + dx + REACH
        keys = np.union1d(keys, key[other])
    rest, dx = np.divmod(keys, SPAN)
    rest, dy = np.divmod(rest, SPAN)
    a, b = np.divmod(rest, max(len(hashes), 1))
    counts["proposed_pairs"] = len(keys)
    return np.stack([a, b, dy - REACH, dx - REACH], axis=1), counts


def shared(dy: int, dx: int, step: int = 1) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """Return the shared region as slices (rows, columns) of a and of b, for an offset in units of `step` pixels."""
    slices = []
    for offset in (dy, dx):
        low, high = max(offset, 0), PER_SIDE + min(offset, 0)
        slices.append((slice(low * step, high * step), slice((low - offset) * step, (high - offset) * step)))
    return (slices[0][0], slices[1][0]), (slices[0][1], slices[1][1])


def gather(shards: dict[int, Shard], shard: np.ndarray, row: np.ndarray) -> np.ndarray:
    """Return the tiles at (shard, row), uint8 [N, 96, 96, 3]."""
    images = np.empty((len(row), SIDE, SIDE, 3), np.uint8)
    for number in np.unique(shard):
        here = np.flatnonzero(shard == number)
        images[here] = shards[number].images[row[here]]
    return images


def agree(pairs: np.ndarray, hashes: np.ndarray) -> np.ndarray:
    """Return which pairs, int64 [M, 4], have equal hashes over their whole shared region: bool [M]."""
    agrees = np.zeros(len(pairs), bool)
    grid = hashes.reshape(-1, PER_SIDE, PER_SIDE)
    for (dy, dx), here in by_offset(pairs):
        in_a, in_b = shared(dy, dx)
        for part in np.array_split(here, len(here) // 100_000 + 1):
            a, b = grid[pairs[part, 0]], grid[pairs[part, 1]]
            agrees[part] = (a[:, *in_a] == b[:, *in_b]).all((1, 2))
    return agrees


def confirm(pairs: np.ndarray, shard: np.ndarray, row: np.ndarray, shards: dict[int, Shard]) -> np.ndarray:
    """Return which pairs, int64 [M, 4], have equal pixels over their whole shared region: bool [M]."""
    confirmed = np.zeros(len(pairs), bool)
    for (dy, dx), here in by_offset(pairs):
        in_a, in_b = shared(dy, dx, BLOCK)
        for start in range(0, len(here), CHUNK):
            part = here[start : start + CHUNK]
            a, b = (gather(shards, shard[pairs[part, side]], row[pairs[part, side]]) for side in (0, 1))
            confirmed[part] = (a[:, *in_a] == b[:, *in_b]).all((1, 2, 3))
    return confirmed


def by_offset(pairs: np.ndarray) -> list[tuple[tuple[int, int], np.ndarray]]:
    """Group pairs, int64 [M, 4], by their offset: ((dy, dx), positions in `pairs`)."""
    offsets, group = np.unique(pairs[:, 2:], axis=0, return_inverse=True)
    order = np.argsort(group.ravel(), kind="stable")
    parts = np.split(order, np.cumsum(np.bincount(group.ravel(), minlength=len(offsets)))[:-1])
    return [((int(dy), int(dx)), part) for (dy, dx), part in zip(offsets, parts, strict=True)] if len(pairs) else []


def read_blocks(validations: list[Path]) -> tuple[pd.DataFrame, np.ndarray]:
    """Return all tiles with pixels (id, split, shard, row), and their block hashes, uint64 [N, 36]."""
    frames, hashes = [], []
    for path in validations:
        frame = tables.read(path, tables.VALIDATION, ["id", "split", "shard", "pixels_sha1", "blocks"])
        frame = frame[frame["pixels_sha1"] != ""]
        hashes.append(np.stack(frame["blocks"].to_numpy()) if len(frame) else np.empty((0, BLOCKS), np.uint64))
        frames.append(frame[["id", "split", "shard"]].assign(row=np.arange(len(frame))))
    return pd.concat(frames, ignore_index=True), np.concatenate(hashes)


def overlaps(
    validations: list[Path], train_shards: list[Path], test_shards: list[Path], output: Path, figures: Path
) -> None:
    """Write all overlaps (`tables.OVERLAPS`, offsets in pixels), within and between the splits, and their counts."""
    start = time.perf_counter()
    tiles, hashes = read_blocks(validations)
    pairs, counts = propose(hashes)
    agreed = pairs[agree(pairs, hashes)]

    # Shards of both splits under one number: test shards follow the training shards.
    shards = open_shards(train_shards, "train")
    first_test = len(shards)
    shards |= {first_test + number: shard for number, shard in open_shards(test_shards, "test").items()}
    number = tiles["shard"].to_numpy(np.int64) + first_test * (tiles["split"] == "test").to_numpy()
    confirmed = confirm(agreed, number, tiles["row"].to_numpy(), shards)

    ids = tiles["id"].to_numpy(object)
    a, b, dy, dx = agreed.T
    frame = pd.DataFrame({"id_a": ids[a], "id_b": ids[b], "dy": dy * BLOCK, "dx": dx * BLOCK})
    # The pair is named from the lower id, whichever split came first.
    swap = frame["id_a"] > frame["id_b"]
    frame.loc[swap, ["id_a", "id_b"]] = frame.loc[swap, ["id_b", "id_a"]].to_numpy()
    frame.loc[swap, ["dy", "dx"]] *= -1
    frame["area"] = (SIDE - frame["dy"].abs()) * (SIDE - frame["dx"].abs())
    frame["confirmed"] = confirmed
    frame = frame.sort_values(["id_a", "id_b", "dy", "dx"], ignore_index=True)
    tables.write(frame, output, tables.OVERLAPS)

    counts |= {"tiles": len(tiles), "agreed_pairs": len(agreed), "confirmed_pairs": int(confirmed.sum())}
    write_json(figures, counts)
    logging.info("%s in %.1f s", ", ".join(f"{k} {v:,}" for k, v in counts.items()), time.perf_counter() - start)


if __name__ == "__main__":
    from histo import job

    job.start(snakemake)
    overlaps(
        [Path(path) for path in snakemake.input.validations],
        [Path(path) for path in snakemake.input.train_shards],
        [Path(path) for path in snakemake.input.test_shards],
        Path(snakemake.output.overlaps),
        Path(snakemake.output.figures),
    )
