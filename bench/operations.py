"""Operations of torch (ATen calls, views left out) in a training step and in a batch of inference, for each network.

On a GPU each is at least one kernel that the host launches, which takes some microseconds and bounds a small network.
Counted with 4 tiles in bfloat16 on the CPU. A training step is `Engine.train_step` with clipping and EMA, without
augmentation, which is counted for itself; inference is the second batch, with kernels that are kept.
"""

from typing import Any

import numpy as np
import torch
from ceiling import BODIES, SEED, SETTINGS
from measure import Report, arguments, machine
from torch.utils._python_dispatch import TorchDispatchMode

from histo.augmentation.changes import apply
from histo.augmentation.plans import Plans
from histo.config.train import TrainSettings
from histo.geometry import SHAPE, SIDE
from histo.networks.network import Network
from histo.training.engine import Engine

TILES = 4
# Counted in the same way at commit 2030f8a, before the change to fewer operations: training step, batch of inference.
BEFORE = {
    "p4m_residual": (1386, 549),
    "residual": (395, 78),
    "densenet121": (2592, 435),
    "resnet34": (660, 129),
}


class Count(TorchDispatchMode):
    """Counts operations. Attribute `found`."""

    def __init__(self) -> None:
        super().__init__()
        self.found = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.found += not (function.is_view or function.overloadpacket.__name__ == "detach")
        return function(*args, **(kwargs or {}))


def counts(name: str) -> tuple[int, int]:
    """Operations of a training step and of a batch of inference."""
    torch.manual_seed(SEED)
    settings = TrainSettings(**SETTINGS | {"ema": 0.999, "precision": "bfloat16", "batch_size": TILES})
    network = Network(BODIES[name](), SIDE).to(memory_format=torch.channels_last)
    engine = Engine(network, settings, torch.device("cpu"), 1000)
    tiles, labels = torch.rand(TILES, 3, SIDE, SIDE), torch.zeros(TILES)
    engine.train_step(tiles, labels)
    with Count() as step:
        engine.train_step(tiles, labels)
    network.eval()
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        network(tiles)
        with Count() as batch:
            network(tiles)
    return step.found, batch.found


def of_augmentation() -> int:
    """Operations of `apply` as on a GPU, on the device `meta`; all augmentation on."""
    half = np.full(3, 0.5)
    plans = Plans(
        TrainSettings(**SETTINGS).augment, side=SIDE, mean=half, std=half, seed=SEED, epoch=1, batch_size=64
    )  # fmt: skip
    meta = torch.device("meta")
    with Count() as found:
        apply(plans.batch(0), torch.empty((64, *SHAPE), dtype=torch.uint8, device=meta), torch.empty(64, device=meta))
    return found.found


def main() -> None:
    options = arguments(__doc__).parse_args()
    report = Report(__file__, "operations: calls of torch per step", machine("torch", "torchvision"), options.smoke)
    rows = []
    for name, before in list(BEFORE.items())[: 2 if options.smoke else 4]:
        found = counts(name)
        rows.append((name, *(f"{value:,}" for pair in zip(before, found, strict=True) for value in pair)))
        report.ratio(f"operations_vs_before_{name}", found[0] / before[0])
    report.table(["network", "training step, before", "now", "batch of inference, before", "now"], rows)
    report.add(f"Augmentation of a batch on a GPU, all of it on: {of_augmentation():,}.")
    report.add("Ratios: operations of a training step, now / before.")
    report.close()


if __name__ == "__main__":
    main()
