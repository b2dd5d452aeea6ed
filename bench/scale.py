"""Cost per tile and peak memory of packing and loading as a function of the number of tiles.

For each size, ten shards are packed by the function of the stage `pack`, each in its own process, from a tile file of
random TIFFs as `unzip` leaves it (in the page cache, flushed to disk). For comparison, the same bytes are copied with
fsync, as `dd` does. Then batches of 256 in random order are loaded, each measurement in its own process: from the page
cache (one epoch to map the pages, one timed epoch) and streamed (files dropped from the page cache first, in case they
are read through it). Finally the residual CNN trains some steps on streamed tiles. Sizes and repeats are interleaved.
Needs about 12 GB of disk for the default sizes, in the folder of temporary files (TMPDIR).

Times are of the function alone, without the start of Python and imports. Peak memory is VmHWM of the whole process
unless stated otherwise.
"""

import os
import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from isal.isal_zlib import crc32
from measure import Report, arguments, cores, evict, machine, paired, peak_mb

from histo import tables
from histo.geometry import BLOCKS_PER_TILE, SIDE, TILE_BYTES
from histo.synthetic.tiff import tiff_header
from histo.tiles.tile_file import writing
from pack import pack

SHARDS = 10
BATCH = 256
STREAMED = 40 * BATCH  # tiles per measurement of streaming: 20 windows
TRAINED = 36  # steps of training on streamed tiles, of 128 tiles each
PACKED = 3  # repeats of packing and copying a shard
BLOCK = 1 << 20  # bytes per read and write of the copy


@dataclass
class Size:
    """A synthetic data set of `tiles` tiles, and its measurements."""

    tiles: int
    folder: Path
    parts: int = SHARDS
    pack_seconds: list[float] = field(default_factory=list)  # per tile, one value per shard and repeat
    copy_seconds: list[float] = field(default_factory=list)
    pack_peak: float = 0.0
    cache: list[dict[str, float]] = field(default_factory=list)
    stream: list[dict[str, float]] = field(default_factory=list)
    train: list[dict[str, float]] = field(default_factory=list)

    @property
    def name(self) -> str:
        """Short name, such as 277k."""
        return f"{self.tiles // 1000}k" if self.tiles >= 1000 else str(self.tiles)

    @property
    def shards(self) -> list[Path]:
        return sorted(self.folder.glob("train-*.h5"))

    def write_tables(self) -> None:
        """Write index.parquet and folds.parquet."""
        self.folder.mkdir()
        frame = pd.DataFrame({"id": [f"{row:040x}" for row in range(self.tiles)]})
        parts = np.array_split(np.arange(self.tiles), self.parts)
        frame["shard"] = np.repeat(np.arange(self.parts), [len(part) for part in parts])
        frame["row"] = np.concatenate([np.arange(len(part)) for part in parts])
        frame["label"] = np.arange(self.tiles) % 2
        numbers = {"offset": 0, "compressed": 0, "size": 0, "crc": 0, "method": 0}
        index = frame.assign(split="train", entry=frame["id"], fault="", detail="", **numbers)
        tables.write_index(index, self.folder / "index.parquet")
        tables.write(frame.assign(group=frame["id"], fold=0), self.folder / "folds.parquet", tables.FOLDS)

    def write_tiles(self, shard: int) -> int:
        """Write the tile file of one shard and its validation table to disk; return the number of tiles."""
        index = tables.read_index_of_shard(self.folder / "index.parquet", "train", shard, ["id", "split", "shard"])
        random = np.random.default_rng(shard)
        header = tiff_header(SIDE, SIDE, 3, "2018:11:15 17:21:32")
        crcs = []
        with writing(self.folder / "tiles", np.full(len(index), len(header) + TILE_BYTES)) as write:
            for number in range(len(index)):
                data = header + random.bytes(TILE_BYTES)
                crcs.append(crc32(data))
                write(number, data)
        texts = {"mode": "RGB", "md5": "", "pixels_sha1": "0" * 40, "fault": "", "detail": ""}
        numbers = dict.fromkeys(tables.MEASUREMENTS, 0.0) | {"bytes": TILE_BYTES, "width": SIDE, "height": SIDE}
        numbers |= {"crc": crcs, "pixels_offset": len(header)}
        frame = index.assign(**texts, **numbers, blocks=[np.zeros(BLOCKS_PER_TILE, np.uint64)] * len(index))
        tables.write(frame, self.folder / "validation.parquet", tables.VALIDATION)
        os.sync()
        return len(index)


def in_process(work: Callable[..., Any], *values: Any) -> Any:
    """Call a function of this module in a new process."""
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        return pool.submit(work, *values).result()


def pack_job(folder: Path, shard: int, first: Path) -> tuple[float, float]:
    """Return seconds and peak memory (MB) of packing one shard.

    A few tiles of `first` are packed before, so that initialisation of libraries at first use is not timed.
    """
    elapsed = 0.0
    for parent, number in ((first, 0), (folder, shard)):
        begun = time.perf_counter()
        pack(
            parent / "tiles", parent / "index.parquet", parent / "validation.parquet",
            parent / f"train-{number:05d}.h5", split="train", shard=number, code="bench",
        )  # fmt: skip
        elapsed = time.perf_counter() - begun
    return elapsed, peak_mb()


def copy(source: Path, target: Path) -> float:
    """Return the seconds of copying a file, including fsync."""
    begun = time.perf_counter()
    with open(source, "rb", buffering=0) as reader, open(target, "wb", buffering=0) as writer:
        while block := reader.read(BLOCK):
            writer.write(block)
        os.fsync(writer.fileno())
    return time.perf_counter() - begun


def load_job(folder: Path, storage: str) -> dict[str, float]:
    """Return seconds per tile of the second epoch (page cache) or of STREAMED tiles (streamed), and memory in MB.

    Memory: of the page cache, anonymous memory without mapped pages; streamed, the peak beyond that of imports.
    """
    import torch

    from histo.tiles.shards import open_shards
    from histo.training.loader import TileLoader, epoch_order

    torch.set_num_threads(cores())
    framework = peak_mb()
    rows = tables.read(folder / "folds.parquet", tables.FOLDS)
    tiles = TileLoader(open_shards(sorted(folder.glob("train-*.h5")), "train"), rows, torch.device("cpu"), storage)
    order = epoch_order(len(tiles), BATCH, 1, 1)
    if storage == "stream":
        order = order[: STREAMED // BATCH]
    else:
        for _ in tiles.batches(epoch_order(len(tiles), BATCH, 1, 0)):
            pass
    count, anonymous, begun = 0, 0.0, time.perf_counter()
    for number, (images, _, _) in enumerate(tiles.batches(order)):
        count += len(images)
        if number % 50 == 0 and storage == "cache":
            anonymous = max(anonymous, anonymous_mb())
    elapsed = time.perf_counter() - begun
    memory = peak_mb() - framework if storage == "stream" else anonymous
    return {"seconds": elapsed / count, "tiles": count, "memory": memory}


def anonymous_mb() -> float:
    """Return the anonymous resident memory of this process, in 10^6 bytes."""
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("RssAnon")) * 1024 / 1e6


def train_job(folder: Path, steps: int, batch_size: int) -> dict[str, float]:
    """Return the peak memory (MB) of training the residual CNN on streamed tiles beyond that of imports."""
    import torch
    from ceiling import Comparison

    from histo.tiles.shards import open_shards
    from histo.training.loader import TileLoader

    torch.set_num_threads(cores())
    framework = peak_mb()
    rows = tables.read(folder / "folds.parquet", tables.FOLDS)
    tiles = TileLoader(open_shards(sorted(folder.glob("train-*.h5")), "train"), rows, torch.device("cpu"), "stream")
    comparison = Comparison("residual", tiles, batch_size)
    comparison.real(steps)
    return {"memory": peak_mb() - framework}


def measure_packing(sizes: list[Size], folder: Path, repeats: int) -> None:
    """Pack and copy every shard of every size `repeats` times; folder: for temporary data."""
    first = Size(80, folder / "first")
    first.write_tables()
    first.write_tiles(0)
    for shard in range(sizes[0].parts):
        for size in sizes:
            count = size.write_tiles(shard)
            for _ in range(repeats):
                elapsed, peak = in_process(pack_job, size.folder, shard, first.folder)
                size.pack_seconds.append(elapsed / count)
                size.pack_peak = max(size.pack_peak, peak)
                target = size.folder / "copy"
                size.copy_seconds.append(copy(size.shards[-1], target) / count)
                target.unlink()
            (size.folder / "tiles").unlink()


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[10_000, 50_000, 277_483], help="tiles")
    parser.add_argument("--repeats", type=int, default=5, help="of loading")
    options = parser.parse_args()
    numbers, repeats = (sorted(options.sizes), options.repeats) if not options.smoke else ([400, 800], 1)
    steps, batch_size = (2, 8) if options.smoke else (TRAINED, 128)
    parts, packed, streams = (2, 1, 1) if options.smoke else (SHARDS, PACKED, 4 * repeats - 1)
    report = Report(
        __file__, "scale: cost per tile as the data grow", machine("torch", "numpy", "pandas", "h5py"), options.smoke
    )
    with tempfile.TemporaryDirectory() as name:
        sizes = [Size(number, Path(name) / str(number), parts) for number in numbers]
        for size in sizes:
            size.write_tables()
        measure_packing(sizes, Path(name), packed)
        for _ in range(repeats):
            for size in sizes:
                size.cache.append(in_process(load_job, size.folder, "cache"))
        for _ in range(streams):  # more repeats, since each is short and the disk is shared
            for size in sizes:
                evict(size.shards)
                size.stream.append(in_process(load_job, size.folder, "stream"))
        for size in sizes:
            size.train.append(in_process(train_job, size.folder, steps, batch_size))

    def micro(found: list[dict[str, float]]) -> float:
        return 1e6 * statistics.median(job["seconds"] for job in found)

    def most(found: list[dict[str, float]]) -> str:
        return f"{max(job['memory'] for job in found):,.0f}"

    report.add(
        f"{parts} shards of random tiles, each packed {packed} times, in separate processes; medians over these "
        f"(pack, copy), over n = {repeats} processes (page cache) and n = {streams} (streamed, cold, "
        f"{sizes[-1].stream[0]['tiles']:,} tiles of the largest data set)."
    )
    report.table(
        ["tiles", "pack, µs/tile", "copy, µs/tile", "pack speed / copy speed", "cache, µs/tile", "stream, µs/tile"],
        [
            (
                f"{size.tiles:,}", f"{1e6 * statistics.median(size.pack_seconds):.1f}",
                f"{1e6 * statistics.median(size.copy_seconds):.1f}",
                f"{paired(size.copy_seconds, size.pack_seconds):.2f}", f"{micro(size.cache):.2f}",
                f"{micro(size.stream):.1f}",
            )
            for size in sizes
        ],
    )  # fmt: skip
    report.add("Peak memory, MB (10^6 bytes):")
    report.table(
        [
            "tiles",
            "pack, whole process",
            "page cache, whole process without mapped pages",
            "streamed, beyond imports",
            "training streamed, beyond imports",
        ],
        [
            (f"{size.tiles:,}", f"{size.pack_peak:,.0f}", most(size.cache), most(size.stream), most(size.train))
            for size in sizes
        ],
    )
    report.add(
        f"Training streamed: residual CNN, width 32, 96 pixels, batches of {batch_size}, {steps} steps; "
        "includes weights and activations.",
        "Ratios: cost per tile at the larger size / at the smallest; pack speed / copy speed at the largest.",
    )
    first, last = sizes[0], sizes[-1]
    for size in sizes[1:]:
        ends = f"{size.name}_vs_{first.name}"
        report.ratio(f"scale_pack_{ends}", statistics.median(size.pack_seconds) / statistics.median(first.pack_seconds))
        report.ratio(f"scale_load_{ends}", micro(size.cache) / micro(first.cache))
        report.ratio(f"scale_stream_{ends}", micro(size.stream) / micro(first.stream))
    report.ratio("pack_vs_copy", paired(last.copy_seconds, last.pack_seconds))
    report.close()


if __name__ == "__main__":
    main()
