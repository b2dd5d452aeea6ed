import numpy as np
import pandas as pd
import pytest
import torch

from histo import checkpoints, tables
from histo.batches import Tiles
from histo.engine import infer
from histo.errors import InputError
from histo.networks import build
from histo.shards import open_shards
from predict import predict, sigmoid
from training import CODE, make_split, settings, write_folds, write_tiles


@pytest.fixture
def made(tmp_path):
    """Shards of both splits, folds, tiles and the weights of fold 1."""
    train, frame = make_split(tmp_path, "train", (20, 22))
    test, test_frame = make_split(tmp_path, "test", (9, 8))
    test_frame["label"] = -1
    test_frame.loc[2, "kept"] = False
    test_frame.loc[5, "row"] = -1
    write_folds(frame, tmp_path / "folds.parquet")
    # Unsorted, as nothing promises an order.
    both = pd.concat([test_frame, frame]).sample(frac=1, random_state=0)
    write_tiles(both, tmp_path / "tiles.parquet")
    chosen = settings(crop=96)
    torch.manual_seed(0)
    network = build(chosen["network"], 96)
    checkpoints.save(
        tmp_path / "weights.pt", settings=chosen, fold=1, auc=0.5, epoch=1, tiles={}, code=CODE,
        weights={"last": network.state_dict()},
    )  # fmt: skip
    return tmp_path, train, test, network


def run(made, tta="none"):
    folder, train, test, _ = made
    inputs = [folder / "weights.pt", train, test, folder / "folds.parquet", folder / "tiles.parquet"]
    outputs = [folder / "oof.parquet", folder / "test.parquet"]
    predict(*inputs, *outputs, tta=tta, threads=1)
    return [tables.read(path, tables.PREDICTIONS) for path in outputs]


def test_oof_is_the_fold_and_test_is_every_kept_tile_once(made):
    folder, _, _, _ = made
    oof, test = run(made)
    folds = tables.read(folder / "folds.parquet", tables.FOLDS)
    assert oof["id"].tolist() == sorted(folds.loc[folds["fold"] == 1, "id"])
    left_out = {"test-0-002", "test-0-005"}
    every = {f"test-{shard}-{row:03d}" for shard, count in ((0, 9), (1, 8)) for row in range(count)}
    assert test["id"].tolist() == sorted(every - left_out)
    assert set(oof["fold"]) == set(test["fold"]) == {1}


@pytest.mark.parametrize("tta", ["none", "flips", "all"])
def test_probability_is_the_sigmoid_of_the_mean_logit(made, tta):
    _, paths, _, network = made
    oof, _ = run(made, tta)
    rows = pd.DataFrame({"id": oof["id"], "shard": oof["id"].str[6].astype(int), "row": oof["id"].str[8:].astype(int)})
    tiles = Tiles(open_shards(paths, "train"), rows.assign(label=0), torch.device("cpu"))
    expected = infer(network, tiles, torch.float32, tta)
    assert np.allclose(oof["logit"], expected, atol=1e-5)
    assert np.allclose(oof["probability"], 1 / (1 + np.exp(-oof["logit"].to_numpy(np.float64))), rtol=1e-14)


def test_views_change_the_probabilities(made):
    none, flips, every = (run(made, tta)[0]["logit"].to_numpy() for tta in ("none", "flips", "all"))
    assert np.abs(none - flips).max() > 1e-5 and np.abs(flips - every).max() > 1e-5


def test_sigmoid_keeps_the_order_of_extreme_logits():
    logits = np.array([-700, -50, -1, 0, 1, 30], dtype=np.float32)
    values = sigmoid(logits)
    assert (np.diff(values) > 0).all() and values[3] == 0.5
    assert values[1] == pytest.approx(np.exp(-50)) and values[0] > 0


def test_no_test_tiles_make_an_empty_table(made):
    folder, train, _, _ = made
    tiles = tables.read(folder / "tiles.parquet", tables.TILES)
    tables.write(tiles[tiles["split"] == "train"], folder / "tiles.parquet", tables.TILES)
    oof, test = run((folder, train, [], None))
    assert len(test) == 0 and len(oof) == 14


def test_unusable_input_is_explained(made):
    folder, train, test, network = made
    with pytest.raises(InputError, match="expected a shard of train tiles, found test tiles"):
        run((folder, test, train, None))
    checkpoint = checkpoints.load(folder / "weights.pt")
    keys = ("settings", "auc", "epoch", "tiles", "code")
    again = {key: checkpoint[key] for key in keys}
    checkpoints.save(folder / "weights.pt", fold=7, weights=checkpoint["weights"], **again)
    with pytest.raises(InputError, match="no tiles of fold 7"):
        run(made)
    broken = {key: value * float("nan") for key, value in network.state_dict().items()}
    checkpoints.save(folder / "weights.pt", fold=1, weights={"last": broken}, **again)
    with pytest.raises(InputError, match="its logit is nan"):
        run(made)
