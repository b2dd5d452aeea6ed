"""Stain normalisation against stain jitter, channel jitter and neither, on original tiles.

The workflow itself trains each method on the same folds. The tiles are those of $PCAM_REAL_ARCHIVE (a zip in the layout
of Kaggle's). The slides of some tiles are in $PCAM_REAL_SLIDES (default: beside the archive, …-slides.csv, columns
id,slide); a slide is never split across folds. Metrics: the out-of-fold AUC of all training tiles, and of the tiles of
known slide. The latter is closer to the AUC on unseen slides, although tiles of unknown slide may be of the same
slides. The network is small, so that the comparison takes about an hour on two cores. The classical baselines, to which
jitter does not apply, are shown with and without normalisation. The table has mean and standard deviation over seeds of
initial weights and order.
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
NO_COLOUR = {
    "brightness": 0.0, "contrast": 0.0, "saturation": 0.0, "hue": 0.0, "channel_scale": 0.0, "channel_offset": 0.0,
    "stain": 0.0,
}  # fmt: skip
JITTER = {"stain": 0.1}
CHANNELS = {"brightness": 0.1, "contrast": 0.1, "saturation": 0.1, "hue": 0.02, "channel_scale": 0.2,
            "channel_offset": 0.3}  # fmt: skip
# Method: colour augmentation, stain.method.
METHODS: dict[str, tuple[dict[str, float], str]] = {
    "neither": ({}, "none"),
    "stain jitter": (JITTER, "none"),
    "channel jitter": (CHANNELS, "none"),
    "macenko": ({}, "macenko"),
    "macenko and stain jitter": (JITTER, "macenko"),
    "macenko and channel jitter": (CHANNELS, "macenko"),
}
CLASSICAL = ("logistic_regression", "random_forest")


def model(method: str, seed: int) -> str:
    """Return the name of a model in the configuration."""
    return f"{method.replace(' ', '_')}-{seed}"


def settings(archive: Path, normalisation: str, seeds: int, epochs: int, smoke: bool) -> dict[str, Any]:
    """Return the configuration of all models with this `stain.method`."""
    models = {
        model(method, seed): {
            "network": NETWORK | ({"width": 8} if smoke else {}),
            "augment": NO_COLOUR | changes,
            "seed": seed,
            "epochs": epochs,
            "batch_size": 16 if smoke else 64,
            "center_crop": 32 if smoke else 96,
        }
        for method, (changes, wanted) in METHODS.items()
        if wanted == normalisation
        for seed in range(1, seeds + 1)
    }
    return {
        "dataset": {"name": "real", "source": "archive", "archive": str(archive)},
        "index": {"train_shards": 1, "test_shards": 1},
        "folds": {"count": 2 if smoke else 5, "slides": str(SLIDES.resolve())},
        "stain": {"method": normalisation},
        "models": models,
        "predict": {"tta": "none" if smoke else "all"},
        "submission": {"models": [*models, *CLASSICAL]},
    }


def first_tiles(output: Path, train: int, test: int) -> None:
    """Write an archive of `train` training tiles of known slide and `test` test tiles."""
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
    """Run the workflow up to the out-of-fold metrics of all models."""
    path = folder / f"{configuration['stain']['method']}.json"
    path.write_text(json.dumps(configuration))
    targets = [f"results/real/evaluate/{name}.json" for name in configuration["submission"]["models"]]
    command = [sys.executable, "-m", "snakemake", *targets, "--cores", str(cores()), "--snakefile", ROOT / "Snakefile"]
    command += ["--directory", folder, "--configfile", ROOT / "config" / "config.yaml", path]
    subprocess.run(command, check=True, env={**os.environ, "OMP_NUM_THREADS": "1"})


def aucs(folder: Path, name: str) -> tuple[float, float]:
    """Return the out-of-fold AUC of a model: of all training tiles, and of those whose slide is known."""
    results = folder / "results" / "real"
    paths = sorted(results.glob(f"predict/{name}/fold-*/oof.parquet"))
    predicted = pd.concat([tables.read(path, tables.PREDICTIONS, ["id", "probability"]) for path in paths])
    frame = tables.read(results / "folds.parquet", tables.FOLDS, ["id", "label"]).merge(predicted, on="id")
    known = frame[frame["id"].isin(pd.read_csv(SLIDES)["id"])]
    return tuple(float(auc(part["label"].to_numpy(), part["probability"].to_numpy())) for part in (frame, known))


def shown(values: list[float]) -> str:
    """Return the mean and, of several values, the standard deviation as text."""
    spread = f" ± {statistics.stdev(values):.4f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.4f}{spread}"


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=15)
    options = parser.parse_args()
    seeds, epochs = (1, 1) if options.smoke else (options.seeds, options.epochs)
    report = Report(
        __file__, "stain: normalisation against jitter", machine("torch", "numpy", "scikit-learn"), options.smoke
    )
    found: dict[str, list[tuple[float, float]]] = {}
    with tempfile.TemporaryDirectory() as name:
        folder, archive = Path(name), ARCHIVE.resolve()
        if options.smoke:
            archive = folder / "small.zip"
            first_tiles(archive, 120, 12)
        for normalisation in ("none", "macenko"):
            run(folder, settings(archive, normalisation, seeds, epochs, options.smoke))
            for method, (_, wanted) in METHODS.items():
                if wanted == normalisation:
                    found[method] = [aucs(folder, model(method, seed)) for seed in range(1, seeds + 1)]
            for kind in CLASSICAL:
                found[f"{kind.replace('_', ' ')}, {normalisation}"] = [aucs(folder, kind)]
        assigned = tables.read(folder / "results" / "real" / "folds.parquet", tables.FOLDS)
        known = int(assigned["id"].isin(pd.read_csv(SLIDES)["id"]).sum())
    report.add(
        f"{len(assigned):,} training tiles in {assigned['fold'].nunique()} folds, the slide of {known:,} known; "
        f"residual CNN, width {NETWORK['width']}, {epochs} epochs, {seeds} seed{'s' if seeds > 1 else ''}; "
        "eight views averaged."
    )
    report.table(
        ["method", "AUC, all tiles", "AUC, slide known"],
        [(method, shown([a for a, _ in values]), shown([b for _, b in values])) for method, values in found.items()],
    )
    report.add("Ratios: 1 - AUC (all tiles) / 1 - AUC with neither.")
    worst = 1 - statistics.mean(a for a, _ in found["neither"])
    for method in list(METHODS)[1:]:
        left = 1 - statistics.mean(a for a, _ in found[method])
        report.ratio(f"stain_error_left_{method.replace(' ', '_')}", left / worst)
    report.close()


if __name__ == "__main__":
    main()
