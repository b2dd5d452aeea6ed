"""Find the tiles that share tissue, from their pixels alone.

Tiles of one slide were cut on a grid of 16 pixels, and where two of them overlap, the pixels of the shared region are
identical. Overlapping tiles therefore share complete aligned blocks. A join on the block hashes proposes a pair and an
offset for each match; a comparison of all pixels of the shared region then confirms or rejects it.

Tiles that were compressed as JPEG share the inner pixels of these blocks only (`histo.tiles.inner_blocks`). The search
for lossy tiles is the same on these pixels; it reads all tiles, since `validate` hashes complete blocks.

Blocks of bare background are often equal by chance. Flat blocks have no hash. A hash that occurs in more tiles than can
contain the same block of a slide is ignored and counted.
"""

import logging
import math
import time
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from histo import tables
from histo.errors import InputError
from histo.files import write_json
from histo.geometry import BLOCK, SIDE
from histo.tiles.inner_blocks import inner_hashes, inner_pixels
from histo.tiles.shards import Shard, geometry_of, open_shards

BATCH = 256  # pairs whose pixels are compared at a time, 14 MB
HASH_BATCH = 100_000  # pairs whose hashes are compared at a time, about
BUCKETS = 64  # parts of the hashes that are joined one after the other; a power of 2
SAMPLE = 20_000  # tiles from which `auto` decides; takes seconds, contains 1 of 200 pairs of the competition's archive
LOSSY_SHARE = 0.1  # of the pairs of the sample that only the lossy search finds, from which tiles count as lossy

Pairs = npt.NDArray[np.int64]


def max_input(offsets: int) -> int:
    """Return the number of tiles whose pairs, with `offsets` offsets per axis, a key of 63 bits can number."""
    return math.isqrt(2**63 // offsets**2)


def propose(hashes: npt.NDArray[np.uint64]) -> tuple[Pairs, dict[str, int]]:
    """Join block hashes, uint64 [N, blocks] with 0 for flat blocks, and propose pairs of tiles.

    Returns int64 [M, 4] of distinct (a, b, dy, dx) with a < b, where (dy, dx) is the origin of b minus that of a in
    blocks; and the numbers of blocks, of flat blocks, of ignored hashes and blocks, and of pairs.
    Raises InputError for more tiles than `max_input`.
    """
    far = math.isqrt(hashes.shape[1]) - 1  # largest offset, in blocks, at which two tiles still share a block
    offsets = 2 * far + 1  # possible offsets per axis
    most = max_input(offsets)
    if len(hashes) > most:
        raise InputError(
            f"overlaps: expected at most {most:,} tiles, found {len(hashes):,}. Pairs of more tiles cannot be "
            "numbered with 64 bits: split the data set by patient or slide."
        )
    flat = hashes.ravel()
    bucket_of = np.empty(flat.size, np.uint8)
    np.bitwise_and(flat, np.uint64(BUCKETS - 1), out=bucket_of, casting="unsafe")
    counts = {"blocks": int(flat.size), "flat_blocks": 0, "passed_over_hashes": 0, "passed_over_blocks": 0}
    keys = np.empty(0, np.int64)
    for bucket in range(BUCKETS):
        # Equal hashes are in one bucket; only the temporary arrays of one bucket are in memory at a time.
        found = _join(hashes, np.flatnonzero(bucket_of == bucket), counts)
        keys = _distinct(np.concatenate([keys, found]))
    rest, dx = np.divmod(keys, offsets)
    rest, dy = np.divmod(rest, offsets)
    a, b = np.divmod(rest, max(len(hashes), 1))
    counts["proposed_pairs"] = len(keys)
    return np.stack([a, b, dy - far, dx - far], axis=1), counts


def _join(hashes: npt.NDArray[np.uint64], blocks: npt.NDArray[np.int64], counts: dict[str, int]) -> Pairs:
    """Join some blocks, row numbers in the flattened hashes; return the keys of the pairs found, and add to `counts`.

    A key is ((a * N + b) * offsets + dy + far) * offsets + dx + far, int64; far, offsets: see `propose`.
    """
    per_tile = hashes.shape[1]  # also the largest number of tiles on the grid that can contain the same block
    per_side = math.isqrt(per_tile)
    far, offsets = per_side - 1, 2 * per_side - 1
    values = hashes.ravel()[blocks]
    hashed = values != 0
    counts["flat_blocks"] += int(len(values) - hashed.sum())
    blocks, values = blocks[hashed], values[hashed]
    order = np.argsort(values, kind="stable")
    blocks, values = blocks[order], values[order]
    starts = np.flatnonzero(np.r_[True, values[1:] != values[:-1]]) if len(values) else np.empty(0, np.int64)
    lengths = np.diff(np.r_[starts, len(values)])
    counts["passed_over_hashes"] += int((lengths > per_tile).sum())
    counts["passed_over_blocks"] += int(lengths[lengths > per_tile].sum())
    repeated = np.repeat((lengths > 1) & (lengths <= per_tile), lengths)
    blocks, run = blocks[repeated], np.repeat(np.arange(len(lengths)), lengths)[repeated]
    keys = [np.empty(0, np.int64)]
    for lag in range(1, per_tile):
        first = np.flatnonzero(run[lag:] == run[:-lag])
        if not len(first):
            break
        # The sort is stable: within a run of equal hashes the tiles are ascending, so that a <= b.
        a, block_a = np.divmod(blocks[first], per_tile)
        b, block_b = np.divmod(blocks[first + lag], per_tile)
        dy = block_a // per_side - block_b // per_side
        dx = block_a % per_side - block_b % per_side
        key = ((a * len(hashes) + b) * offsets + dy + far) * offsets + dx + far
        keys.append(key[a != b])
    return _distinct(np.concatenate(keys))


def _distinct(values: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Return the distinct values in ascending order; sorts `values`, which is faster than the hashing of np.unique."""
    values.sort()
    return values[np.r_[True, values[1:] != values[:-1]]] if len(values) else values


def shared(
    dy: int, dx: int, step: int = 1, per_side: int = SIDE // BLOCK
) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """Return the shared region as slices (rows, columns) of a and of b, for an offset in units of `step` pixels.

    per_side: units per side of a tile.
    """
    slices = []
    for offset in (dy, dx):
        low, high = max(offset, 0), per_side + min(offset, 0)
        slices.append((slice(low * step, high * step), slice((low - offset) * step, (high - offset) * step)))
    return (slices[0][0], slices[1][0]), (slices[0][1], slices[1][1])


def gather(shards: dict[int, Shard], shard: npt.NDArray[np.int64], row: npt.NDArray[np.int64]) -> npt.NDArray[np.uint8]:
    """Return the tiles at (shard, row), uint8 [N, side, side, 3]."""
    images = np.empty((len(row), *geometry_of(shards).shape), np.uint8)
    for number in np.unique(shard):
        in_shard = np.flatnonzero(shard == number)
        images[in_shard] = shards[number].images[row[in_shard]]
    return images


def agree(pairs: Pairs, hashes: npt.NDArray[np.uint64]) -> npt.NDArray[np.bool_]:
    """Return which pairs, int64 [M, 4], have equal hashes in the whole shared region: bool [M]."""
    agrees = np.zeros(len(pairs), bool)
    per_side = math.isqrt(hashes.shape[1])
    grid = hashes.reshape(-1, per_side, per_side)
    for (dy, dx), members in by_offset(pairs):
        in_a, in_b = shared(dy, dx, per_side=per_side)
        for part in np.array_split(members, len(members) // HASH_BATCH + 1):
            a, b = grid[pairs[part, 0]], grid[pairs[part, 1]]
            agrees[part] = (a[:, *in_a] == b[:, *in_b]).all((1, 2))
    return agrees


def confirm(
    pairs: Pairs,
    shard: npt.NDArray[np.int64],
    row: npt.NDArray[np.int64],
    shards: dict[int, Shard],
    *,
    lossy: bool = False,
) -> npt.NDArray[np.bool_]:
    """Return which pairs, int64 [M, 4], have equal pixels in the whole shared region: bool [M].

    shard, row: position of each tile, int64 [N]; lossy: compare only the inner pixels of each block.
    """
    confirmed = np.zeros(len(pairs), bool)
    per_side = geometry_of(shards).tile_side // BLOCK
    for (dy, dx), members in by_offset(pairs):
        in_a, in_b = shared(dy, dx, BLOCK, per_side)
        for start in range(0, len(members), BATCH):
            part = members[start : start + BATCH]
            a, b = (gather(shards, shard[pairs[part, side]], row[pairs[part, side]]) for side in (0, 1))
            if lossy:
                a, b = inner_pixels(a), inner_pixels(b)
            confirmed[part] = (a[:, *in_a] == b[:, *in_b]).all((1, 2, 3))
    return confirmed


def by_offset(pairs: Pairs) -> list[tuple[tuple[int, int], npt.NDArray[np.int64]]]:
    """Group pairs, int64 [M, 4], by their offset: ((dy, dx), row numbers in `pairs`)."""
    offsets, group = np.unique(pairs[:, 2:], axis=0, return_inverse=True)
    order = np.argsort(group.ravel(), kind="stable")
    parts = np.split(order, np.cumsum(np.bincount(group.ravel(), minlength=len(offsets)))[:-1])
    return [((int(dy), int(dx)), part) for (dy, dx), part in zip(offsets, parts, strict=True)] if len(pairs) else []


def read_blocks(validations: list[Path], tile_side: int = SIDE) -> tuple[pd.DataFrame, npt.NDArray[np.uint64]]:
    """Return all tiles that have pixels (id, split, shard, row), and their block hashes, uint64 [N, blocks].

    tile_side: pixels.
    """
    schema = tables.validation(tile_side)
    frames = []
    for path in validations:
        frame = tables.read(path, schema, ["id", "split", "shard", "pixels_sha1"])
        frame["packed"] = frame.pop("pixels_sha1") != ""
        frames.append(frame.assign(row=frame["packed"].cumsum() - 1))
    tiles = pd.concat(frames, ignore_index=True)
    hashes = np.empty((int(tiles["packed"].sum()), (tile_side // BLOCK) ** 2), np.uint64)
    filled = 0
    for path, frame in zip(validations, frames, strict=True):
        blocks = tables.read(path, schema, ["blocks"])["blocks"][frame["packed"]].tolist()
        if blocks:
            np.stack(blocks, out=hashes[filled : filled + len(blocks)])
        filled += len(blocks)
    return tiles[tiles.pop("packed")].reset_index(drop=True), hashes


def read_inner(
    shard: npt.NDArray[np.int64], row: npt.NDArray[np.int64], shards: dict[int, Shard]
) -> npt.NDArray[np.uint64]:
    """Return the hashes of the inner pixels of all blocks of tiles, uint64 [N, blocks]; shard, row: int64 [N]."""
    hashes = np.empty((len(row), (geometry_of(shards).tile_side // BLOCK) ** 2), np.uint64)
    for start in range(0, len(row), BATCH):
        part = slice(start, start + BATCH)
        hashes[part] = inner_hashes(gather(shards, shard[part], row[part]))
    return hashes


def found_only_lossy(
    hashes: npt.NDArray[np.uint64],
    shard: npt.NDArray[np.int64],
    row: npt.NDArray[np.int64],
    shards: dict[int, Shard],
) -> tuple[int, int]:
    """Try both searches on up to about `SAMPLE` tiles; return the pairs of the lossy one, and those that only it finds.

    The sample is the first tiles of each shard, since reading tiles at random is slow on a hard disk.

    hashes: of complete blocks, uint64 [N, blocks]; shard, row: position of each tile, int64 [N].
    """
    whole = len(hashes) <= SAMPLE
    sample = np.flatnonzero((row < SAMPLE // max(len(shards), 1)) | whole)
    found = []
    for part in (hashes[sample], read_inner(shard[sample], row[sample], shards)):
        pairs, _ = propose(part)
        found.append({tuple(pair) for pair in pairs[agree(pairs, part)].tolist()})
    exact, lossy = found
    return len(lossy), len(lossy - exact)


def overlaps(
    validations: list[Path],
    train_shards: list[Path],
    test_shards: list[Path],
    output: Path,
    summary: Path,
    *,
    pixels: str,
) -> None:
    """Write all overlaps within and between the splits (`tables.OVERLAPS`) and a summary (JSON) of the search.

    pixels: "exact", "lossy" or "auto", which is lossy if at least `LOSSY_SHARE` of the pairs of a sample need it.
    """
    start = time.perf_counter()
    # Number the shards of both splits consecutively: test shards follow the training shards.
    shards = open_shards(train_shards, "train")
    first_test = len(shards)
    shards |= {first_test + number: shard for number, shard in open_shards(test_shards, "test").items()}
    tile_side = geometry_of(shards).tile_side

    tiles, hashes = read_blocks(validations, tile_side)
    number = tiles["shard"].to_numpy(np.int64) + first_test * (tiles["split"] == "test").to_numpy()
    row = tiles["row"].to_numpy(np.int64)

    if pixels == "auto":
        all_found, only_lossy = found_only_lossy(hashes, number, row, shards)
        pixels = "lossy" if all_found and only_lossy >= LOSSY_SHARE * all_found else "exact"
        logging.info(
            "%s search: of %d pairs in a sample, %d are found only by the lossy one", pixels, all_found, only_lossy
        )
    if pixels == "lossy":
        hashes = read_inner(number, row, shards)
    pairs, counts = propose(hashes)
    agreed = pairs[agree(pairs, hashes)]
    confirmed = confirm(agreed, number, row, shards, lossy=pixels == "lossy")

    a, b, dy, dx = agreed.T
    ids = [tiles["id"].take(side).to_numpy(object) for side in (a, b)]
    frame = pd.DataFrame({"id_a": ids[0], "id_b": ids[1], "dy": dy * BLOCK, "dx": dx * BLOCK})
    # id_a is the lower id, whatever the splits.
    swap = frame["id_a"] > frame["id_b"]
    frame.loc[swap, ["id_a", "id_b"]] = frame.loc[swap, ["id_b", "id_a"]].to_numpy()
    frame.loc[swap, ["dy", "dx"]] *= -1
    frame["area"] = (tile_side - frame["dy"].abs()) * (tile_side - frame["dx"].abs())
    frame["confirmed"] = confirmed
    frame = frame.sort_values(["id_a", "id_b", "dy", "dx"], ignore_index=True)
    tables.write(frame, output, tables.OVERLAPS)

    counts |= {"tiles": len(tiles), "agreed_pairs": len(agreed), "confirmed_pairs": int(confirmed.sum())}
    write_json(summary, {"lossy": pixels == "lossy"} | counts)
    seconds = time.perf_counter() - start
    logging.info("%s search, %s in %.1f s", pixels, ", ".join(f"{k} {v:,}" for k, v in counts.items()), seconds)


if __name__ == "__main__":
    from histo import job

    job.start(snakemake)
    overlaps(
        [Path(path) for path in snakemake.input.validations],
        [Path(path) for path in snakemake.input.train_shards],
        [Path(path) for path in snakemake.input.test_shards],
        Path(snakemake.output.overlaps),
        Path(snakemake.output.summary),
        **snakemake.params.settings,
    )
