"""The benchmarks `load` and `train` on a GPU. Without a GPU it prints a message and ends.

Load: tiles per second that reach the GPU, in batches of 256 in random order (methods: loaders.py). Train: steps per
second of the engine as a share of its ceiling (ceiling.py) at 96 pixels, all augmentation on, channels_last, bfloat16
where the GPU computes in it, and the seconds of an epoch on the competition's training tiles of one of five folds.
Timed with CUDA events. Before that, one epoch in which an operation that lets the host wait for the GPU is an error.
"""

import statistics
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from ceiling import BODIES, Clock, Comparison
from forms import BATCH, Forms
from measure import Report, alternate, arguments, cores, machine, paired, spread

EPOCH = 176_020  # training tiles without one fold: four fifths of 220,025
AT_LEAST = 1.0  # minimum seconds of a measurement of loading
OURS = {"ours, on the device": "device", "ours, page cache": "cache", "ours, streamed": "stream"}


def arriving(batches: Callable[[int], Iterator], device: torch.device, at_least: float) -> Callable[[], float]:
    """Return a method for `alternate`: tiles per second that arrive on the device, over whole epochs."""
    epoch, clock = 0, Clock(device)

    def measure() -> float:
        nonlocal epoch
        tiles, begun = 0, clock.now()
        while True:
            epoch += 1
            for images, labels in batches(epoch):
                tiles += len(images)
                images.to(device, non_blocking=True)
                labels.to(device, non_blocking=True)
            elapsed = clock.between(begun, clock.now())
            if elapsed >= at_least:
                return tiles / elapsed

    return measure


def load(report: Report, forms: Forms, device: torch.device, repeats: int, at_least: float) -> None:
    """Measure loading."""
    from loaders import others, ours  # needs bench/requirements.txt, not required on a machine without a GPU

    methods = {label: ours(forms.tiles(device, storage)) for label, storage in OURS.items()}
    baselines = others(forms, cores(), pinned=device.type == "cuda")
    methods |= {label: batches for label, (batches, _) in baselines.items()}
    found = alternate({label: arriving(batches, device, at_least) for label, batches in methods.items()}, repeats)
    report.add(
        "",
        f"## Load: {forms.count:,} tiles, batches of {BATCH} to the GPU; medians of n = {repeats} interleaved repeats",
    )
    mine = "ours, page cache"
    report.table(
        ["method", "tiles/s", "spread (IQR)", "page cache is … times as fast"],
        [
            (label, f"{statistics.median(rates):,.0f}", spread(rates), f"{paired(found[mine], rates):.1f}")
            for label, rates in found.items()
        ],
    )
    for label, short in zip(
        baselines, ("tiff_dataloader", "hdf5_opened_per_tile", "h5py_fancy", "webdataset"), strict=True
    ):
        report.ratio(f"gpu_load_vs_{short}", paired(found[mine], found[label]))


@contextmanager
def waits_are_errors() -> Iterator[None]:
    """Let torch raise RuntimeError at an operation that lets the host wait for the GPU."""
    before = torch.cuda.get_sync_debug_mode()
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode(before)


def check_waits(report: Report, forms: Forms, device: torch.device, batch_size: int) -> None:
    """Train one epoch of both networks of this project without the host waiting for the GPU."""
    for network in ("residual", "p4m_residual"):
        for storage in ("device", "cache"):
            comparison = Comparison(network, forms.tiles(device, storage), batch_size, {"ema": 0.999})
            with waits_are_errors():
                steps = comparison.epoch_without_losses()
            report.add(f"{network}, storage {storage}: {steps} steps without a wait of the host.")


def train(report: Report, forms: Forms, device: torch.device, seconds: float, batch_size: int) -> None:
    """Measure training."""
    tiles = {"device": forms.tiles(device, "device"), "cache": forms.tiles(device, "cache")}
    rows = []
    for network in BODIES:
        for storage, loader in tiles.items():
            comparison = Comparison(network, loader, batch_size)
            real, ceiling, steps = comparison.run(seconds, min(1.0, seconds / 8))
            share, step = paired(ceiling, real), statistics.median(real)
            rows.append(
                (
                    network, storage, f"{1 / step:,.1f}", f"{1 / statistics.median(ceiling):,.1f}",
                    f"{batch_size / step:,.0f}", f"{100 * share:.1f} %", f"{EPOCH / batch_size * step:.1f}",
                    f"{len(real)} × {steps} steps",
                )
            )  # fmt: skip
            if storage == "device":
                report.ratio(f"gpu_share_of_ceiling_{network}", share)
            precision = str(comparison.engine.dtype).removeprefix("torch.")
            del comparison  # frees the memory of the GPU
    report.add("", f"## Train: batches of {batch_size}, {precision}, all augmentation on; medians over pairs of blocks")
    columns = ["network", "storage", "steps/s", "ceiling, steps/s", "tiles/s", "share", f"s per epoch of {EPOCH:,}"]
    report.table([*columns, "n"], rows)


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--tiles", type=int, default=40_000)
    parser.add_argument("--repeats", type=int, default=5, help="of loading")
    parser.add_argument("--seconds", type=float, default=8, help="of training per network and storage mode")
    parser.add_argument("--batch", type=int, default=256, help="tiles per training step")
    options = parser.parse_args()
    if not torch.cuda.is_available():
        print("No GPU available: nothing measured.")
        return
    tiles, repeats, seconds, batch_size = options.tiles, options.repeats, options.seconds, options.batch
    at_least = AT_LEAST
    if options.smoke:
        tiles, repeats, seconds, batch_size, at_least = 2 * BATCH, 1, 0.0, 32, 0.0
    device = torch.device("cuda", 0)
    torch.cuda.set_device(device)
    torch.backends.cudnn.benchmark = True  # as the stage `train` does
    lines = machine("torch", "torchvision", "webdataset", "h5py", "pillow")
    report = Report(__file__, "gpu: load and train on a GPU", lines, options.smoke)
    report.add(f"{torch.cuda.get_device_name(device)}, CUDA {torch.version.cuda}.")
    with tempfile.TemporaryDirectory() as name:
        forms = Forms(Path(name), tiles)
        check_waits(report, forms, device, batch_size)
        load(report, forms, device, repeats, at_least)
        train(report, forms, device, seconds, batch_size)
    report.add(
        "Ratios: tiles per second of ours in the page cache / of the other; steps per second of the engine / of the "
        "ceiling, tiles on the device."
    )
    report.close()


if __name__ == "__main__":
    main()
