"""Training speed against its ceiling: the same steps of the same network on one fixed batch on the device.

The real path is that of the stage `train`: batches from `TileLoader` with prefetched augmentation plans,
`apply` on the device, `Engine.train_step`, the sum of the losses. The ceiling is `Engine.train_step` alone.
Both run in one process on one network, in short alternating blocks, so that disturbances of the machine affect both. A
real block includes the start of its pipeline.
"""

import time
from collections.abc import Callable
from typing import Any

import measure  # noqa: F401  puts the stages on sys.path
import numpy as np
import torch
from torch import nn
from torchvision.models import densenet121, resnet34

from histo.augmentation.changes import apply
from histo.augmentation.plans import Plan, Plans
from histo.config.train import TrainSettings
from histo.geometry import SIDE
from histo.networks.equivariant import p4m_residual
from histo.networks.network import Network, residual
from histo.training.engine import Engine
from histo.training.loader import TileLoader, epoch_order
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
}
for count in range(3, 7):
    BODIES[f"plain_{count}"] = lambda count=count: plain(count, normalised=False)
    BODIES[f"batchnorm_{count}"] = lambda count=count: plain(count, normalised=True)


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


class Comparison:
    """One network, trained alternately on the real path and at its ceiling."""

    def __init__(self, name: str, tiles: TileLoader, batch_size: int, settings: dict[str, Any] | None = None) -> None:
        """settings: overrides of SETTINGS."""
        self.tiles, self.batch_size = tiles, batch_size
        self.settings = TrainSettings(**SETTINGS | {"batch_size": batch_size} | (settings or {}))
        torch.manual_seed(SEED)
        self.mean, self.std = (np.array(values) for values in tiles.statistics())
        network = Network(BODIES[name](), SIDE).to(memory_format=torch.channels_last)
        network.set_normalisation(self.mean.tolist(), self.std.tolist())
        # The schedule of a run so long that it is constant within a block.
        self.engine = Engine(network, self.settings, tiles.device, 1_000_000)
        self.clock = Clock(tiles.device)
        self.epoch = 0
        self.order: list[np.ndarray] = []
        with torch.no_grad():
            self.fixed = next(self._batches(1))

    def _batches(self, steps: int) -> Any:
        """Yield `steps` batches, at most those of an epoch, as the stage `train` passes them to the engine."""
        if len(self.order) < steps:
            self.epoch += 1
            self.order = epoch_order(len(self.tiles), self.batch_size, SEED, self.epoch)
        epoch, first = self.epoch, len(self.tiles) // self.batch_size - len(self.order)
        order, self.order = self.order[:steps], self.order[steps:]

        plans = Plans(
            self.settings.augment, side=SIDE, mean=self.mean, std=self.std, seed=SEED, epoch=epoch,
            batch_size=self.batch_size,
        )  # fmt: skip

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
