"""Strength of each change of colour, sharpness and noise in grey levels, and the time of the new ones.

The tiles are those of $PCAM_REAL_ARCHIVE (a zip in the layout of Kaggle's) whose slide is in $PCAM_REAL_SLIDES
(default: beside the archive, …-slides.csv, columns id,slide). Three kinds of pixels: eosin and nuclei, each the quarter
of the tissue pixels of a slide with most eosin less haematoxylin and with most haematoxylin (Ruifrok & Johnston 2001),
and white, the lightest hundredth of the pixels of a slide. The strength is the standard deviation of the change of
these pixels over all tiles and draws. Differences between slides are standard deviations of the median colour.
"""

import io
import itertools
import os
import statistics
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from ceiling import BODIES, SETTINGS
from measure import ROOT, Report, alternate, arguments, machine, paired, seconds
from PIL import Image

from histo.augmentation.changes import apply
from histo.augmentation.matrices import HED, LUMA
from histo.augmentation.plans import Plans, plan
from histo.config.train import Augmentation, TrainSettings
from histo.geometry import SIDE
from histo.networks.network import Network
from histo.training.engine import Engine

ARCHIVE = Path(os.environ.get("PCAM_REAL_ARCHIVE", ROOT.parent / "shared" / "data" / "pcam-real.zip"))
SLIDES = Path(os.environ.get("PCAM_REAL_SLIDES", ARCHIVE.with_name(f"{ARCHIVE.stem}-slides.csv")))
LEAST = 10  # tiles of a slide that is compared with others
BATCH = 64

OFF: dict[str, Any] = {name: type(value)(0) for name, value in Augmentation().model_dump().items()} | {"probability": 1}
USUAL = OFF | {
    "flips": True, "brightness": 0.1, "contrast": 0.1, "saturation": 0.1, "hue": 0.02, "channel_scale": 0.2,
    "channel_offset": 0.3,
}  # fmt: skip
STRENGTHS: dict[str, tuple[float, ...]] = {
    "brightness": (0.1,), "contrast": (0.1,), "saturation": (0.1,), "hue": (0.02,),
    "channel_scale": (0.2, 0.4), "channel_offset": (0.3, 1.0), "stain": (0.05, 0.1),
    "gamma": (0.2, 0.4, 0.6, 1.0), "stain_scale": (0.1, 0.2, 0.3, 0.5), "sharpness": (0.25, 0.5, 1.0),
    "noise": (4.0, 8.0, 16.0),
}  # fmt: skip
NEW = {"gamma": 0.4, "stain_scale": 0.2, "sharpness": 0.5, "noise": 8.0}


def read_tiles(count: int | None) -> tuple[np.ndarray, np.ndarray]:
    """Return the first `count` tiles of known slide, uint8 [N, 96, 96, 3], and their slides."""
    known = pd.read_csv(SLIDES).sort_values("slide", kind="stable").iloc[:count]
    with zipfile.ZipFile(ARCHIVE) as archive:
        data = [archive.read(f"train/{name}.tif") for name in known["id"]]
    return np.stack([np.asarray(Image.open(io.BytesIO(tile))) for tile in data]), known["slide"].to_numpy()


def kinds_of(tiles: np.ndarray) -> dict[str, np.ndarray]:
    """Return masks of the eosin, nucleus and white pixels of tiles of one slide, bool [N, 96, 96]."""
    absorbance = -np.log10((tiles.astype(np.float32) + 1) / 256)
    haematoxylin, eosin, _ = np.moveaxis(absorbance @ np.linalg.inv(HED).astype(np.float32), 3, 0)
    tissue, luma = absorbance.mean(3) > 0.1, tiles @ LUMA
    more = eosin - haematoxylin
    return {
        "eosin": tissue & (more >= np.quantile(more[tissue], 0.75)),
        "nucleus": tissue & (haematoxylin >= np.quantile(haematoxylin[tissue], 0.75)),
        "white": luma >= np.quantile(luma, 0.99),
    }


def octaves(tiles: np.ndarray) -> float:
    """Return the standard deviation of the detail that `sharpness` changes, relative to that of the next octave."""
    grey = torch.from_numpy(tiles @ LUMA)
    kernel = torch.tensor([1.0, 4, 6, 4, 1], dtype=grey.dtype) / 16

    def blur(images: torch.Tensor) -> torch.Tensor:
        return ((images[:, None].unfold(3, 5, 1) @ kernel).unfold(2, 5, 1) @ kernel)[:, 0]

    once = blur(grey)
    thrice = blur(blur(once))
    return float((grey[:, 2:-2, 2:-2] - once).std() / (once[:, 4:-4, 4:-4] - thrice).std())


def shown(values: np.ndarray) -> str:
    """Return values of red, green and blue as text."""
    return ", ".join(f"{value:.0f}" if value >= 9.95 else f"{value:.1f}" for value in values)


def strength(
    changes: dict[str, float], tiles: np.ndarray, kinds: dict[str, np.ndarray], mean: np.ndarray, std: np.ndarray
) -> list[str]:
    """Return the standard deviation of the changes per kind of pixel: red, green, blue in grey levels."""
    sums = {kind: np.zeros((2, 3)) for kind in kinds}
    counts = dict.fromkeys(kinds, 0)
    for start in range(0, len(tiles), BATCH):
        batch = tiles[start : start + BATCH]
        drawn = plan(
            Augmentation(**OFF | changes), side=SIDE, mean=mean, std=std, seed=1, epoch=1, start=start, count=len(batch)
        )
        changed, _ = apply(drawn, torch.from_numpy(batch), torch.zeros(len(batch)))
        difference = changed.permute(0, 2, 3, 1).numpy() * 255 - batch
        for kind, mask in kinds.items():
            values = difference[mask[start : start + BATCH]].astype(np.float64)
            sums[kind] += values.sum(0), (values**2).sum(0)
            counts[kind] += len(values)
    return [
        shown(np.sqrt(np.maximum(squares / counts[kind] - (total / counts[kind]) ** 2, 0)))
        for kind, (total, squares) in sums.items()
    ]


def report_strengths(report: Report, tiles: np.ndarray, slides: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Add the table of strengths; return mean and standard deviation of the channels in 0..1."""
    masks, colours, details = [], [], []
    for slide in pd.unique(slides):
        own = tiles[slides == slide]
        kinds = kinds_of(own)
        masks.append(kinds)
        if len(own) >= LEAST:
            colours.append([np.median(own[mask], axis=0) for mask in kinds.values()])
            details.append(octaves(own))
    kinds = {kind: np.concatenate([one[kind] for one in masks]) for kind in masks[0]}
    mean, std = tiles.mean((0, 1, 2)) / 255, tiles.std((0, 1, 2)) / 255
    rows = []
    for name, strengths in STRENGTHS.items():
        rows += [(name, f"{value:g}", *strength({name: value}, tiles, kinds, mean, std)) for value in strengths]
    defaults = {
        name: value for name, value in Augmentation().model_dump().items() if name in (*STRENGTHS, "probability")
    }
    rows.append(("default", "all", *strength(defaults, tiles, kinds, mean, std)))
    between = np.std(colours, axis=0, ddof=1) if len(colours) > 1 else np.zeros((3, 3))
    rows.append(("between slides", "", *(shown(values) for values in between)))
    report.add(
        "## Strengths", "",
        f"Standard deviations of the change in grey levels (red, green, blue); {len(tiles)} tiles. The median colours "
        f"are {'; '.join(f'{kind} {shown(np.median(tiles[mask], axis=0))}' for kind, mask in kinds.items())}. Between "
        f"slides: {len(colours)} slides with at least {LEAST} tiles.",
    )  # fmt: skip
    report.table(["change", "strength", *kinds], rows)
    report.add(
        f"Detail of these slides, relative to the next octave: {statistics.mean(details):.2f}, standard deviation "
        f"{100 * statistics.pstdev(details) / statistics.mean(details):.1f} %. `sharpness: 0.1` changes detail by "
        f"{100 * 0.1 / 3**0.5:.1f} %.",
    )
    return mean, std


def report_times(report: Report, tiles: np.ndarray, mean: np.ndarray, std: np.ndarray, repeats: int) -> None:
    """Add the table of times on one core, and the ratios to a step of training."""
    images, labels = torch.from_numpy(tiles[:BATCH].copy()), torch.arange(len(tiles[:BATCH])) % 2 * 1.0
    settings = {"flips and colour": USUAL}
    settings |= {f"with {name}: {value:g}": USUAL | {name: value} for name, value in NEW.items()}
    settings |= {"with all four": USUAL | NEW, "with all four, probability: 0.5": USUAL | NEW | {"probability": 0.5}}

    def augmented(values: dict[str, Any]) -> Callable[[], tuple[torch.Tensor, torch.Tensor]]:
        plans = Plans(Augmentation(**values), side=SIDE, mean=mean, std=std, seed=1, epoch=1, batch_size=len(images))
        step = itertools.count()
        return lambda: apply(plans.batch(next(step)), images, labels)

    torch.manual_seed(1)
    network = Network(BODIES["residual"](), SIDE).to(memory_format=torch.channels_last)
    network.set_normalisation(mean.tolist(), std.tolist())
    engine = Engine(network, TrainSettings(**SETTINGS | {"batch_size": BATCH}), torch.device("cpu"), 1_000_000)
    batch = augmented(USUAL)()
    methods = {name: seconds(augmented(values), time.process_time) for name, values in settings.items()}
    methods["step"] = seconds(lambda: engine.train_step(*batch), time.process_time)
    found = alternate(methods, repeats)
    first, step = "flips and colour", statistics.median(found["step"])
    report.add(
        "", "## Time", "",
        f"Processor time on one core, batches of {BATCH} tiles of 96 pixels; medians of {repeats} rounds in turn. "
        f"A step of the residual CNN (width 32, {str(engine.dtype).removeprefix('torch.')}) takes "
        f"{1e6 * step / BATCH:,.0f} µs per tile.",
    )  # fmt: skip
    rows = []
    for name in settings:
        more = [one - other for one, other in zip(found[name], found[first], strict=True)]
        share, whole = paired(more, found["step"]), paired(found[name], found["step"])
        rows.append(
            (
                name,
                f"{1e6 * statistics.median(found[name]) / BATCH:.0f}",
                f"{100 * whole:.1f} %",
                f"{100 * share:.1f} %",
            )
        )
        if name.startswith("with all"):
            report.ratio(f"augmentation_share_of_step{'_at_half' if 'probability' in name else ''}", share)
    report.table(["augmentation", "µs per tile", "of the step", "added"], rows)


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--repeats", type=int, default=20)
    options = parser.parse_args()
    torch.set_num_threads(1)
    report = Report(__file__, "augmentation: strength and time", machine("torch", "numpy"), options.smoke)
    tiles, slides = read_tiles(BATCH if options.smoke else None)
    mean, std = report_strengths(report, tiles, slides)
    report_times(report, tiles, mean, std, 1 if options.smoke else options.repeats)
    report.add("Ratios: time added by all four new changes / time of the step.")
    report.close()


if __name__ == "__main__":
    main()
