"""The complete workflow on tiles of other sides than the competition's."""

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

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
    results = run(tmp_path, "tile_side: 64", 64)
    check_tiles(tmp_path, Geometry(tile_side=64))
    oof = tables.read(results / "ensemble" / "oof.parquet", tables.PROBABILITIES)
    folds = tables.read(results / "folds.parquet", tables.FOLDS).set_index("id")
    auc = roc_auc_score(folds.loc[oof["id"], "label"], oof["probability"])
    assert read(results / "ensemble.json")["auc"] == pytest.approx(auc, abs=1e-12)
    assert (len(oof), len(pd.read_csv(results / "submission.csv"))) == (120, 30)
    assert 'viewBox="0 0 64 64"' in (results / "report.html").read_text()
