"""Training and prediction on a CPU: what each measure saves, one core, in bfloat16.

The measures, each added to those before it:

- one pass: convolution and ReLU6 of `efficientnet_lite0` where no gradient is needed (networks/efficientnet_lite.py);
- gradients: those of depthwise convolutions in parts that oneDNN computes fast (networks/depthwise.py);
- memory: the C library keeps what is freed (training/memory.py).

Each repeat is a process of its own. Predicted logits are equal with all of them, which is checked. Random tiles and
random weights: the time does not depend on their values.
"""

import multiprocessing
import statistics
import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from measure import Report, alternate, arguments, machine, paired
from torch import Tensor
from torch.nn import functional

from histo.geometry import SIDE
from histo.networks import efficientnet_lite
from histo.networks.network import build
from histo.training.memory import reuse_freed_memory

LITE = {"frozen_stages": 3, "dropout": 0.2}
NETWORKS = {  # settings, side of the input in pixels
    "efficientnet_lite0": (LITE, 192),
    "efficientnet_lite2": (LITE, 192),
    "residual": ({"width": 32, "blocks": 2, "dropout": 0.0}, SIDE),
}
MEASURES = ("none", "one pass", "gradients", "memory")
BATCH, STEPS, REPEATS = 32, 3, 5


class Times(NamedTuple):
    """Seconds of processor time of one batch, and its logits."""

    training: float
    prediction: float
    logits: np.ndarray


def depthwise_in_float32(conv: efficientnet_lite.SameConv, x: Tensor, weight: Tensor) -> Tensor:
    """PyTorch's own gradients of depthwise convolutions, which it computes faster in float32 than in bfloat16."""
    with torch.autocast("cpu", enabled=False):
        x = functional.pad(x.float(), [p for side in (x.shape[3], x.shape[2]) for p in conv._pads(side)])
        return functional.conv2d(x, weight, None, conv.stride[0], 0, 1, conv.groups)


def processor_seconds(name: str, measures: int, batch: int, steps: int) -> Times:
    """Train and predict one batch with the first `measures` of the measures; the shortest of `steps` times each."""
    torch.set_num_threads(1)
    torch.manual_seed(1)
    options, side = NETWORKS[name]
    network = build({"name": name, **options}, SIDE, input_size=None if side == SIDE else side)
    if measures < 1 and hasattr(network.body, "_fuses_relu6"):
        network.body._fuses_relu6 = lambda x: False
    if measures < 2:
        efficientnet_lite.SameConv._trained_depthwise = depthwise_in_float32
    if measures >= 3:
        reuse_freed_memory()
    tiles = torch.randint(0, 256, (batch, 3, SIDE, SIDE), dtype=torch.uint8)
    labels = torch.randint(0, 2, (batch,)).float()

    def train() -> None:
        network.train().zero_grad()
        with torch.autocast("cpu", torch.bfloat16):
            logits = network(tiles)
        functional.binary_cross_entropy_with_logits(logits, labels).backward()

    def predict() -> Tensor:
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
            return network.eval()(tiles)

    logits = predict().numpy()  # before training changes the statistics of batch normalisation
    found = []
    for work in (train, predict):
        work()
        times = []
        for _ in range(steps):
            begun = time.process_time()
            work()
            times.append(time.process_time() - begun)
        found.append(min(times))
    return Times(*found, logits)


def main() -> None:
    options = arguments(__doc__).parse_args()
    report = Report(__file__, "cpu: training and prediction on a CPU", machine("torch", "numpy"), options.smoke)
    batch, steps, repeats = (2, 1, 1) if options.smoke else (BATCH, STEPS, REPEATS)
    report.add(
        f"Batches of {batch} tiles, one thread; augmentation, loader and optimizer are left out. Processor time: the "
        f"shortest of {steps} batches in a process, medians of {repeats} processes, alternating."
    )
    rows = []
    for name, (_, side) in NETWORKS.items():
        every = (0, 3) if name == "residual" else range(len(MEASURES))
        work = {MEASURES[count]: partial(in_own_process, name, count, batch, steps) for count in every}
        found = alternate(work, repeats, warm_up=False)
        first = found["none"]
        if any(not np.array_equal(times.logits, first[0].logits) for each in found.values() for times in each):
            raise RuntimeError(f"{name}: expected equal logits with all measures, found different ones")
        for measure, times in found.items():
            cells = []
            for kind in ("training", "prediction"):
                seconds = [getattr(one, kind) for one in times]
                ratio = paired([getattr(one, kind) for one in first], seconds)
                cells += [f"{batch / statistics.median(seconds):.0f}", f"{ratio:.2f}"]
                if measure == MEASURES[-1]:
                    report.ratio(f"cpu_{kind}_with_vs_without_{name}", ratio)
            rows.append((name, side, measure, *cells))
    columns = ["network", "input, pixels", "with", "training, tiles/s", "ratio", "prediction, views/s", "ratio"]
    report.table(columns, rows)
    report.add("Each row has the measures of those above it too. Ratios: time without any measure / time of the row.")
    report.close()


def in_own_process(*arguments: object) -> Times:
    """Call `processor_seconds` in a new process: what the C library does with memory cannot be undone."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(processor_seconds, *arguments).result()


if __name__ == "__main__":
    main()
