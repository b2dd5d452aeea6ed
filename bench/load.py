"""Tiles per second in random order, batches of 256, one process that takes batches and does nothing with them.

Ours in each home (histo/training/loader.py) against what is done by hand and against WebDataset (see loaders.py, which says why
that one). Each measurement is one whole epoch or as many as fill a second, from asking for the first batch to having
the last; workers of the others live on between epochs, so that starting them costs them nothing. Cold: the way's files
are dropped from the page cache first, which is checked page by page; what the machine below caches stays cached.
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

AT_LEAST = 1.0  # seconds of a warm measurement
OURS = {"ours, page cache": "cache", "ours, copied to the device (here: memory)": "device", "ours, streamed": "stream"}


def tiles_per_second(batches: Batches, at_least: float) -> Callable[[], float]:
    """A way for `alternate`: whole epochs for at least so many seconds; returns tiles per second."""
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
    forms: Forms, rivals: dict[str, tuple[Batches, list[Path]]], repeats: int, at_least: float
) -> dict[str, list[float]]:
    """Tiles per second of all ways but streaming, which reads past the page cache where it can."""
    homes = {label: ours(forms.tiles(torch.device("cpu"), home)) for label, home in OURS.items() if home != "stream"}
    ways = homes | {label: batches for label, (batches, _) in rivals.items()}
    return alternate({label: tiles_per_second(batches, at_least) for label, batches in ways.items()}, repeats)


def cold(forms: Forms, batches: Batches | None, files: list[Path], home: str | None) -> Callable[[], float]:
    """A way for `alternate`: one epoch of files that are not in the page cache; NaN where they stayed there.

    batches: None for ours, which is opened anew each time: mapped pages cannot be dropped.
    """

    def measure() -> float:
        now = batches or ours(forms.tiles(torch.device("cpu"), home))
        evict(files)
        if statistics.mean(cached_share(path) for path in files[:: max(1, len(files) // 50)]) > 0.05:
            return float("nan")
        return tiles_per_second(now, 0)()

    return measure


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--tiles", type=int, default=20000)
    parser.add_argument("--repeats", type=int, default=5, help="of the warm measurements")
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
        rivals = others(forms, workers, pinned=False)
        found = warm(forms, rivals, warm_repeats, 0 if options.smoke else AT_LEAST)
        shards = forms.files("train-*.h5")
        chilled = {label: cold(forms, None, shards, home) for label, home in OURS.items() if home != "device"} | {
            label: cold(forms, batches, files, None) for label, (batches, files) in rivals.items()
        }
        frozen = alternate(chilled, cold_repeats, warm_up=False)

    report.add(
        f"{tiles:,} tiles of random pixels ({tiles * 27648 / 1e6:,.0f} MB), batches of {BATCH}; medians of "
        f"n = {warm_repeats} (warm) and n = {cold_repeats} (cold) interleaved repeats; torch with "
        f"{torch.get_num_threads()} threads."
    )
    mine = next(iter(OURS))
    report.table(
        ["way", "warm, tiles/s", "spread (IQR)", "page cache is … times as fast", "cold, tiles/s"],
        [
            (
                label,
                f"{statistics.median(found[label]):,.0f}" if label in found else "-",
                spread(found[label]) if label in found else "-",
                f"{paired(found[mine], found[label]):.1f}" if label in found else "-",
                f"{statistics.median(frozen[label]):,.0f}" if label in frozen else "-",
            )
            for label in (*OURS, *rivals)
        ],
    )
    if any(value != value for values in frozen.values() for value in values):
        report.add("nan: the files could not be dropped from the page cache.")
    report.add("Ratios: tiles per second of ours in the page cache / of the other, warm.")
    for label, short in zip(
        rivals, ("tiff_dataloader", "hdf5_opened_per_tile", "h5py_fancy", "webdataset"), strict=True
    ):
        report.ratio(f"load_vs_{short}", paired(found[mine], found[label]))
    report.close()


if __name__ == "__main__":
    main()
