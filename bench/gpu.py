"""All that is worth knowing on a GPU, in one command and less than eight minutes, on synthetic shards.

1. One epoch in which an operation that lets the host wait for the GPU is an error.
2. `deterministic: true`: equal bits of two runs, equal bits of tiles on the device and in the page cache, its cost.
3. Training step by source of loss: the bound of its FLOP and bytes (ceiling.py), then what kernels, augmentation, plans
   and loading add; at 96 pixels, all augmentation on, in the precision that `auto` selects; `plain_3conv` is the
   published network of that name. The same with `cuda_graphs: true`.
4. Augmentation of a fixed batch, gathered from all tiles: as eager operations and compiled as one function (fused.py).
5. Loading: tiles per second that reach the GPU, in batches of 256 in random order (methods: loaders.py).

Timed with CUDA events. Without a GPU it runs the same at reduced size on the CPU, without CUDA graphs and the first
part, to show that it works. A part that begins after six minutes is left out.
"""

import importlib.util
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from ceiling import Clock, Comparison, Speed
from forms import BATCH, Forms
from measure import Report, alternate, arguments, cores, machine, paired, spread

from histo.augmentation.changes import apply
from histo.augmentation.fused import FusedAugmentation
from histo.config.train import Augmentation
from histo.training.devices import reproducible

EPOCH = 176_020  # training tiles without one fold: four fifths of 220,025
LATEST = 360.0  # seconds after which no part begins
AT_LEAST = 1.0  # minimum seconds of a measurement of loading
OURS = {"ours, on the device": "device", "ours, page cache": "cache", "ours, streamed": "stream"}
STEPS = {  # network, batches
    "plain_3conv": (32, 256),
    "lite0": (32, 256),
    "p4m_residual": (32, 256),
    "residual": (256,),
    "resnet34": (256,),
    "densenet121": (256,),
}
AUGMENTATIONS = {  # the default; that of the model lite0; with detail
    "default": {},
    "lite0": {"channel_scale": 0.3, "channel_offset": 0.6},
    "detail": {"gamma": 0.4, "sharpness": 0.5, "noise": 5.0},
}
GRAPHS = {"plain_3conv": (32, 256), "p4m_residual": (32, 256), "lite0": (32,)}


class Bench:
    """Sizes of a run. Attribute `device`."""

    def __init__(self, device: torch.device, smoke: bool) -> None:
        self.device, self._begun = device, time.perf_counter()
        self.full = device.type == "cuda" and not smoke
        self.tiles = 16_384 if self.full else 2 * BATCH
        self.seconds = 6.0 if self.full else 0.0  # of a comparison of steps
        self.repeats = 3 if self.full else 1
        self.few = 16 if self.full else 2  # steps
        self.steps = STEPS if self.full else {"plain_3conv": (32,), "p4m_residual": (8,)}
        self.graphs = GRAPHS if device.type == "cuda" else {}

    def in_time(self, report: Report, part: str) -> bool:
        """Return whether a part may begin; report it if not."""
        elapsed = time.perf_counter() - self._begun
        if elapsed > LATEST:
            report.add("", f"{part}: left out after {elapsed:.0f} s.")
        return elapsed <= LATEST


@contextmanager
def waits_are_errors() -> Iterator[None]:
    """Let torch raise RuntimeError at an operation that lets the host wait for the GPU."""
    before = torch.cuda.get_sync_debug_mode()
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode(before)


def check_waits(report: Report, bench: Bench, forms: Forms) -> None:
    """Train one epoch of the networks of this project without the host waiting for the GPU."""
    for network in ("residual", "p4m_residual", "lite0"):
        for storage in ("device", "cache"):
            comparison = Comparison(network, forms.tiles(bench.device, storage), BATCH, {"ema": 0.999})
            with waits_are_errors():
                steps = comparison.epoch_without_losses()
            report.add(f"{network}, storage {storage}: {steps} steps without a wait of the host.")


def weights_after(network: str, forms: Forms, bench: Bench, storage: str, deterministic: bool) -> list[torch.Tensor]:
    """Weights after some steps."""
    with reproducible(deterministic):
        comparison = Comparison(network, forms.tiles(bench.device, storage), 32, {"precision": "float32"})
        comparison.real(bench.few)
    return [value.cpu() for value in comparison.engine.network.state_dict().values()]


def reproducibility(report: Report, bench: Bench, forms: Forms) -> None:
    """Compare the weights of equal runs, and the speed with and without deterministic kernels."""
    rows = []
    for network in ("plain_3conv", "p4m_residual")[: 2 if bench.full else 1]:
        for deterministic in (False, True):
            first, again, cached = (
                weights_after(network, forms, bench, storage, deterministic)
                for storage in ("device", "device", "cache")
            )
            with reproducible(deterministic):
                comparison = Comparison(network, forms.tiles(bench.device, "device"), 32)
                comparison.ceiling(bench.few)
                step = statistics.median(comparison.ceiling(bench.few) / bench.few for _ in range(3))
            rows.append(
                (
                    network, "on" if deterministic else "off",
                    *("equal" if all(map(torch.equal, first, other)) else "different" for other in (again, cached)),
                    f"{1e3 * step:.2f}",
                )
            )  # fmt: skip
    report.add("", "## Reproducibility: bits of the weights after equal runs in float32, batches of 32")
    report.table(["network", "deterministic", "second run", "tiles in page cache", "ms per step"], rows)


def training(report: Report, bench: Bench, forms: Forms) -> None:
    """Measure the training step by source of loss."""
    tiles, rows, sources, speeds = forms.tiles(bench.device, "device"), [], [], {}
    for network, sizes in bench.steps.items():
        for batch_size in sizes:
            comparison = Comparison(network, tiles, batch_size)
            dtype = comparison.engine.dtype
            if dtype not in speeds:
                speeds[dtype] = Speed.measured(bench.device, dtype, 1.0 if bench.full else 0.1)
            parts = comparison.losses(bench.seconds, min(1.0, bench.seconds / 8), speeds[dtype])
            real = sum(seconds for _, seconds in parts)
            fixed = parts[0][1] + parts[1][1]
            rows.append(
                (
                    network, batch_size, f"{1e3 * real:.3f}", f"{100 * parts[0][1] / real:.0f} %",
                    f"{100 * fixed / real:.1f} %", f"{EPOCH // batch_size * real:.1f}",
                )
            )  # fmt: skip
            sources += [
                (f"{network}, {batch_size}", part, f"{1e3 * seconds:.3f}", f"{100 * seconds / real:.1f} %")
                for part, seconds in parts
            ]
            report.ratio(f"gpu_share_of_fixed_batch_{network}_{batch_size}", fixed / real)
            report.ratio(f"gpu_share_of_bound_{network}_{batch_size}", parts[0][1] / real)
            del comparison  # frees the memory of the GPU
    report.add("", "## Training step, tiles on the device; medians")
    for dtype, speed in speeds.items():
        report.add(
            f"{str(dtype).removeprefix('torch.')}: matrix product {speed.flops / 1e12:.2f} TFLOP/s, copy "
            f"{speed.bandwidth / 1e9:.0f} GB/s read and written."
        )
    columns = ["network", "batch", "ms per step", "bound / real", "fixed batch / real", f"s per epoch of {EPOCH:,}"]
    report.table(columns, rows)
    report.add("What each part adds to the bound:")
    report.table(["network, batch", "part", "ms per step", "share"], sources)


def graphs(report: Report, bench: Bench, forms: Forms) -> None:
    """Compare steps on one fixed batch with and without CUDA graphs."""
    tiles, rows = forms.tiles(bench.device, "device"), []
    for network, sizes in bench.graphs.items():
        for batch_size in sizes:
            if not bench.in_time(report, f"CUDA graphs of {network}, batch {batch_size}"):
                continue
            plain = Comparison(network, tiles, batch_size)
            begun = time.perf_counter()
            graphed = Comparison(network, tiles, batch_size, {"cuda_graphs": True})
            graphed.ceiling(5)
            compiled = time.perf_counter() - begun
            found = alternate({"plain": lambda p=plain: p.ceiling(50), "graphs": lambda g=graphed: g.ceiling(50)}, 5)
            share = paired(found["graphs"], found["plain"])
            rows.append((network, batch_size, *(f"{20 * statistics.median(found[name]):.3f}" for name in found),
                         f"{share:.2f}", f"{compiled:.0f}"))  # fmt: skip
            report.ratio(f"gpu_graphs_vs_plain_{network}_{batch_size}", share)
    if rows:
        report.add("", "## CUDA graphs: ms per step on one fixed batch")
        report.table(["network", "batch", "without", "with", "with / without", "s to compile"], rows)


def augmentation(report: Report, bench: Bench, forms: Forms) -> None:
    """Compare the augmentation of gathered tiles with and without fusion."""
    if shutil.which("g++") is None:
        report.add("", "Fused augmentation: left out, there is no C++ compiler, which torch.compile needs.")
        return
    tiles, rows = forms.tiles(bench.device, "device"), []
    for name, changes in AUGMENTATIONS.items():
        comparison = Comparison("plain_3conv", tiles, BATCH, {"augment": Augmentation(**changes).model_dump()})
        fused, begun = FusedAugmentation(), time.perf_counter()
        positions, labels = torch.arange(BATCH, device=bench.device), comparison.raw_labels
        methods = {
            "eager": lambda c=comparison, p=positions, y=labels: apply(c.plan, tiles.resident[p], y),
            "fused": lambda c=comparison, p=positions, y=labels, f=fused: f(c.plan, tiles.resident, p, y),
        }
        methods["fused"]()
        compiled, clock = time.perf_counter() - begun, Clock(bench.device)

        def times(work: Callable[[], object], clock: Clock = clock) -> Callable[[], float]:
            def measure() -> float:
                begun = clock.now()
                for _ in range(bench.few):
                    work()
                return clock.between(begun, clock.now()) / bench.few

            return measure

        found = alternate({label: times(work) for label, work in methods.items()}, 5 if bench.full else 1)
        share = paired(found["fused"], found["eager"])
        rows.append((name, *(f"{1e3 * statistics.median(values):.3f}" for values in found.values()), f"{share:.2f}",
                     f"{compiled:.0f}"))  # fmt: skip
        report.ratio(f"gpu_fused_vs_eager_augmentation_{name}", share)
    report.add("", f"## Augmentation of {BATCH} tiles: ms")
    report.table(["changes", "eager", "fused", "fused / eager", "s to compile"], rows)


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


def load(report: Report, bench: Bench, forms: Forms) -> None:
    """Measure loading."""
    from loaders import others, ours  # needs bench/requirements.txt

    methods = {label: ours(forms.tiles(bench.device, storage)) for label, storage in OURS.items()}
    baselines = others(forms, cores(), pinned=bench.device.type == "cuda")
    methods |= {label: batches for label, (batches, _) in baselines.items()}
    at_least = AT_LEAST if bench.full else 0.0
    found = alternate(
        {label: arriving(batches, bench.device, at_least) for label, batches in methods.items()}, bench.repeats
    )  # fmt: skip
    report.add(
        "",
        f"## Load: {forms.count:,} tiles, batches of {BATCH}; medians of n = {bench.repeats} interleaved repeats",
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


def main() -> None:
    options = arguments(__doc__).parse_args()
    device = torch.device("cuda", 0) if torch.cuda.is_available() else torch.device("cpu")
    bench = Bench(device, options.smoke)
    compares = importlib.util.find_spec("webdataset") is not None
    lines = machine("torch", "torchvision", *(["webdataset"] if compares else []), "h5py", "pillow")
    report = Report(__file__, "gpu: training and loading on a GPU", lines, options.smoke)
    if device.type == "cuda":
        torch.cuda.set_device(device)
        torch.backends.cudnn.benchmark = True  # as the stage `train` does
        report.add(f"{torch.cuda.get_device_name(device)}, CUDA {torch.version.cuda}.")
    else:
        report.add("No GPU: run at reduced size on the CPU. The numbers show that the command works, nothing else.")
    begun = time.perf_counter()
    with tempfile.TemporaryDirectory() as name:
        forms = Forms(Path(name), bench.tiles, others=compares)
        if device.type == "cuda":
            check_waits(report, bench, forms)
        for part in (reproducibility, training, augmentation, load, graphs):
            if part is load and not compares:
                report.add("", "Load: left out, bench/requirements.txt is not installed.")
            elif bench.in_time(report, part.__name__):
                part(report, bench, forms)
    report.add(f"{time.perf_counter() - begun:.0f} s in all.", "")
    report.add(
        "Ratios: fixed batch / real path and bound / real path, in seconds per step; steps with CUDA graphs / without; "
        "fused augmentation / eager; "
        "tiles per second of ours in the page cache / of the other."
    )
    report.close()


if __name__ == "__main__":
    main()
