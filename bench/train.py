"""Steps per second of the engine as a share of its ceiling on the CPU (ceiling.py defines both).

All augmentation on, 96 pixels, the precision that `auto` selects.
"""

import statistics
import tempfile
from pathlib import Path

import torch
from ceiling import Comparison
from forms import Forms
from measure import Report, arguments, cores, machine, paired, spread

NETWORKS = {  # name, batch size
    "lite0": ("EfficientNet-Lite0, 192 pixels, 3 frozen stages", 32),
    "p4m_residual": ("p4m residual CNN, width 32", 64),
    "residual": ("residual CNN, width 32", 128),
    "densenet121": ("DenseNet-121", 32),
}


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--threads", type=int, default=cores(), help="of torch; default: number of cores")
    parser.add_argument("--seconds", type=float, default=120, help="per network")
    parser.add_argument("--block", type=float, default=4, help="seconds per block of steps")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    report = Report(
        __file__, "train: share of the ceiling on the CPU", machine("torch", "torchvision", "numpy"), options.smoke
    )
    rows, shares = [], {}
    with tempfile.TemporaryDirectory() as name:
        forms = Forms(Path(name), 64 if options.smoke else 8192, others=False)
        tiles = forms.tiles(torch.device("cpu"), "cache")
        for network, (label, batch_size) in NETWORKS.items():
            batch_size = 2 if options.smoke else batch_size
            comparison = Comparison(network, tiles, batch_size)
            real, ceiling, steps = comparison.run(
                0 if options.smoke else options.seconds, 0 if options.smoke else options.block
            )
            shares[network] = paired(ceiling, real)
            fast, best = statistics.median(real), statistics.median(ceiling)
            precision = str(comparison.engine.dtype).removeprefix("torch.")
            rows.append(
                (
                    label, batch_size, precision, f"{1 / fast:.3f}", f"{1 / best:.3f}",
                    f"{batch_size / fast:,.0f}", f"{100 * shares[network]:.1f} %", spread(ceiling),
                    f"{len(real)} × {steps} steps",
                )
            )  # fmt: skip
    report.add(
        f"{options.threads} threads; tiles in page cache, all augmentation on, alternating blocks; medians over pairs."
    )
    columns = [
        "network",
        "batch",
        "precision",
        "steps/s",
        "ceiling, steps/s",
        "tiles/s",
        "share",
        "spread of ceiling (IQR)",
    ]
    report.table([*columns, "n"], rows)
    report.add("Ratios: steps per second of the engine / of the ceiling.")
    for network, share in shares.items():
        report.ratio(f"train_share_of_ceiling_{network}", share)
    report.close()


if __name__ == "__main__":
    main()
