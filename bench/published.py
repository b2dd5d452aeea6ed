"""All networks of config/published.yaml and the default one, on the same folds of a fixed subset of an archive.

The archive is an argument (default: $PCAM_REAL_ARCHIVE). The subset consists of the first TRAIN_TILES training tiles
and the first TEST_TILES test tiles by id; ids are hashes, so their order is random. The workflow itself runs on an
archive of these tiles. Networks that would start from ImageNet weights start from random weights unless --weights is
given, so that nothing is downloaded. Minutes are those of all folds, one thread each, two folds in parallel.
"""

import csv
import io
import json
import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import yaml
from measure import ROOT, Report, arguments, machine

from histo.overrides import merge

ARCHIVE = Path(os.environ.get("PCAM_REAL_ARCHIVE", ROOT.parent / "shared" / "data" / "pcam-real.zip"))
TRAIN_TILES, TEST_TILES, FOLDS = 2000, 200, 2
# Smoke run: every network is built, trained for a few steps and evaluated.
SMOKE = {"train_tiles": 160, "test_tiles": 20, "epochs": 1}


def cut(archive: Path, output: Path, counts: dict[str, int]) -> None:
    """Write an archive of the first tiles by id of each split."""
    tables = {"train": "train_labels.csv", "test": "sample_submission.csv"}
    with zipfile.ZipFile(archive) as source, zipfile.ZipFile(output, "w") as target:
        for split, table in tables.items():
            rows = sorted(csv.DictReader(io.StringIO(source.read(table).decode())), key=lambda row: row["id"])
            chosen = rows[: counts[split]]
            text = "".join(f"{row['id']},{row['label']}\n" for row in chosen)
            target.writestr(table, "id,label\n" + text)
            for row in chosen:
                name = f"{split}/{row['id']}.tif"
                target.writestr(name, source.read(name))


def settings(archive: Path, weights: str, epochs: int | None) -> dict:
    """Return the settings of config/published.yaml with the default network added."""
    config = yaml.safe_load((ROOT / "config" / "published.yaml").read_text())
    models = {**config["models"], "p4m": {}}
    for model in models.values():
        if "weights" in model.get("network", {}):
            model["network"]["weights"] = weights
            model.update({"normalisation": "imagenet" if weights == "imagenet" else "tiles"})
        if epochs is not None:
            model["epochs"] = epochs
    own = {
        "dataset": {"name": "published", "source": "archive", "archive": str(archive)},
        "folds": {"count": FOLDS},
        "models": models,
        "submission": {"models": [*config["submission"]["models"], "p4m"]},
    }
    return merge(config, own)


def run(folder: Path, config: dict) -> None:
    """Run the workflow up to the metrics of all models."""
    path = folder / "settings.yaml"
    path.write_text(yaml.safe_dump(config, sort_keys=False))
    command = [sys.executable, "-m", "snakemake", "results/published/ensemble.json", *evaluations(config)]
    command += ["--cores", "2", "--set-threads", "classical=1", "--directory", folder]
    command += ["--snakefile", ROOT / "Snakefile", "--configfile", ROOT / "config" / "config.yaml", path]
    subprocess.run(command, check=True, env={**os.environ, "OMP_NUM_THREADS": "1"})


def evaluations(config: dict) -> list[str]:
    """Return the paths of the metrics of all models."""
    return [f"results/published/evaluate/{model}.json" for model in config["submission"]["models"]]


def row(folder: Path, model: str) -> tuple:
    """Return model, parameters, out-of-fold AUC with its interval, AUC per fold, minutes of training."""
    metrics = json.loads((folder / "results" / "published" / "evaluate" / f"{model}.json").read_text())
    trained = sorted(folder.glob(f"results/published/train/{model}/*/training.json"))
    parameters = f"{json.loads(trained[0].read_text())['parameters']:,}" if trained else "-"
    seconds = 0.0
    for stage in ("train", "classical"):
        for path in folder.glob(f"benchmarks/published/{stage}/{model}/*.tsv"):
            with open(path) as file:
                seconds += float(next(csv.DictReader(file, delimiter="\t"))["s"])
    folds = " ".join(f"{fold['auc']:.4f}" for fold in metrics["folds"])
    interval = f"{metrics['auc_low']:.4f} to {metrics['auc_high']:.4f}"
    return model, parameters, f"{metrics['auc']:.4f}", interval, folds, f"{seconds / 60:.1f}"


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("archive", nargs="?", type=Path, default=ARCHIVE, help="zip in the layout of the competition")
    parser.add_argument("--train-tiles", type=int, default=TRAIN_TILES)
    parser.add_argument("--weights", default="none", help="none, or imagenet (downloads them)")
    options = parser.parse_args()
    counts = {"train": options.train_tiles, "test": TEST_TILES}
    if options.smoke:
        counts = {"train": SMOKE["train_tiles"], "test": SMOKE["test_tiles"]}
    report = Report(
        __file__, "published: all networks on the same folds", machine("torch", "torchvision"), options.smoke
    )
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        cut(options.archive, folder / "part.zip", counts)
        config = settings(folder / "part.zip", options.weights, SMOKE["epochs"] if options.smoke else None)
        run(folder, config)
        rows = [row(folder, model) for model in config["submission"]["models"]]
    rows.sort(key=lambda found: found[2], reverse=True)
    report.add(
        f"{options.archive.name}: the first {counts['train']:,} training tiles by id, {FOLDS} folds of half of them "
        f"each; out-of-fold AUC with its 95 % confidence interval; networks of torchvision start from "
        f"{'random' if options.weights == 'none' else 'ImageNet'} weights."
    )
    report.table(["model", "parameters", "AUC", "95 % interval", "by fold", "minutes"], rows)
    best = {found[0]: float(found[2]) for found in rows}
    others = max(value for model, value in best.items() if model != "p4m")
    report.add("Ratio: 1 - AUC of the default network / 1 - AUC of the best other model.")
    report.ratio("published_error_of_default_vs_best_other", (1 - best["p4m"]) / (1 - others))
    report.close()


if __name__ == "__main__":
    main()
