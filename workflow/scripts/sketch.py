"""Train a small network on a sample of the tiles, and estimate what the full run will take on this machine.

Writes `sketch.json` and the same as a table, `sketch.md`: the validation AUC of the small network; the time of each
stage, measured for those that have run, and for the networks computed from the speed of each model, which is measured
here (histo/training/speed.py), its epochs, its networks and the tiles of their folds; the memory that jobs request; the
disk space that the run needs. Nothing that it writes is read by another stage.
"""

import logging
import shutil
import tempfile
from pathlib import Path
from typing import Any

import pandas as pd

from histo import tables
from histo.config.train import TrainSettings
from histo.estimate import Planned, as_text, complete, measured_stages
from histo.files import atomic_write, read_json, write_json
from histo.hardware import hardware
from histo.pages.run_times import Run, run_times
from histo.tiles.shards import geometry_of, open_shards
from histo.training.engine import VIEWS
from histo.training.loop import train
from histo.training.speed import measure

log = logging.getLogger(__name__)

FOLD = 0  # validation fold of the small network
SIDE = 96  # pixels, of its input at most


def small_settings(tile_side: int) -> TrainSettings:
    """Return the settings of a network of 310,000 parameters that is trained for a few epochs."""
    return TrainSettings.model_validate(
        {
            "network": {"name": "residual", "width": 16, "blocks": 1},
            "center_crop": tile_side,
            "input_size": SIDE if tile_side > SIDE else None,
            "epochs": 4,
        }
    )


def train_small(shards: list[str], folds: str, settings: TrainSettings, code: dict[str, str]) -> dict[str, Any]:
    """Train the small network; return its validation AUC, epochs, seconds, numbers of training and validation tiles."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        history = folder / "history.csv"
        train(
            shards, folds, str(folder / "weights.pt"), str(history), str(folder / "training.json"),
            fold=FOLD, settings=settings, code=code, resume_path=folder / "resume.pt", model="small",
        )  # fmt: skip
        epochs = pd.read_csv(history)
    fold = tables.read(folds, tables.FOLDS, columns=["fold"])["fold"]
    return {
        "auc": float(epochs["auc"].iloc[-1]),
        "epochs": len(epochs),
        "seconds": float(epochs["seconds"].sum()),
        "training_tiles": int((fold != FOLD).sum()),
        "validation_tiles": int((fold == FOLD).sum()),
    }


def sketch(
    shards: list[str],
    sample: str,
    folds: str,
    summary: str,
    tiles: str,
    out: Path,
    *,
    models: dict[str, dict[str, Any]],
    slots: int,
    cores: int,
    tta: str,
    benchmarks: dict[str, str],
    at_once: dict[str, int],
    memory_mb: dict[str, int],
    disk: dict[str, int],
    code: dict[str, str],
) -> None:
    """Write sketch.json and, beside it, sketch.md.

    shards: of the training tiles; sample: folds of the tiles of the small network; folds, summary: of the full run;
    models: by name of a model or search, its `settings`, the file of `weights` that it starts from (or None),
    `measured_at_once`, and the arguments of `Planned`; slots: cores or GPUs; tta: the setting `predict.tta`;
    benchmarks: see `run_times`; at_once: jobs side by side of the stages before the networks; memory_mb: that a job
    requests, by stage; disk: bytes that the run needs, by what they are for.
    """
    kept = tables.read(tiles, tables.TILES, columns=["split", "kept"])
    test = int(((kept["split"] == "test") & kept["kept"]).sum())
    side = geometry_of(open_shards(shards, "train")).tile_side
    small = train_small(shards, sample, small_settings(side), code)
    planned, speeds = {}, {}
    for name, own in models.items():
        settings = TrainSettings.model_validate(own["settings"])
        log.info("Measuring the speed of %s.", name)
        speeds[name] = measure(shards, folds, settings, weights_in=own["weights"], at_once=own["measured_at_once"])
        added = test if settings.pseudo_labels else 0
        planned[name] = Planned(
            settings.epochs, own["networks"], own["on_test_tiles"], own["slots"], added, own["trials"]
        )
    times, _ = run_times({stage: Path(path) for stage, path in benchmarks.items()}, Run())
    estimate = {
        "machine": hardware(),
        "cores": cores,
        "small_network": small,
        **complete(
            measured=measured_stages(times, at_once),
            planned=planned,
            speeds=speeds,
            slots=slots,
            folds={row["fold"]: row["tiles"] for row in read_json(Path(summary))["folds"]},
            test=test,
            views=len(VIEWS[tta]),
        ),
        "memory_mb": memory_mb,
        "disk": disk,
        "free": shutil.disk_usage(out.parent).free,
    }
    write_json(out, estimate)
    with atomic_write(out.with_suffix(".md")) as temporary:
        temporary.write_text(as_text(estimate))


if __name__ == "__main__":
    from histo import job

    job.start(snakemake)
    sketch(
        list(snakemake.input.train_shards),
        snakemake.input.sample,
        snakemake.input.folds,
        snakemake.input.summary,
        snakemake.input.tiles,
        Path(snakemake.params.out),
        **snakemake.params.settings,
        code=snakemake.params.code,
    )
