"""Unseen slides: stain normalisation against stain jitter, channel jitter and nothing, on original tiles.

The workflow itself trains each way on the same folds and predicts each fold by the network that never saw it. The tiles
are those of $PCAM_REAL_ARCHIVE (default ../shared/data/pcam-real.zip, the layout of Kaggle's archive); the slides of
some are in $PCAM_REAL_SLIDES (default: beside it, …-slides.csv, columns id,slide) and are never parted. Two figures:
the out-of-fold AUC of all training tiles, and of those whose slide is known: nearer to unseen slides, though a tile of
unknown slide may still be of the same. The network is small, so that the ways can be compared in an hour or so on two
cores; the models on statistics, which know no jitter, are shown with and without normalisation. Figures of one way
differ by the seed of weights and order: the table has mean and standard deviation over the seeds.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import pandas as pd
from measure import ROOT, Report, arguments, cores, machine

from histo import tables
from histo.metrics import auc

ARCHIVE = Path(os.environ.get("PCAM_REAL_ARCHIVE", ROOT.parent / "shared" / "data" / "pcam-real.zip"))
SLIDES = Path(os.environ.get("PCAM_REAL_SLIDES", ARCHIVE.with_name(f"{ARCHIVE.stem}-slides.csv")))

NETWORK = {"name": "residual", "width": 16, "blocks": 1, "dropout": 0.0}
STILL = {
    "brightness": 0.0, "contrast": 0.0, "saturation": 0.0, "hue": 0.0, "channel_scale": 0.0, "channel_offset": 0.0,
    "stain": 0.0,
}  # fmt: skip
JITTER = {"stain": 0.1}
CHANNELS = {"brightness": 0.1, "contrast": 0.1, "saturation": 0.1, "hue": 0.02, "channel_scale": 0.2,
            "channel_offset": 0.3}  # fmt: skip
# Way: changes of colour in training, stain.method.
WAYS: dict[str, tuple[dict[str, float], str]] = {
    "nothing": ({}, "none"),
    "stain jitter": (JITTER, "none"),
    "channel jitter": (CHANNELS, "none"),
    "macenko": ({}, "macenko"),
    "macenko and stain jitter": (JITTER, "macenko"),
    "macenko and channel jitter": (CHANNELS, "macenko"),
}
CLASSICAL = ("logistic_regression", "random_forest")


def model(way: str, seed: int) -> str:
    """Name of a network in the configuration."""
    return f"{way.replace(' ', '_')}-{seed}"


def settings(archive: Path, method: str, seeds: int, epochs: int, smoke: bool) -> dict[str, Any]:
    """Configuration of all networks that learn from tiles so normalised."""
    models = {
        model(way, seed): {
            "network": NETWORK | ({"width": 8} if smoke else {}),
            "augment": STILL | changes,
            "seed": seed,
            "epochs": epochs,
            "batch_size": 16 if smoke else 64,
            "center_crop": 32 if smoke else 96,
        }
        for way, (changes, wanted) in WAYS.items()
        if wanted == method
        for seed in range(1, seeds + 1)
    }
    return {
        "dataset": {"name": "real", "source": "archive", "archive": str(archive)},
        "index": {"train_shards": 1, "test_shards": 1},
        "folds": {"count": 2 if smoke else 5, "slides": str(SLIDES.resolve())},
        "stain": {"method": method},
        "models": models,
        "predict": {"tta": "none" if smoke else "all"},
        "submission": {"models": [*models, *CLASSICAL]},
    }


def first_tiles(output: Path, train: int, test: int) -> None:
    """An archive of so many tiles of each split, the training tiles with a slide."""
    known = pd.read_csv(SLIDES)["id"].iloc[:train]
    with zipfile.ZipFile(ARCHIVE) as source, zipfile.ZipFile(output, "w") as target:
        labels = pd.read_csv(source.open("train_labels.csv"))
        sample = pd.read_csv(source.open("sample_submission.csv")).iloc[:test]
        kept = {"train": labels[labels["id"].isin(known)], "test": sample}
        for split, name in (("train", "train_labels.csv"), ("test", "sample_submission.csv")):
            target.writestr(name, kept[split].to_csv(index=False))
            for tile in kept[split]["id"]:
                target.writestr(f"{split}/{tile}.tif", source.read(f"{split}/{tile}.tif"))


def run(folder: Path, configuration: dict[str, Any]) -> None:
    """Run the workflow up to the out-of-fold figures of all models."""
    path = folder / f"{configuration['stain']['method']}.json"
    path.write_text(json.dumps(configuration))
    targets = [f"results/real/evaluate/{name}.json" for name in configuration["submission"]["models"]]
    command = [sys.executable, "-m", "snakemake", *targets, "--cores", str(cores()), "--snakefile", ROOT / "Snakefile"]
    command += ["--directory", folder, "--configfile", ROOT / "config" / "config.yaml", path]
    # A core for each network: two cores for one network are not twice as fast.
    command += ["--set-threads", "train=1", "predict=1", "--resources", f"gpu={cores()}"]
    subprocess.run(command, check=True, env={**os.environ, "OMP_NUM_THREADS": "1"})


def areas(folder: Path, name: str) -> tuple[float, float]:
    """Out-of-fold AUC of a model: of all training tiles, and of those whose slide is known."""
    results = folder / "results" / "real"
    paths = sorted(results.glob(f"predict/{name}/fold-*/oof.parquet"))
    predicted = pd.concat([tables.read(path, tables.PREDICTIONS, ["id", "probability"]) for path in paths])
    frame = tables.read(results / "folds.parquet", tables.FOLDS, ["id", "label"]).merge(predicted, on="id")
    known = frame[frame["id"].isin(pd.read_csv(SLIDES)["id"])]
    return tuple(float(auc(part["label"].to_numpy(), part["probability"].to_numpy())) for part in (frame, known))


def shown(values: list[float]) -> str:
    """Mean and, of several, standard deviation."""
    spread = f" ± {statistics.stdev(values):.4f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.4f}{spread}"


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=15)
    options = parser.parse_args()
    seeds, epochs = (1, 1) if options.smoke else (options.seeds, options.epochs)
    report = Report(__file__, "stain: unseen slides", machine("torch", "numpy", "scikit-learn"), options.smoke)
    found: dict[str, list[tuple[float, float]]] = {}
    with tempfile.TemporaryDirectory() as name:
        folder, archive = Path(name), ARCHIVE.resolve()
        if options.smoke:
            archive = folder / "small.zip"
            first_tiles(archive, 120, 12)
        for method in ("none", "macenko"):
            run(folder, settings(archive, method, seeds, epochs, options.smoke))
            for way, (_, wanted) in WAYS.items():
                if wanted == method:
                    found[way] = [areas(folder, model(way, seed)) for seed in range(1, seeds + 1)]
            for kind in CLASSICAL:
                found[f"{kind.replace('_', ' ')}, {method}"] = [areas(folder, kind)]
        deal = tables.read(folder / "results" / "real" / "folds.parquet", tables.FOLDS)
        known = int(deal["id"].isin(pd.read_csv(SLIDES)["id"]).sum())
    report.add(
        f"{len(deal):,} training tiles in {deal['fold'].nunique()} folds, the slide of {known:,} known; residual CNN, "
        f"width {NETWORK['width']}, {epochs} epochs, {seeds} seed{'s' if seeds > 1 else ''}; eight views averaged."
    )
    report.table(
        ["way", "AUC, all tiles", "AUC, slide known"],
        [(way, shown([a for a, _ in values]), shown([b for _, b in values])) for way, values in found.items()],
    )
    report.add("Ratios: share of 1 - AUC (all tiles) of training without any of it that is left.")
    worst = 1 - statistics.mean(a for a, _ in found["nothing"])
    for way in list(WAYS)[1:]:
        left = 1 - statistics.mean(a for a, _ in found[way])
        report.ratio(f"stain_error_left_{way.replace(' ', '_')}", left / worst)
    report.close()


if __name__ == "__main__":
    main()
