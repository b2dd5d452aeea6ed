"""Training speed against its ceiling: the same steps of the same network on one fixed batch on the device.

The real path is that of the stage `train`: batches from `TileLoader` with prefetched augmentation plans,
`apply` on the device, `Engine.train_step`, the sum of the losses. The ceiling is `Engine.train_step` alone.
Both run in one process on one network, in short alternating blocks, so that disturbances of the machine affect both. A
real block includes the start of its pipeline.

Faults of `Engine.train_step` are in both. `bound` is independent of it: the time that the floating point operations of
the step take at the speed of the device's matrix product, and its bytes at the speed of a copy (`Speed`), for each
operation of torch the longer of the two. A step of fused operations can be faster where its bytes bound it.
"""

import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import measure  # noqa: F401  puts the stages on sys.path
import numpy as np
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry
from torchvision.models import densenet121, resnet34

from histo.augmentation.changes import apply
from histo.augmentation.plans import Plan, Plans
from histo.config.train import TrainSettings
from histo.geometry import SIDE
from histo.networks import efficientnet_lite
from histo.networks.equivariant import p4m_residual
from histo.networks.network import Network
from histo.networks.published import plain_3conv
from histo.networks.residual import residual
from histo.training.engine import Engine
from histo.training.loader import TileLoader, epoch_order, prefetch
from histo.training.loop import RunningLoss

SEED = 1
# All augmentation, at usual strengths.
ALL: dict[str, Any] = {
    "flips": True, "shift": 4, "rotation": 15, "zoom": 0.1, "shear": 5, "brightness": 0.1, "contrast": 0.1,
    "saturation": 0.1, "hue": 0.02, "channel_scale": 0.2, "channel_offset": 0.3, "stain": 0.05, "erase": 0.25,
    "mixup": 0.2, "cutmix": 0.2,
}  # fmt: skip
SETTINGS: dict[str, Any] = {
    "center_crop": SIDE, "seed": SEED, "optimizer": "adamw", "learning_rate": 1e-4, "weight_decay": 0.05,
    "schedule": "one_cycle", "warmup": 0.25, "gradient_clip": 1.0, "ema": 0.0,
    "label_smoothing": 0.0, "pos_weight": 1.0, "focal_gamma": 0.0,
    "precision": "auto", "compile": False, "augment": ALL,
}  # fmt: skip


def plain(convolutions: int, normalised: bool) -> nn.Module:
    """Return a CNN of 3 × 3 convolutions with 32, 64, 128, … (at most 256) channels, all but the last with pooling."""
    layers: list[nn.Module] = []
    inputs = 3
    for number in range(convolutions):
        outputs = min(32 << number, 256)
        layers.append(nn.Conv2d(inputs, outputs, 3, padding=1, bias=not normalised))
        if normalised:
            layers.append(nn.BatchNorm2d(outputs))
        layers.append(nn.ReLU(inplace=True))
        if number < convolutions - 1:
            layers.append(nn.MaxPool2d(2))
        inputs = outputs
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(inputs, 1))


BODIES: dict[str, Callable[[], nn.Module]] = {
    "p4m_residual": lambda: p4m_residual(SIDE, width=32, blocks=2, hidden=128, dropout=0.0),
    "residual": lambda: residual(SIDE, width=32, blocks=2, dropout=0.0),
    "densenet121": lambda: densenet121(weights=None, num_classes=1),
    "resnet34": lambda: resnet34(weights=None, num_classes=1),
    "plain_3conv": lambda: plain_3conv(SIDE),
    "lite0": lambda: efficientnet_lite.lite0(SIDE, frozen_stages=3),
}
INPUT_SIZES = {"lite0": 192}  # as in config/config.yaml; the others get tiles as they are
for count in range(3, 7):
    BODIES[f"plain_{count}"] = lambda count=count: plain(count, normalised=False)
    BODIES[f"batchnorm_{count}"] = lambda count=count: plain(count, normalised=True)


# What each method of `Comparison.losses` adds to the one before it.
LOSSES = (
    "kernels, launches, optimizer",
    "augmentation on the device",
    "drawing and sending plans",
    "order, tiles and labels",
)


class Clock:
    """Time on a device: CUDA events on a GPU, otherwise the performance counter."""

    def __init__(self, device: torch.device) -> None:
        self.device = device

    def now(self) -> Any:
        """Return a time stamp in the order of the work on the device."""
        if self.device.type != "cuda":
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    def between(self, begun: Any, ended: Any) -> float:
        """Return the seconds between two time stamps; waits for the device."""
        if self.device.type != "cuda":
            return ended - begun
        ended.synchronize()
        return begun.elapsed_time(ended) / 1e3


@dataclass(frozen=True)
class Speed:
    """Measured speed of a device: FLOP/s of a matrix product, bytes/s read and written by a copy."""

    flops: float
    bandwidth: float

    @classmethod
    def measured(cls, device: torch.device, dtype: torch.dtype, seconds: float = 1.0) -> "Speed":
        """Measure with matrices and arrays that do not fit a cache; the fastest of several repeats."""
        side, size = (8192, 2**30) if device.type == "cuda" else (1024, 2**27)
        left, right = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
        source = torch.zeros(size, dtype=torch.uint8, device=device)
        target = torch.empty_like(source)
        product = _fastest(lambda: torch.mm(left, right), device, seconds)
        return cls(2 * side**3 / product, 2 * size / _fastest(lambda: target.copy_(source), device, seconds))


def _fastest(work: Callable[[], object], device: torch.device, seconds: float) -> float:
    """Return the least seconds of `work` among repeats for about `seconds`, at least three."""
    clock, found, until = Clock(device), [], time.perf_counter() + seconds
    work()
    while len(found) < 3 or time.perf_counter() < until:
        begun = clock.now()
        work()
        found.append(clock.between(begun, clock.now()))
    return min(found)


class Work(TorchDispatchMode):
    """Records FLOP and bytes of each operation. Attribute `found`: list of (FLOP, bytes), views left out."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[int, int]] = []

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = function(*args, **(kwargs or {}))
        packet = function.overloadpacket
        if not function.is_view and packet.__name__ not in ("detach", "empty", "empty_like", "new_empty"):
            count = flop_registry.get(packet)
            flops = int(count(*args, **(kwargs or {}), out_val=result)) if count else 0
            self.found.append((flops, sum(map(_bytes, tree_leaves((args, kwargs, result))))))
        return result

    def seconds(self, speed: Speed) -> tuple[float, float, float]:
        """Bounds: all FLOP, all bytes, the sum over the operations of the longer of the two."""
        flops, size = (sum(column) for column in zip(*self.found, strict=True))
        longer = sum(max(flops / speed.flops, size / speed.bandwidth) for flops, size in self.found)
        return flops / speed.flops, size / speed.bandwidth, longer


def _bytes(value: Any) -> int:
    """Bytes of the elements of a tensor; an expanded one is read from the memory that it has."""
    if not isinstance(value, torch.Tensor):
        return 0
    return min(value.numel() * value.element_size(), value.untyped_storage().nbytes())


class Comparison:
    """One network, trained alternately on the real path and at its ceiling."""

    def __init__(self, name: str, tiles: TileLoader, batch_size: int, settings: dict[str, Any] | None = None) -> None:
        """settings: overrides of SETTINGS."""
        self.tiles, self.batch_size = tiles, batch_size
        self.settings = TrainSettings(**SETTINGS | {"batch_size": batch_size} | (settings or {}))
        torch.manual_seed(SEED)
        self.mean, self.std = (np.array(values) for values in tiles.statistics())
        network = Network(BODIES[name](), SIDE, INPUT_SIZES.get(name)).to(memory_format=torch.channels_last)
        network.set_normalisation(self.mean.tolist(), self.std.tolist())
        # The schedule of a run so long that it is constant within a block.
        self.engine = Engine(network, self.settings, tiles.device, 1_000_000)
        self.clock = Clock(tiles.device)
        self.epoch = 0
        self.order: list[np.ndarray] = []
        with torch.no_grad():
            self.fixed = next(self._batches(1))
        self.raw, self.raw_labels = next(
            (images.to(tiles.device), labels.to(tiles.device)) for images, labels, _ in tiles.batches(self._order(1))
        )
        self.plan = self._plans(self.epoch).batch(0)

    def _plans(self, epoch: int) -> Plans:
        return Plans(
            self.settings.augment, side=SIDE, mean=self.mean, std=self.std, seed=SEED, epoch=epoch,
            batch_size=self.batch_size,
        )  # fmt: skip

    def _order(self, steps: int) -> list[np.ndarray]:
        """The next `steps` batches of positions, at most those of an epoch."""
        if len(self.order) < steps:
            self.epoch += 1
            self.order = epoch_order(len(self.tiles), self.batch_size, SEED, self.epoch)
        order, self.order = self.order[:steps], self.order[steps:]
        return order

    def _batches(self, steps: int) -> Any:
        """Yield `steps` batches, at most those of an epoch, as the stage `train` passes them to the engine."""
        order = self._order(steps)
        first = len(self.tiles) // self.batch_size - len(self.order) - len(order)
        plans = self._plans(self.epoch)

        def prepare(index: int, count: int) -> Plan:
            return plans.batch(first + index)

        for images, labels, plan in self.tiles.batches(order, prepare):
            yield apply(plan, images, labels)

    def epoch_without_losses(self) -> int:
        """Train on the batches of an epoch, without fetching the losses; return the number of steps."""
        self.order, steps = [], 0
        for batch in self._batches(1_000_000):
            self.engine.train_step(*batch)
            steps += 1
        return steps

    def bound(self, speed: Speed) -> tuple[float, float, float]:
        """Bounds of a step in seconds, see `Work.seconds`; of the fixed batch, without augmentation."""
        with Work() as work:
            self.engine.train_step(*self.fixed)
        return work.seconds(speed)

    def augmented(self, steps: int) -> float:
        """Return the seconds of `steps` steps on the same tiles, augmented in each step by the same plan."""
        begun = self.clock.now()
        for _ in range(steps):
            self.engine.train_step(*apply(self.plan, self.raw, self.raw_labels))
        return self.clock.between(begun, self.clock.now())

    def planned(self, steps: int) -> float:
        """Return the seconds of `steps` steps on the same tiles, with plans that a thread draws."""
        plans = self._plans(1)

        def drawn() -> Iterator[Plan]:
            yield from map(plans.batch, range(steps))

        begun = self.clock.now()
        for plan in prefetch(drawn()):
            self.engine.train_step(*apply(plan, self.raw, self.raw_labels))
        return self.clock.between(begun, self.clock.now())

    def losses(self, seconds: float, block_seconds: float, speed: Speed) -> list[tuple[str, float]]:
        """Seconds per step by source, medians over rounds of all methods: the bound first, then what each part adds.

        Their sum is the real path, up to the noise of the medians.
        """
        methods = [self.ceiling, self.augmented, self.planned, self.real]
        for method in methods:
            method(1)
        steps = max(2, min(round(block_seconds / (self.ceiling(2) / 2)), len(self.tiles) // self.batch_size))
        rounds: list[list[float]] = []
        begun = time.perf_counter()
        while len(rounds) < 3 or time.perf_counter() - begun < seconds:
            shift = len(rounds) % len(methods)
            found = {method: method(steps) / steps for method in methods[shift:] + methods[:shift]}
            rounds.append([found[method] for method in methods])
        bound = self.bound(speed)[2]
        added = [
            statistics.median(one[k] - (one[k - 1] if k else bound) for one in rounds) for k in range(len(methods))
        ]
        return list(zip(("bound", *LOSSES), (bound, *added), strict=True))

    def real(self, steps: int) -> float:
        """Return the seconds of `steps` steps on the real path."""
        losses = RunningLoss(self.settings)
        begun = self.clock.now()
        for step, batch in enumerate(self._batches(steps), 1):
            losses.add(self.engine.train_step(*batch), self.epoch, step)
        losses.fetch()
        return self.clock.between(begun, self.clock.now())

    def ceiling(self, steps: int) -> float:
        """Return the seconds of `steps` steps on the fixed batch."""
        begun = self.clock.now()
        for _ in range(steps):
            self.engine.train_step(*self.fixed)
        return self.clock.between(begun, self.clock.now())

    def run(self, seconds: float, block_seconds: float) -> tuple[list[float], list[float], int]:
        """Run alternating blocks for about `seconds`, at least three pairs.

        Return the seconds per step of each real block, those of each ceiling block, and the steps per block.
        """
        self.real(1)  # allocates memory and selects kernels
        self.ceiling(1)
        once = self.ceiling(2) / 2
        steps = max(2, min(round(block_seconds / once), len(self.tiles) // self.batch_size))
        real, ceiling = [], []
        measurements = [(self.real, real), (self.ceiling, ceiling)]
        begun = time.perf_counter()
        while len(real) < 3 or time.perf_counter() - begun < seconds:
            for measure_block, found in measurements:
                found.append(measure_block(steps) / steps)
            measurements.reverse()
        return real, ceiling, steps
