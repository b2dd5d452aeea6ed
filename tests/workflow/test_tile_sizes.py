"""The complete workflow on tiles of other sides than the competition's."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import confusion_matrix, f1_score, log_loss, roc_auc_score

from histo import tables
from histo.geometry import Geometry
from histo.tiles.shards import Shard
from histo.training import checkpoints
from support import ROOT
from support.chain import snakemake

SETTINGS = (
    "dataset={name: small, source: synthetic, %s}",
    "synthesize={train_tiles: 120, test_tiles: 30, train_slides: 4, test_slides: 2, seed: 3}",
    "index={train_shards: 1, test_shards: 1}",
    "folds={count: 2}",
    "train={center_crop: %d, epochs: 1, batch_size: 8, precision: float32}",
    "models={plain: {network: {name: plain_2conv}}}",
    "predict={tta: none}",
)


def run(folder: Path, dataset: str, crop: int, *settings: str) -> Path:
    """Run the workflow and return the folder of its results."""
    all_settings = [*SETTINGS, *settings]
    all_settings[0] %= dataset
    all_settings[4] %= crop
    done = snakemake(folder, "submission", *all_settings, config=[ROOT / "config" / "config.yaml"])
    assert done.returncode == 0, done.stderr
    return folder / "results" / "small"


def read(path: Path) -> Any:
    return json.loads(path.read_text())


def overlapping_pairs(path: Path) -> set[tuple[object, ...]]:
    """Return ids and offset of the pairs of a table of overlaps."""
    return set(pd.read_parquet(path)[["id_a", "id_b", "dy", "dx"]].itertuples(index=False, name=None))


def check_tiles(folder: Path, geometry: Geometry) -> None:
    """Check what is recorded of the tiles, and that their overlaps are those of the slides."""
    results = folder / "results" / "small"
    shard = Shard(results / "pack" / "train-00000.h5")
    assert shard.geometry == geometry
    assert shard.images.shape == (120, geometry.tile_side, geometry.tile_side, 3)
    weights = checkpoints.load(results / "train" / "plain" / "fold-0" / "weights.pt")
    assert Geometry(**weights["geometry"]) == geometry
    found = overlapping_pairs(results / "overlaps.parquet")
    assert found == overlapping_pairs(folder / "resources" / "small" / "overlaps.parquet")
    assert len(found) > 20
    frame = pd.read_parquet(results / "overlaps.parquet")
    area = (geometry.tile_side - frame["dy"].abs()) * (geometry.tile_side - frame["dx"].abs())
    assert (frame["area"] == area).all() and frame["confirmed"].all()


@pytest.mark.slow
def test_tiles_of_64_pixels(tmp_path):
    results = run(tmp_path, "tile_side: 64", 64, "submission={models: [plain]}")
    check_tiles(tmp_path, Geometry(tile_side=64))
    oof = tables.read(results / "ensemble" / "oof.parquet", tables.PROBABILITIES)
    folds = tables.read(results / "folds.parquet", tables.FOLDS).set_index("id")
    oof["label"] = folds.loc[oof["id"], "label"].to_numpy()
    ensemble = read(results / "ensemble.json")
    assert ensemble["auc_pooled"] == pytest.approx(roc_auc_score(oof["label"], oof["probability"]), abs=1e-12)
    by_fold = [roc_auc_score(part["label"], part["probability"]) for _, part in oof.groupby("fold")]
    assert ensemble["auc"] == pytest.approx(np.mean(by_fold), abs=1e-12)
    assert (len(oof), len(pd.read_csv(results / "submission.csv"))) == (120, 30)
    assert 'viewBox="0 0 64 64"' in (results / "report.html").read_text()


@pytest.mark.slow
def test_four_classes_of_tiles_of_128_pixels(tmp_path):
    """A network and a classical model, whose blend is submitted with one column per class."""
    results = run(
        tmp_path,
        "tile_side: 128, classes: 4",
        128,
        "classical={forest: {method: random_forest, n_estimators: 10}}",
        "submission={models: [plain, forest], method: weights}",
    )
    check_tiles(tmp_path, Geometry(tile_side=128, classes=4))
    columns = [f"probability_{k}" for k in range(4)]
    oof = tables.read(results / "ensemble" / "oof.parquet", tables.probabilities(4))
    labels = tables.read(results / "folds.parquet", tables.FOLDS).set_index("id").loc[oof["id"], "label"]
    assert set(labels) == {0, 1, 2, 3}
    assert len(oof) == 120
    np.testing.assert_allclose(oof[columns].sum(axis=1), 1)
    ensemble = read(results / "ensemble.json")
    expected = roc_auc_score(labels, oof[columns], multi_class="ovr", average="macro")
    assert ensemble["auc"] == ensemble["methods"]["weights"] == pytest.approx(expected, abs=1e-12)
    by_class = [roc_auc_score(labels == k, oof[f"probability_{k}"]) for k in range(4)]
    assert ensemble["class_auc"] == pytest.approx(by_class, abs=1e-12)
    assert ensemble["auc_low"] < expected < ensemble["auc_high"]
    guesses = oof[columns].to_numpy().argmax(axis=1)
    assert ensemble["confusion"] == confusion_matrix(labels, guesses).tolist()
    assert ensemble["f1"] == pytest.approx(f1_score(labels, guesses, average="macro", zero_division=0))

    for model in ("plain", "forest"):
        parts = [
            tables.read(path, tables.predictions(4)) for path in results.glob(f"predict/{model}/fold-*/oof.parquet")
        ]
        predicted = pd.concat(parts).set_index("id").loc[oof["id"], columns]
        auc = roc_auc_score(labels, predicted, multi_class="ovr", average="macro")
        assert read(results / "evaluate" / f"{model}.json")["auc"] == pytest.approx(auc, abs=1e-12)
    last = pd.read_csv(results / "train" / "plain" / "fold-0" / "history.csv").iloc[-1]
    part = tables.read(results / "predict" / "plain" / "fold-0" / "oof.parquet", tables.predictions(4))
    known = labels.loc[part["id"]]
    assert last["auc"] == pytest.approx(roc_auc_score(known, part[columns], multi_class="ovr"), abs=1e-4)
    assert last["validation_loss"] == pytest.approx(log_loss(known, part[columns]), rel=1e-3)

    submission = pd.read_csv(results / "submission.csv").set_index("id")
    assert submission.columns.tolist() == [f"label_{k}" for k in range(4)]
    test = tables.read(results / "ensemble" / "test.parquet", tables.probabilities(4)).set_index("id")
    np.testing.assert_array_equal(submission.to_numpy(), test.loc[submission.index, columns].to_numpy())
    truth = pd.read_csv(tmp_path / "resources" / "small" / "truth.csv").set_index("id").loc[submission.index, "label"]
    auc = roc_auc_score(truth, submission, multi_class="ovr", average="macro")
    assert read(results / "submission.json")["truth"]["auc"] == pytest.approx(auc, abs=1e-12)
    report = (results / "report.html").read_text()
    assert f"{expected:.4f}" in report
    assert "With more than two classes, the ROC curve" in report
    assert "predicted: class 3" in report
