"""Time and peak memory of `evaluate` and `ensemble` for ten models on tables as large as those of the competition.

The predictions are made up. The slides of half of the tiles are unknown, so that there are many groups. Each job runs
in a process of its own, one after the other. Times are processor time, with the start of Python and all imports: on one
core that is not shared, elapsed time is the same.
"""

import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pandas as pd
from measure import Report, arguments, machine, peak_mb

from ensemble import ensemble
from evaluate import evaluate
from histo import tables

TRAIN, TEST = 220_025, 57_458  # tiles of the competition
MODELS, FOLDS, SLIDES = 10, 5, 160
SECONDS, MEGABYTES = 120, 2000  # limits: of all jobs together, and of the largest one


def write_predictions(frame: pd.DataFrame, scores: np.ndarray, path: Path) -> None:
    """Write predictions of one network; frame: id and fold; scores: logits [N]."""
    logits = scores.astype(np.float32)
    found = frame.assign(probability=1 / (1 + np.exp(-scores)), logit=logits, logit_none=logits, logit_flips=logits)
    tables.write(found, path, tables.PREDICTIONS)


def write_tables(folder: Path, train: int, test: int, models: int) -> dict[str, tuple[list[Path], list[Path]]]:
    """Write folds.parquet, tiles.parquet and predictions; return their paths by model, out-of-fold and test."""
    random = np.random.default_rng(0)
    ids = np.array([f"{row:040x}" for row in range(train + test)])
    slide = np.where(random.random(train) < 0.5, random.integers(SLIDES, size=train), SLIDES + np.arange(train))
    effect = random.normal(size=SLIDES + train)[slide]
    labels = (random.random(train) < 0.4).astype(int)
    folds = pd.DataFrame({"id": ids[:train], "shard": 0, "row": np.arange(train), "label": labels})
    folds["fold"] = slide % FOLDS
    tables.write(folds.assign(group=[f"group-{name}" for name in slide]), folder / "folds.parquet", tables.FOLDS)
    tiles = pd.DataFrame({"id": ids, "split": np.repeat(["train", "test"], [train, test]), "row": 0, "shard": 0})
    tiles = tiles.assign(label=-1, kept=True, fault="", detail="", **dict.fromkeys(tables.MEASUREMENTS, 0))
    tiles["brightness"], tiles["sharpness"] = random.random((2, train + test)) * 255
    tables.write(tiles, folder / "tiles.parquet", tables.TILES)
    own = 2 * labels + effect
    paths = {}
    for model in range(models):
        noise = random.normal(size=train) + own
        for k in range(FOLDS):
            rows = (slide % FOLDS == k).nonzero()[0]
            write_predictions(folds.loc[rows, ["id", "fold"]], noise[rows], folder / f"{model}-{k}-oof.parquet")
            frame = pd.DataFrame({"id": ids[train:], "fold": -1})
            write_predictions(frame, random.normal(size=test), folder / f"{model}-{k}-test.parquet")
        paths[f"model-{model}"] = tuple(
            [folder / f"{model}-{k}-{part}.parquet" for k in range(FOLDS)] for part in ("oof", "test")
        )
    return paths


def evaluation(folder: Path, name: str, oof: list[Path]) -> None:
    """Run `evaluate` for one model."""
    evaluate(oof, folder / "folds.parquet", folder / f"{name}.json", model=name, tta="all")


def blend(folder: Path, paths: dict[str, tuple[list[Path], list[Path]]]) -> None:
    """Run `ensemble` for all models."""
    oof, test = ({name: files[part] for name, files in paths.items()} for part in (0, 1))
    outputs = [folder / name for name in ("oof.parquet", "test.parquet", "ensemble.json")]
    recipes = [[name] for name in paths]
    folds, tiles = folder / "folds.parquet", folder / "tiles.parquet"
    ensemble(oof, test, folds, tiles, *outputs, method="mean", recipes=recipes)


def timed(work: Callable[..., None], *values: object) -> tuple[float, float]:
    """Do `work`; return processor seconds and peak memory in MB of this process since its start."""
    work(*values)
    return time.process_time(), peak_mb()


def alone(work: Callable[..., None], *values: object) -> tuple[float, float]:
    """Return what `timed` returns in a process of its own."""
    with ProcessPoolExecutor(1, get_context("spawn")) as process:
        return process.submit(timed, work, *values).result()


def main() -> None:
    options = arguments(__doc__).parse_args()
    train, test, models = (600, 200, 2) if options.smoke else (TRAIN, TEST, MODELS)
    report = Report(__file__, "evaluation: metrics of many tiles and models", machine("numpy", "scipy"), options.smoke)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        paths = write_tables(folder, train, test, models)
        groups = tables.read(folder / "folds.parquet", tables.FOLDS)["group"].nunique()
        each = [alone(evaluation, folder, model, oof) for model, (oof, _) in paths.items()]
        both = alone(blend, folder, paths)
    report.add(f"{train:,} training and {test:,} test tiles, {groups:,} groups, {FOLDS} folds, {models} models.")
    rows = []
    for stage, measured in (("evaluate", each), ("ensemble", [both])):
        seconds, peaks = zip(*measured, strict=True)
        rows.append([stage, len(seconds), f"{sum(seconds):.1f}", f"{max(seconds):.1f}", f"{max(peaks):,.0f}"])
    report.table(["stage", "jobs", "seconds in all", "longest job, s", "peak memory, MB"], rows)
    report.ratio("evaluation_time_vs_limit", sum(seconds for seconds, _ in (*each, both)) / SECONDS)
    report.ratio("evaluation_memory_vs_limit", max(peak for _, peak in (*each, both)) / MEGABYTES)
    report.close()


if __name__ == "__main__":
    main()
