"""Prediction: which tiles are predicted, and how the logits of the views are averaged."""

import numpy as np
import pandas as pd
import pytest
import torch

from histo import tables
from histo.errors import InputError
from histo.networks.network import build
from histo.tiles.shards import open_shards
from histo.training import checkpoints
from histo.training.engine import predict_logits
from histo.training.loader import TileLoader
from predict import predict
from support.training import CODE, make_split, settings, write_folds, write_tiles


@pytest.fixture
def data(tmp_path):
    """Shards of both splits, folds, tiles and the weights of fold 1."""
    train, frame = make_split(tmp_path, "train", (20, 22))
    test, test_frame = make_split(tmp_path, "test", (9, 8))
    test_frame["label"] = -1
    test_frame.loc[2, "kept"] = False
    test_frame.loc[5, "row"] = -1
    write_folds(frame, tmp_path / "folds.parquet")
    # Unsorted, because the table has no guaranteed order.
    both = pd.concat([test_frame, frame]).sample(frac=1, random_state=0)
    write_tiles(both, tmp_path / "tiles.parquet")
    chosen = settings(center_crop=96)
    torch.manual_seed(0)
    network = build(chosen.network.model_dump(), 96)
    checkpoints.save(
        tmp_path / "weights.pt", settings=chosen.model_dump(), fold=1, auc=0.5, epoch=1, tiles={}, code=CODE,
        weights={"last": network.state_dict()},
    )  # fmt: skip
    return tmp_path, train, test, network


def run(data, tta="none", average="logits"):
    folder, train, test, _ = data
    inputs = [folder / "weights.pt", train, test, folder / "folds.parquet", folder / "tiles.parquet"]
    outputs = [folder / "oof.parquet", folder / "test.parquet"]
    predict(*inputs, *outputs, tta=tta, average=average)
    return [tables.read(path, tables.PREDICTIONS) for path in outputs]


def test_oof_has_the_tiles_of_the_fold_and_test_every_kept_tile_once(data):
    folder, _, _, _ = data
    oof, test = run(data)
    folds = tables.read(folder / "folds.parquet", tables.FOLDS)
    assert oof["id"].tolist() == sorted(folds.loc[folds["fold"] == 1, "id"])
    excluded = {"test-0-002", "test-0-005"}
    every = {f"test-{shard}-{row:03d}" for shard, count in ((0, 9), (1, 8)) for row in range(count)}
    assert test["id"].tolist() == sorted(every - excluded)
    assert set(oof["fold"]) == set(test["fold"]) == {1}


def test_a_network_trained_on_all_tiles_predicts_the_test_tiles_only(data):
    folder, _, test, network = data
    checkpoints.save(
        folder / "weights.pt", settings=settings(center_crop=96).model_dump(), fold=None, auc=float("nan"), epoch=1,
        tiles={}, code=CODE, weights={"last": network.state_dict()},
    )  # fmt: skip
    inputs = [folder / "weights.pt", [], test, folder / "folds.parquet", folder / "tiles.parquet"]
    predict(*inputs, None, folder / "full.parquet", tta="none", average="logits")
    table = tables.read(folder / "full.parquet", tables.PREDICTIONS)
    assert len(table) == 15 and set(table["fold"]) == {-1}
    assert not (folder / "oof.parquet").exists()


@pytest.mark.parametrize("tta", ["none", "flips", "all"])
@pytest.mark.parametrize("average", ["logits", "probabilities"])
def test_views_are_averaged(data, tta, average):
    _, paths, _, network = data
    oof, _ = run(data, tta, average)
    rows = pd.DataFrame({"id": oof["id"], "shard": oof["id"].str[6].astype(int), "row": oof["id"].str[8:].astype(int)})
    tiles = TileLoader(open_shards(paths, "train"), rows.assign(label=0), torch.device("cpu"))
    views = predict_logits(network, tiles, torch.float32, tta).astype(np.float64)
    expected = 1 / (1 + np.exp(-views))
    expected = 1 / (1 + np.exp(-views.mean(axis=1))) if average == "logits" else expected.mean(axis=1)
    assert np.allclose(oof["probability"], expected, atol=1e-6)
    assert np.allclose(oof["probability"], 1 / (1 + np.exp(-oof["logit"].to_numpy(np.float64))), rtol=1e-6)


@pytest.mark.parametrize("average", ["logits", "probabilities"])
def test_logits_with_less_augmentation_are_those_of_such_a_run(data, average):
    none, flips, every = (run(data, tta, average) for tta in ("none", "flips", "all"))
    for table in range(2):
        for more in (none, flips, every):
            assert more[table]["logit_none"].tolist() == none[table]["logit"].tolist()
        for more in (flips, every):
            assert more[table]["logit_flips"].tolist() == flips[table]["logit"].tolist()
        assert none[table]["logit_flips"].isna().all()
        single, four, eight = (part[table]["logit"].to_numpy() for part in (none, flips, every))
        assert np.abs(single - four).max() > 1e-5 and np.abs(four - eight).max() > 1e-5


def test_without_test_tiles_the_table_is_empty(data):
    folder, train, _, _ = data
    tiles = tables.read(folder / "tiles.parquet", tables.TILES)
    tables.write(tiles[tiles["split"] == "train"], folder / "tiles.parquet", tables.TILES)
    oof, test = run((folder, train, [], None))
    assert len(test) == 0 and len(oof) == 14


def test_unusable_input_is_refused_with_a_reason(data):
    folder, train, test, network = data
    with pytest.raises(InputError, match="expected a shard of train tiles, found test tiles"):
        run((folder, test, train, None))
    checkpoint = checkpoints.load(folder / "weights.pt")
    keys = ("settings", "auc", "epoch", "tiles", "code")
    again = {key: checkpoint[key] for key in keys}
    checkpoints.save(folder / "weights.pt", fold=7, weights=checkpoint["weights"], **again)
    with pytest.raises(InputError, match="no tiles of fold 7"):
        run(data)
    broken = {key: value * float("nan") for key, value in network.state_dict().items()}
    checkpoints.save(folder / "weights.pt", fold=1, weights={"last": broken}, **again)
    with pytest.raises(InputError, match="expected a finite logit, found nan"):
        run(data)
