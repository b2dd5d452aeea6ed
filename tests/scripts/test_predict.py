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
from predict import combine, predict
from support.training import CODE, make_split, settings, write_folds, write_tiles


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
    chosen = settings(center_crop=96)
    torch.manual_seed(0)
    network = build(chosen["network"], 96)
    checkpoints.save(
        tmp_path / "weights.pt", settings=chosen, fold=1, auc=0.5, epoch=1, tiles={}, code=CODE,
        weights={"last": network.state_dict()},
    )  # fmt: skip
    return tmp_path, train, test, network


def run(made, tta="none", average="logits"):
    folder, train, test, _ = made
    inputs = [folder / "weights.pt", train, test, folder / "folds.parquet", folder / "tiles.parquet"]
    outputs = [folder / "oof.parquet", folder / "test.parquet"]
    predict(*inputs, *outputs, tta=tta, average=average, threads=1)
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
@pytest.mark.parametrize("average", ["logits", "probabilities"])
def test_views_are_averaged(made, tta, average):
    _, paths, _, network = made
    oof, _ = run(made, tta, average)
    rows = pd.DataFrame({"id": oof["id"], "shard": oof["id"].str[6].astype(int), "row": oof["id"].str[8:].astype(int)})
    tiles = TileLoader(open_shards(paths, "train"), rows.assign(label=0), torch.device("cpu"))
    views = predict_logits(network, tiles, torch.float32, tta).astype(np.float64)
    expected = 1 / (1 + np.exp(-views))
    expected = 1 / (1 + np.exp(-views.mean(axis=1))) if average == "logits" else expected.mean(axis=1)
    assert np.allclose(oof["probability"], expected, atol=1e-6)
    assert np.allclose(oof["probability"], 1 / (1 + np.exp(-oof["logit"].to_numpy(np.float64))), rtol=1e-6)


def test_probabilities_are_averaged_by_hand():
    views = np.array([[np.log(1 / 3), 0, np.log(3), np.log(3)], [-50, 0, 0, 800]], dtype=np.float32)
    logits, probabilities = combine(views, "probabilities")
    assert probabilities == pytest.approx([(0.25 + 0.5 + 0.75 + 0.75) / 4, 0.5], rel=1e-7)
    assert logits == pytest.approx([np.log(0.5625 / 0.4375), 0], abs=1e-6)
    logits, probabilities = combine(views, "logits")
    assert logits == pytest.approx([np.log(3) / 4, 187.5])
    assert probabilities == pytest.approx([1 / (1 + 3**-0.25), 1])
    assert (logits.dtype, probabilities.dtype) == (np.float32, np.float64)


def test_probabilities_are_finer_than_their_logits():
    """Means of float32 logits that one float32 cannot tell apart."""
    step = np.nextafter(np.float32(1), np.float32(2))
    logits, probabilities = combine(np.array([[1, 1, 1, 1], [1, 1, 1, step]], dtype=np.float32), "logits")
    assert logits[0] == logits[1] and probabilities[0] < probabilities[1]


@pytest.mark.parametrize("average", ["logits", "probabilities"])
def test_what_less_augmentation_gives_is_kept_to_the_bit(made, average):
    none, flips, every = (run(made, tta, average) for tta in ("none", "flips", "all"))
    for table in range(2):
        for more in (none, flips, every):
            assert more[table]["logit_none"].tolist() == none[table]["logit"].tolist()
        for more in (flips, every):
            assert more[table]["logit_flips"].tolist() == flips[table]["logit"].tolist()
        assert none[table]["logit_flips"].isna().all()
        single, four, eight = (part[table]["logit"].to_numpy() for part in (none, flips, every))
        assert np.abs(single - four).max() > 1e-5 and np.abs(four - eight).max() > 1e-5


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
