"""Overlaps of tiles that were compressed as JPEG: recall and precision of both searches, and memory of the join.

The tiles of an archive without compression ($PCAM_REAL_ARCHIVE, otherwise synthetic) are compressed with several
qualities and with both ways of storing colour. The truth is what the exact search finds among the original tiles, all
of it confirmed pixel by pixel. The join of hashes is measured on random hashes of slides with three tiles each.
"""

import io
import tempfile
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import numpy.typing as npt
from measure import Report, archive, arguments, machine
from PIL import Image

import overlaps
from histo.tiles.inner_blocks import inner_hashes
from histo.tiles.measurements import block_hashes, measure
from overlaps import agree, propose

Images = npt.NDArray[np.uint8]
Hashes = npt.NDArray[np.uint64]
QUALITIES = (60, 75, 90, 95)
SUBSAMPLINGS = ("4:2:0", "4:4:4")
BATCH = 32  # tiles measured at a time, as in validate
SLIDE = 14  # blocks per side of a slide of random hashes


def read_tiles(path: Path) -> Images:
    """Return all tiles of an archive, uint8 [N, 96, 96, 3]."""
    with zipfile.ZipFile(path) as file:
        names = sorted(name for name in file.namelist() if name.endswith(".tif"))
        return np.stack([np.asarray(Image.open(file.open(name))) for name in names])


def compressed(tile: npt.NDArray[np.uint8], quality: int, subsampling: str) -> npt.NDArray[np.uint8]:
    """Return a tile after compression as JPEG."""
    file = io.BytesIO()
    Image.fromarray(tile).save(file, "JPEG", quality=quality, subsampling=subsampling)
    return np.asarray(Image.open(file))


def exact_hashes(images: Images) -> Hashes:
    """Return the block hashes that `validate` stores, uint64 [N, 36]."""
    parts = [images[start : start + BATCH] for start in range(0, len(images), BATCH)]
    return np.concatenate([np.where(measure(part)["flat"], np.uint64(0), block_hashes(part)) for part in parts])


def found(hashes: Hashes) -> set[tuple[int, ...]]:
    """Return the pairs (a, b, dy, dx) whose hashes agree in the whole shared region."""
    pairs, _ = propose(hashes)
    return {tuple(pair) for pair in pairs[agree(pairs, hashes)].tolist()}


def random_hashes(tiles: int) -> Hashes:
    """Return block hashes of tiles at random positions of slides with three tiles each, in random order."""
    random = np.random.default_rng(1)
    hashes = np.empty((tiles, 36), np.uint64)
    for first in range(0, tiles, 3):
        slide = random.integers(1, 2**63, (SLIDE, SLIDE), dtype=np.uint64)
        for tile in range(first, min(first + 3, tiles)):
            y, x = random.integers(0, SLIDE - 5, 2)
            hashes[tile] = slide[y : y + 6, x : x + 6].ravel()
    return hashes[random.permutation(tiles)]


def join_memory(hashes: Hashes, buckets: int) -> tuple[float, int]:
    """Return bytes per tile of the join, hashes included, and the number of pairs that it proposes."""
    overlaps.BUCKETS = buckets
    tracemalloc.start()
    pairs, _ = propose(hashes)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return (hashes.nbytes + peak) / len(hashes), len(pairs)


def main() -> None:
    options = arguments(__doc__).parse_args()
    report = Report(__file__, "overlaps: tiles after JPEG compression", machine("numpy", "pillow"), options.smoke)
    with tempfile.TemporaryDirectory() as folder:
        path, kind = archive(Path(folder), options.smoke)
        tiles = read_tiles(path)
    truth = found(exact_hashes(tiles))
    rows, lowest = [], {"recall": 1.0, "precision": 1.0}
    for subsampling in SUBSAMPLINGS:
        for quality in QUALITIES if not options.smoke else QUALITIES[:1]:
            images = np.stack([compressed(tile, quality, subsampling) for tile in tiles])
            for name, hashes in (("exact", exact_hashes(images)), ("lossy", inner_hashes(images))):
                pairs = found(hashes)
                recall = len(pairs & truth) / len(truth)
                precision = len(pairs & truth) / len(pairs) if pairs else None
                rows.append(
                    (quality, subsampling, name, len(pairs), f"{recall:.4f}", f"{precision:.4f}" if pairs else "-")
                )
                if name == "lossy":
                    lowest["recall"] = min(lowest["recall"], recall)
                    lowest["precision"] = min(lowest["precision"], precision or 0.0)
    report.add(f"{len(tiles):,} {kind}; {len(truth):,} true pairs.")
    report.table(["quality", "colour", "search", "pairs", "recall", "precision"], rows)
    hashes = random_hashes(300 if options.smoke else 100_000)
    report.add(f"Memory of the join of {len(hashes):,} tiles, hashes included:")
    memory = [(buckets, *join_memory(hashes, buckets)) for buckets in (1, 64)]
    report.table(
        ["buckets", "bytes per tile", "pairs"], [(buckets, f"{size:,.0f}", f"{n:,}") for buckets, size, n in memory]
    )
    report.add("Ratios: lowest recall and precision of the lossy search.")
    for name, value in lowest.items():
        report.ratio(f"lossy_{name}", value)
    report.close()


if __name__ == "__main__":
    main()
