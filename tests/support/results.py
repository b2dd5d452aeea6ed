"""The results of a small finished run: random tiles, and predictions that depend on the label."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import report
from ensemble import ensemble
from evaluate import evaluate
from histo import tables
from histo.files import write_json
from histo.pages.report_inputs import ReportInputs
from histo.pages.run_times import STAGES, Run
from histo.tiles.shards import write_shard
from submission_csv import submission_csv
from support import ROOT
from support.html_page import Page

TEMPLATE = ROOT / "workflow" / "report" / "report.html.j2"
TRAIN, TEST = 120, 20  # tiles


@dataclass
class FinishedRun:
    """The results of a run; images: uint8 [TRAIN, 96, 96, 3] of the training tiles; audit: contents of audit.json."""

    folder: Path
    inputs: ReportInputs
    config: dict[str, Any]
    models: dict[str, dict[str, Any]]
    tiles: pd.DataFrame
    images: np.ndarray
    audit: dict[str, Any]

    @property
    def benchmarks(self) -> Path:
        return self.folder / "benchmarks"

    def write_report(self, **changes: Any) -> Page:
        """Write the report with these arguments changed, and parse it."""
        arguments = {
            "inputs": self.inputs,
            "config": self.config,
            "models": self.models,
            "run": Run(),
            "sent": [],
            "networks": [],
            "settings": self.config,
            "given": {},
            "benchmarks": {stage: self.benchmarks / stage for stage in STAGES},
        } | changes
        names = ("report.html", "config.yaml", "errors.csv", "report.json", "numbers.csv", "provenance.json")
        outputs = report.ReportOutputs(*(self.folder / name for name in names))
        report.report(arguments.pop("inputs"), outputs, code={"train": {"train.py": "abc123"}}, **arguments)
        return Page(outputs.report)


def finished_run(
    folder: Path,
    models: Sequence[str] = ("small", "wide"),
    folds: int = 2,
    faults: bool = True,
    unpredicted: int = 1,
    tta: str = "all",
    method: str = "mean",
) -> FinishedRun:
    """Write the results of a run into `folder`.

    faults: whether two training tiles are faulty; unpredicted: number of test tiles without a prediction; tta, method:
    the settings predict.tta and submission.method.
    """
    tiles, images = write_tiles(folder, faults)
    folds_table = write_folds(folder, tiles, folds)
    write_overlaps(folder, tiles)
    audit = write_audit(folder, tiles)
    predicted = tiles.loc[tiles["split"] == "test", "id"].to_numpy()[: TEST - unpredicted]
    oof, test, histories, evaluations = {}, {}, {}, []
    for k, name in enumerate(models):
        oof[name], test[name] = write_predictions(folder / f"predict-{k}", folds_table, predicted, tta, seed=k)
        histories[name] = write_histories(folder / f"train-{k}", folds)
        evaluations.append(folder / f"evaluate-{k}.json")
        evaluate(oof[name], folder / "folds.parquet", evaluations[-1], model=name, tta=tta)
    blend = [folder / name for name in ("oof.parquet", "test.parquet", "ensemble.json")]
    ensemble(oof, test, folder / "folds.parquet", folder / "tiles.parquet", *blend, method=method,
             recipes=[[name] for name in models])  # fmt: skip
    inputs = ReportInputs(
        template=TEMPLATE, layout=TEMPLATE.with_name("page.html.j2"), audit=folder / "audit.json",
        tiles=folder / "tiles.parquet", overlaps=folder / "overlaps.parquet",
        overlaps_summary=folder / "overlaps.json", groups=folder / "groups.parquet",
        folds=folder / "folds.parquet", folds_summary=folder / "folds.json",
        train_shards=[folder / "train-00000.h5"], test_shards=[folder / "test-00000.h5"], histories=histories,
        trainings={}, evaluations=evaluations, evaluations_by_stain=[], ensemble=blend[2], oof=blend[0],
        predictions=oof,
        submission=write_submission(folder, tiles),
    )  # fmt: skip
    config = {
        "dataset": {"name": "small run", "source": "synthetic"}, "validate": {"id_is_sha1": True},
        "audit": {"on_fault": "leave_out", "leave_out": []},
        "folds": {"count": folds, "by": "groups", "seed": 3, "fraction": 1.0, "slides": None},
        "stain": {"method": "none"}, "models": {name: {} for name in models}, "classical": {},
        "predict": {"tta": tta, "average": "probabilities"},
        "submission": {"models": list(models), "method": method, "full_networks": 0},
    }  # fmt: skip
    settings = {name: {"network": {"name": "residual"}, "checkpoint": "last"} for name in models}
    return FinishedRun(folder, inputs, config, settings, tiles, images, audit)


def write_tiles(folder: Path, faults: bool) -> tuple[pd.DataFrame, np.ndarray]:
    """Write a shard per split and tiles.parquet; return the table and the training tiles."""
    images = np.random.default_rng(5).integers(0, 256, (TRAIN, 96, 96, 3), np.uint8)
    parts = []
    for split, first, count in (("train", 0, TRAIN), ("test", 10_000, TEST)):
        ids = [f"{k:040x}" for k in range(first, first + count)]
        labels = np.where(split == "train", np.arange(count) % 3 == 0, -1).astype(np.int8)
        path = folder / f"{split}-00000.h5"
        write_shard(path, split=split, number=0, ids=ids, labels=labels, batches=[images[:count]], code="test")
        parts.append(pd.DataFrame({"id": ids, "split": split, "shard": 0, "row": range(count), "label": labels}))
    tiles = pd.concat(parts, ignore_index=True)
    tiles[["fault", "detail", *tables.MEASUREMENTS]] = ["", "", *([1.0] * len(tables.MEASUREMENTS))]
    if faults:
        tiles.loc[0, ["fault", "detail"]] = "bad_label", "the label is '<i>2</i>'"
        tiles.loc[1, ["fault", "detail", "row"]] = "unreadable", "cut short", -1
    tiles["kept"] = tiles["fault"] == ""
    tables.write(tiles, folder / "tiles.parquet", tables.TILES)
    return tiles, images


def write_folds(folder: Path, tiles: pd.DataFrame, count: int) -> pd.DataFrame:
    """Write folds.parquet, folds.json and groups.parquet, the slide of 70 tiles being known; return the folds."""
    table = tiles[tiles["kept"] & (tiles["split"] == "train")].copy()
    numbers = np.arange(len(table))
    table["fold"], table["group"] = numbers // 10 % count, [f"g{k // 10}" for k in numbers]
    tables.write(table, folder / "folds.parquet", tables.FOLDS)
    tables.write(
        table.assign(reason=np.where(numbers < 70, "slide", "alone")), folder / "groups.parquet", tables.GROUPS
    )
    shares = [
        {"fold": k, "tiles": 1000 + k, "positives": 500, "positive_share": 0.5, "groups": 7} for k in range(count)
    ]
    write_json(folder / "folds.json", {"folds": shares})
    return table


def write_overlaps(folder: Path, tiles: pd.DataFrame) -> None:
    """Write overlaps.parquet with a confirmed pair of training tiles, one across the splits, and a rejected pair."""
    train, test = (tiles.loc[tiles["split"] == split, "id"].tolist() for split in ("train", "test"))
    pairs = [(train[2], train[3], True), (train[4], test[0], True), (train[5], train[6], False)]
    frame = pd.DataFrame(pairs, columns=["id_a", "id_b", "confirmed"]).assign(dy=16, dx=0, area=7680)
    tables.write(frame, folder / "overlaps.parquet", tables.OVERLAPS)
    write_json(folder / "overlaps.json", {"lossy": False})


def write_audit(folder: Path, tiles: pd.DataFrame) -> dict[str, Any]:
    """Write audit.json with one duplicate and no flagged tiles; return its contents."""
    labels = tiles.loc[tiles["kept"] & (tiles["split"] == "train"), "label"]
    audit = {
        "tiles": {"train": TRAIN, "test": TEST}, "kept": {"train": len(labels), "test": TEST},
        "faults": {code: {"train": 1, "test": 0} for code in sorted(tiles["fault"].unique()) if code},
        "positives": int((labels == 1).sum()), "positive_share": float((labels == 1).mean()),
        "copies": 1, "in_both_splits": 0, "left_out": {},
    }  # fmt: skip
    write_json(folder / "audit.json", audit)
    return audit


def write_predictions(
    folder: Path, folds_table: pd.DataFrame, test_ids: np.ndarray, tta: str, seed: int
) -> tuple[list[Path], list[Path]]:
    """Write a model's predictions of the tiles of each fold and of the test tiles; return both lists of files."""
    rng = np.random.default_rng(seed)
    oof, test = [], []
    for fold, rows in folds_table.groupby("fold"):
        tiles = {"oof": (rows["id"].to_numpy(), rows["label"].to_numpy()), "test": (test_ids, np.zeros(len(test_ids)))}
        for (name, (ids, labels)), paths in zip(tiles.items(), (oof, test), strict=True):
            logit = rng.normal(2 * labels - 1, 1.5)
            frame = pd.DataFrame({"id": ids, "fold": fold, "logit": logit, "probability": 1 / (1 + np.exp(-logit))})
            frame["logit_none"] = logit + rng.normal(0, 0.5, len(ids)) * (tta != "none")
            frame["logit_flips"] = {"none": np.nan, "flips": logit, "all": logit + 0.1}[tta]
            paths.append(folder / f"{name}-{fold}.parquet")
            tables.write(frame, paths[-1], tables.PREDICTIONS)
    return oof, test


def write_histories(folder: Path, folds: int) -> list[Path]:
    """Write the history.csv of each fold, two epochs of 30 seconds."""
    folder.mkdir()
    paths = [folder / f"history-{fold}.csv" for fold in range(folds)]
    for fold, path in enumerate(paths):
        history = {"epoch": [1, 2], "loss": [0.6, 0.5], "auc": [0.7, 0.8 + 0.01 * fold], "seconds": 30.0}
        history |= {"validation_loss": [0.65, 0.55], "learning_rate": [0.002, 1e-6]}
        pd.DataFrame(history).to_csv(path, index=False)
    return paths


def write_submission(folder: Path, tiles: pd.DataFrame) -> Path:
    """Write submission.csv and its summary with the AUC on held-out test labels; return the path of the summary."""
    ids = tiles.loc[tiles["split"] == "test", "id"]
    sample, truth, summary = (folder / name for name in ("sample_submission.csv", "truth.csv", "submission.json"))
    sample.write_text("id,label\n" + "".join(f"{name},0\n" for name in ids))
    truth.write_text("id,label\n" + "".join(f"{name},{k % 2}\n" for k, name in enumerate(ids)))
    submission_csv(
        sample, folder / "test.parquet", folder / "overlaps.parquet", folder / "audit.json", truth,
        folder / "submission.csv", summary,
    )  # fmt: skip
    return summary
