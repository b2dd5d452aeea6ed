"""Tiles per second in random order, batches of 256, in one process that takes batches and does nothing with them.

Compares our loader in each storage mode (histo/training/loader.py) with common alternatives and WebDataset
(loaders.py). A measurement is one whole epoch, or as many as fill a second, from the request of the first batch to the
arrival of the last. Workers of the alternatives persist between epochs, so that their start is not counted. Cold: the
files of the method are dropped from the page cache first, which is verified page by page; caches below the operating
system are not dropped.
"""

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from forms import BATCH, Forms
from loaders import Batches, others, ours
from measure import Report, alternate, arguments, cached_share, cores, evict, machine, paired, spread

AT_LEAST = 1.0  # minimum seconds of a warm measurement
OURS = {"ours, page cache": "cache", "ours, copied to the device (here: memory)": "device", "ours, streamed": "stream"}


def tiles_per_second(batches: Batches, at_least: float) -> Callable[[], float]:
    """Return a method for `alternate`: tiles per second over whole epochs, for at least `at_least` seconds."""
    epoch = 0

    def measure() -> float:
        nonlocal epoch
        tiles, begun = 0, time.perf_counter()
        while True:
            epoch += 1
            for images, _ in batches(epoch):
                tiles += len(images)
            elapsed = time.perf_counter() - begun
            if elapsed >= at_least:
                return tiles / elapsed

    return measure


def warm(
    forms: Forms, baselines: dict[str, tuple[Batches, list[Path]]], repeats: int, at_least: float
) -> dict[str, list[float]]:
    """Return tiles per second of all methods but streaming, which bypasses the page cache where possible."""
    device = torch.device("cpu")
    methods = {label: ours(forms.tiles(device, storage)) for label, storage in OURS.items() if storage != "stream"}
    methods |= {label: batches for label, (batches, _) in baselines.items()}
    return alternate({label: tiles_per_second(batches, at_least) for label, batches in methods.items()}, repeats)


def cold(forms: Forms, batches: Batches | None, files: list[Path], storage: str | None) -> Callable[[], float]:
    """Return a method for `alternate`: one epoch of files that are not in the page cache; NaN if they stayed there.

    batches: None for ours, which is opened anew each time, since mapped pages cannot be dropped.
    """

    def measure() -> float:
        now = batches or ours(forms.tiles(torch.device("cpu"), storage))
        evict(files)
        if statistics.mean(cached_share(path) for path in files[:: max(1, len(files) // 50)]) > 0.05:
            return float("nan")
        return tiles_per_second(now, 0)()

    return measure


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--tiles", type=int, default=20000)
    parser.add_argument("--repeats", type=int, default=5, help="of warm measurements")
    parser.add_argument("--cold-repeats", type=int, default=5)
    options = parser.parse_args()
    tiles, warm_repeats, cold_repeats = options.tiles, options.repeats, options.cold_repeats
    if options.smoke:
        tiles, warm_repeats, cold_repeats = 2 * BATCH, 2, 1
    workers = cores()
    lines = machine("torch", "pillow", "h5py", "webdataset", "numpy")
    report = Report(__file__, "load: tiles per second in random order", lines, options.smoke)

    with tempfile.TemporaryDirectory() as name:
        forms = Forms(Path(name), tiles)
        baselines = others(forms, workers, pinned=False)
        found = warm(forms, baselines, warm_repeats, 0 if options.smoke else AT_LEAST)
        shards = forms.files("train-*.h5")
        methods = {label: cold(forms, None, shards, mode) for label, mode in OURS.items() if mode != "device"}
        methods |= {label: cold(forms, batches, files, None) for label, (batches, files) in baselines.items()}
        found_cold = alternate(methods, cold_repeats, warm_up=False)

    report.add(
        f"{tiles:,} tiles of random pixels ({tiles * 27648 / 1e6:,.0f} MB), batches of {BATCH}; medians of "
        f"n = {warm_repeats} (warm) and n = {cold_repeats} (cold) interleaved repeats; torch with "
        f"{torch.get_num_threads()} threads."
    )
    mine = next(iter(OURS))
    report.table(
        ["method", "warm, tiles/s", "spread (IQR)", "page cache is … times as fast", "cold, tiles/s"],
        [
            (
                label,
                f"{statistics.median(found[label]):,.0f}" if label in found else "-",
                spread(found[label]) if label in found else "-",
                f"{paired(found[mine], found[label]):.1f}" if label in found else "-",
                f"{statistics.median(found_cold[label]):,.0f}" if label in found_cold else "-",
            )
            for label in (*OURS, *baselines)
        ],
    )
    if any(value != value for values in found_cold.values() for value in values):
        report.add("nan: the files could not be dropped from the page cache.")
    report.add("Ratios: tiles per second of ours in the page cache / of the other, warm.")
    for label, short in zip(
        baselines, ("tiff_dataloader", "hdf5_opened_per_tile", "h5py_fancy", "webdataset"), strict=True
    ):
        report.ratio(f"load_vs_{short}", paired(found[mine], found[label]))
    report.close()


if __name__ == "__main__":
    main()
