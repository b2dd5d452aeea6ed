"""Prediction on a CPU: eight views of each tile with the default model, one core, in bfloat16.

Convolution and ReLU6 of `efficientnet_lite0` are one pass; before, they were two. Both compute the same bits, which is
checked. Random tiles from the page cache and random weights: the time does not depend on their values.
"""

import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from forms import Forms
from measure import Report, alternate, arguments, machine, paired, seconds, spread

from histo.geometry import SIDE
from histo.networks.network import build
from histo.training.engine import VIEWS, predict_logits

NETWORK = {"name": "efficientnet_lite0", "frozen_stages": 3, "dropout": 0.2}
TILES, REPEATS = 64, 9


def main() -> None:
    options = arguments(__doc__).parse_args()
    torch.set_num_threads(1)
    report = Report(__file__, "prediction: views per second on a CPU", machine("torch", "numpy"), options.smoke)
    count, repeats = (8, 1) if options.smoke else (TILES, REPEATS)
    report.add(f"{count} tiles, 8 views each, one thread; medians of {repeats} alternating repeats, processor time.")
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        tiles = Forms(Path(folder), count, others=False).tiles(torch.device("cpu"), "cache")
        for side in [SIDE] if options.smoke else [SIDE, 192, 224]:
            torch.manual_seed(1)
            network = build(NETWORK, SIDE, input_size=side).to(memory_format=torch.channels_last)
            fuses = network.body._fuses_relu6

            def predict(fuses=fuses, network=network) -> np.ndarray:
                network.body._fuses_relu6 = fuses
                return predict_logits(network, tiles, torch.bfloat16, "all")

            def predict_in_two_passes(predict=predict) -> np.ndarray:
                return predict(lambda x: False)

            if not np.array_equal(predict(), predict_in_two_passes()):
                raise RuntimeError("one pass and two passes: expected equal logits, found different ones")
            work = {"two passes": predict_in_two_passes, "one pass": predict}
            found = alternate({name: seconds(one, time.process_time) for name, one in work.items()}, repeats)
            views = count * len(VIEWS["all"])
            speeds = [f"{views / statistics.median(times):.0f}" for times in found.values()]
            ratio = paired(found["two passes"], found["one pass"])
            rows.append((side, *speeds, f"{ratio:.2f}", spread(found["one pass"])))
            report.ratio(f"prediction_one_pass_vs_two_{side}", ratio)
    report.table(["input, pixels", "two passes, views/s", "one pass, views/s", "ratio", "spread (IQR)"], rows)
    report.add("Ratios: time of two passes / time of one.")
    report.close()


if __name__ == "__main__":
    main()
