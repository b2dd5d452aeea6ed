"""The single pass of `validate` against three common separate passes over the tiles, and against a lower bound.

The three passes, each a separate loop over all files: Pillow's `verify`; Pillow's `open` for size and mode; the MD5 of
the file. None of them decodes a pixel. Our pass is the complete stage: it reads the index, reads each file once from
the tile file of its shard, decodes it, compares the SHA-1 of its pixels with the id, computes the MD5, measures
brightness, colour and sharpness, hashes 36 blocks, and writes its table to disk. The lower bound only reads each file
and computes its MD5 and the SHA-1 of its pixels.

Same files, warm cache, one process on one core. Tiles: $PCAM_REAL_ARCHIVE if that exists, otherwise synthetic.
"""

import hashlib
import os
import statistics
import tempfile
from pathlib import Path

from measure import Report, alternate, archive, arguments, machine, paired, seconds, spread
from PIL import Image
from threadpoolctl import threadpool_limits

from histo import tables
from histo.geometry import TILE_BYTES
from histo.tiles.tile_file import TileFile
from index import index
from unzip import unzip
from validate import validate

SPLITS = ("train", "test")


def separate_files(tiles: Path, table: Path, split: str, folder: Path) -> list[Path]:
    """Write each file of a tile file to `folder`; return their paths."""
    rows = tables.read_index_of_shard(table, split, 0)
    ids = rows.loc[rows["entry"] != "", "id"].tolist()
    files = TileFile(tiles, len(ids))
    folder.mkdir()
    paths = [folder / f"{name}.tif" for name in ids]
    for number, path in enumerate(paths):
        path.write_bytes(files[number])
    return paths


def verify(paths: list[Path]) -> None:
    for path in paths:
        with Image.open(path) as image:
            image.verify()


def size_and_mode(paths: list[Path]) -> set[tuple]:
    found = set()
    for path in paths:
        with Image.open(path) as image:
            found.add((image.size, image.mode))
    return found


def md5(paths: list[Path]) -> list[str]:
    return [hashlib.md5(path.read_bytes()).hexdigest() for path in paths]


def lower_bound(paths: list[Path]) -> list[tuple[str, str]]:
    found = []
    for path in paths:
        data = path.read_bytes()
        found.append((hashlib.md5(data).hexdigest(), hashlib.sha1(memoryview(data)[-TILE_BYTES:]).hexdigest()))
    return found


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--repeats", type=int, default=15)
    options = parser.parse_args()
    repeats = 3 if options.smoke else options.repeats
    lines = machine("pillow", "numpy")
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    with tempfile.TemporaryDirectory() as name, threadpool_limits(1):
        folder = Path(name)
        source, kind = archive(folder, options.smoke)
        table = folder / "index.parquet"
        index(source, table, folder / "sample.csv", train_shards=1, test_shards=1)
        paths = []
        for split in SPLITS:
            tiles = folder / f"{split}.tiles"
            unzip(source, table, tiles, split=split, shard=0)
            paths += separate_files(tiles, table, split, folder / split)

        def ours() -> None:
            for split in SPLITS:
                output = folder / f"{split}.parquet"
                validate(folder / f"{split}.tiles", table, output, split=split, shard=0, id_is_sha1=True)

        report = Report(__file__, "validate: one pass against three", lines, options.smoke)
        methods = {
            "Pillow verify": seconds(lambda: verify(paths)),
            "Pillow open: size, mode": seconds(lambda: size_and_mode(paths)),
            "MD5 of the file": seconds(lambda: md5(paths)),
            "ours: one pass, everything": seconds(ours),
            "lower bound: read + MD5 + SHA-1": seconds(lambda: lower_bound(paths)),
        }
        found = alternate(methods, repeats)

    theirs = [sum(passes) for passes in zip(*list(found.values())[:3], strict=True)]
    mine, least = list(found.values())[3:]
    report.add(
        f"{len(paths):,} {kind}, warm cache, one process on one core, medians of n = {repeats} interleaved repeats."
    )
    rows = list(found.items())
    rows.insert(3, ("three passes together", theirs))
    report.table(
        ["method", "s", "µs/tile", "tiles/s", "spread (IQR)"],
        [
            (
                name, f"{statistics.median(times):.3f}", f"{1e6 * statistics.median(times) / len(paths):.0f}",
                f"{len(paths) / statistics.median(times):,.0f}", spread(times),
            )
            for name, times in rows
        ],
    )  # fmt: skip
    report.add("Ratios: our time / time of the three passes (below 1: ours is faster), our time / lower bound.")
    report.ratio("validate_vs_three_passes", paired(mine, theirs))
    report.ratio("validate_vs_floor", paired(mine, least))
    report.close()


if __name__ == "__main__":
    main()
