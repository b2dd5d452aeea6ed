"""Processor time of a tile's way from archive to shard: `unzip`, `validate` and `pack`.

The functions of the three stages run one after another on three shards; processor time is that of this process, user
and system, without the start of Python and imports. Tiles: $PCAM_REAL_ARCHIVE if that exists, otherwise synthetic.

For comparison, the report states what was measured once with the stages as they were when `unzip` wrote a file per
tile; that code is not run again.
"""

import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from measure import Report, alternate, archive, arguments, machine, seconds, spread
from threadpoolctl import threadpool_limits

from histo import tables
from index import index
from pack import pack
from unzip import unzip
from validate import validate

SHARDS = (("train", 0), ("train", 1), ("test", 0))
# µs per tile, with a file per tile
BEFORE = {"unzip": 328, "validate": 200, "pack": 133, "together": 661}
BEFORE_NOTE = (
    "Before: commit a3e37af, measured once on 4,122 original tiles, 2026-11-21, medians of 3 runs in turn with the new "
    "stages, which then took 192 + 170 + 117, together 472."
)
SECOND_NOTE = (
    "Second step, from zlib and SHA-256 in `pack` (commit 74cada5) to isal and CRCs: measured once on the same tiles, "
    "2026-11-21, medians of 3 runs in turn, each in a new process, files in memory (tmpfs), load 11 to 14: unzip 173 → "
    "120, validate 179 → 187, pack 92 → 34, together 452 → 340, ratio 0.75. On a disk under the same load, 5 runs in "
    "turn: 500 → 424, ratio 0.85, since writing took most of the time."
)


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    repeats = 1 if options.smoke else options.repeats
    report = Report(__file__, "tiles: from archive to shard", machine("pillow", "numpy", "pyarrow"), options.smoke)
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    with tempfile.TemporaryDirectory() as name, threadpool_limits(1):
        folder = Path(name)
        source, kind = archive(folder, options.smoke)
        table = folder / "index.parquet"
        index(source, table, folder / "sample.csv", train_shards=2, test_shards=1)
        count = len(tables.read(table, tables.INDEX, ["id"]))

        def each(stage: Callable[..., None], *suffixes: str, **settings: object) -> Callable[[], None]:
            def work() -> None:
                for split, shard in SHARDS:
                    paths = [folder / f"{split}-{shard}{suffix}" for suffix in suffixes]
                    inputs = (source, table, *paths) if stage is unzip else (paths[0], table, *paths[1:])
                    stage(*inputs, split=split, shard=shard, **settings)

            return work

        methods = {
            "unzip": seconds(each(unzip, ".tiles"), time.process_time),
            "validate": seconds(each(validate, ".tiles", ".parquet", id_is_sha1=True), time.process_time),
            "pack": seconds(each(pack, ".tiles", ".parquet", ".h5", code="bench"), time.process_time),
        }
        found: dict[str, list[float]] = {stage: [] for stage in methods}
        for _ in range(repeats):  # in their order: each stage reads what the one before has just written
            for stage, values in alternate(methods, 1, warm_up=False).items():
                found[stage] += values
    found["together"] = [sum(values) for values in zip(*found.values(), strict=True)]
    report.add(
        f"{count:,} {kind} in {len(SHARDS)} shards, one process on one core, medians of n = {repeats} repeats. "
        f"{BEFORE_NOTE}"
    )
    report.table(
        ["stage", "processor time, µs/tile", "spread (IQR)", "before, µs/tile"],
        [
            (stage, f"{1e6 * statistics.median(values) / count:.0f}", spread(values), f"{BEFORE[stage]}")
            for stage, values in found.items()
        ],
    )
    report.add(
        "Ratio: all three stages now / before. The two were measured at different times, and here the stages repeat in "
        "a process that is warm; in the three runs in turn, each in a new process, the ratio was 0.71."
    )
    report.add("", SECOND_NOTE)
    report.ratio("tiles_vs_files", 1e6 * statistics.median(found["together"]) / count / BEFORE["together"])
    report.close()


if __name__ == "__main__":
    main()
