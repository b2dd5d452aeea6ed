"""Pseudo-labels: which tiles are added with which labels, and what a model trained on them has seen."""

import h5py
import numpy as np
import pandas as pd
import pytest
import torch

from histo import tables
from histo.errors import InputError
from histo.tiles.shards import open_shards
from histo.training import checkpoints
from histo.training.loader import TileLoader
from histo.training.loop import train
from histo.training.pseudo_labels import with_pseudo_labels
from support.training import CODE, make_split, settings, write_folds

CPU = torch.device("cpu")


@pytest.fixture
def data(tmp_path):
    """Folder, shards of both splits, the training rows and the test rows; two teachers' predictions."""
    train_paths, rows = make_split(tmp_path, "train", (20, 24))
    test_paths, test = make_split(tmp_path, "test", (9, 8))
    write_folds(rows, tmp_path / "folds.parquet")
    predicted = test.sample(frac=1, random_state=0)[:-2]  # two tiles were excluded by the audit
    for name, factor in (("a", 0.5), ("b", 0.9)):
        values = factor * np.arange(len(predicted)) / len(predicted)
        table = predicted[["id"]].assign(fold=0, logit=0.0, probability=values, logit_none=0.0, logit_flips=0.0)
        tables.write(table.sort_values("id"), tmp_path / name, tables.PREDICTIONS)
    return tmp_path, train_paths, test_paths, rows, predicted.assign(mean=0.7 * np.arange(15) / 15)


def joined(data):
    folder, train_paths, test_paths, rows, _ = data
    return with_pseudo_labels(
        open_shards(train_paths, "train"), rows, open_shards(test_paths, "test"), [folder / "a", folder / "b"]
    )


def test_test_tiles_follow_the_training_tiles_with_the_mean_probability(data):
    shards, rows = joined(data)
    _, _, test_paths, train_rows, predicted = data
    assert len(rows) == 44 + 15 and list(shards) == [0, 1, 2, 3]
    assert rows["label"][:44].tolist() == train_rows["label"].tolist()
    expected = predicted.set_index("id")["mean"].loc[rows["id"][44:]]
    np.testing.assert_allclose(rows["label"][44:], expected, rtol=1e-12)
    loader = TileLoader(shards, rows, CPU)  # checks that each tile is in its row of its shard
    test = TileLoader(open_shards(test_paths, "test"), predicted.sort_values(["shard", "row"]), CPU)
    assert (loader.ids[44:] == test.ids).all()
    assert np.array_equal(loader.gather(np.arange(44, 59)), test.gather(np.arange(15)))
    assert loader.labels.dtype == np.float32 and 0 < loader.labels[50] < 1


def test_predictions_of_other_tiles_are_refused(data):
    folder, *_ = data
    for name in "ab":
        table = tables.read(folder / name, tables.PREDICTIONS)
        table.loc[3, "id"] = "zzz"
        tables.write(table.sort_values("id"), folder / name, tables.PREDICTIONS)
    with pytest.raises(InputError, match="expected tiles of the test shards, found 1 others, among them zzz"):
        joined(data)


def test_test_tiles_of_another_geometry_are_refused(data):
    _, _, test_paths, *_ = data
    with h5py.File(test_paths[1], "r+") as file:
        file.attrs["centre_side"] = 16
    with h5py.File(test_paths[0], "r+") as file:
        file.attrs["centre_side"] = 16
    shards, rows = joined(data)
    with pytest.raises(InputError, match=r"expected tiles of .*centre_side=32.* found .*centre_side=16"):
        TileLoader(shards, rows, CPU)


def trained(data, out, **changes):
    folder, train_paths, test_paths, *_ = data
    (folder / out).mkdir(exist_ok=True)
    extra = {"test_shards": test_paths, "pseudo_labels": [str(folder / "a")]} if "pseudo_labels" in changes else {}
    train(
        train_paths, folder / "folds.parquet", folder / out / "weights.pt", folder / out / "history.csv",
        folder / out / "training.json", fold=0, settings=settings(**changes), code=CODE,
        resume_path=folder / out / "resume.pt", **extra,
    )  # fmt: skip
    return checkpoints.load(folder / out / "weights.pt"), pd.read_csv(folder / out / "history.csv")


def test_a_student_trains_on_both_and_validates_on_its_fold(data):
    student, history = trained(data, "student", pseudo_labels=["teacher"])
    plain, _ = trained(data, "plain")
    assert student["tiles"]["validation"] == plain["tiles"]["validation"]
    assert student["tiles"]["training"] == plain["tiles"]["training"] + 15
    assert history["loss"].notna().all()


def test_the_setting_and_the_tables_belong_together(data):
    folder, train_paths, *_ = data
    with pytest.raises(InputError, match="pseudo_labels: expected predictions by teacher, found 0 tables"):
        train(
            train_paths, folder / "folds.parquet", "w", "h", "s", fold=0, settings=settings(pseudo_labels=["teacher"]),
            code=CODE, resume_path="r",
        )  # fmt: skip
