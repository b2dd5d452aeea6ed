"""The verdict on every tile, and the policy."""

import logging

import numpy as np
import pandas as pd
import pytest

from audit import mark_conflicts
from histo.errors import InputError
from histo.files import read_json
from histo.synthetic.tiff import tiff
from histo.tiles.shards import Shard
from support.archives import sha1
from support.stages import Results


def prepared(made, folder, **options):
    return Results(made.write(folder / "a.zip"), folder / "r").prepare(**options)


def test_sound_tiles_are_all_kept(made, tmp_path):
    results = prepared(made, tmp_path)
    tiles = results.audit("fail")
    assert tiles["kept"].all()
    figures = read_json(results.root / "audit.json")
    assert figures == {
        "tiles": {"train": 12, "test": 6},
        "kept": {"train": 12, "test": 6},
        "faults": {},
        "positives": 6,
        "positive_share": 0.5,
        "copies": 0,
        "in_both_splits": 0,
        "left_out": {},
    }


def test_rows_are_those_of_the_shards(made, tmp_path):
    made.files[f"train/{made.train[1]}.tif"] = b""
    results = prepared(made, tmp_path)
    tiles = results.audit()
    assert tiles.loc[tiles["id"] == made.train[1], ["row", "kept"]].to_numpy().tolist() == [[-1, False]]
    shards = {split: [Shard(path) for path in results.packed(split)] for split in ("train", "test")}
    for tile in tiles[tiles["row"] >= 0].itertuples():
        assert shards[tile.split][tile.shard].ids[tile.row] == tile.id


def test_policy_fail_names_the_tiles_and_what_to_do(made, tmp_path, caplog):
    made.files[f"train/{made.train[1]}.tif"] = b""
    del made.files[f"test/{made.test[0]}.tif"]
    results = prepared(made, tmp_path)
    with caplog.at_level(logging.WARNING), pytest.raises(InputError) as error:
        results.audit("fail")
    message = str(error.value)
    assert message.startswith("2 of 18 tiles have a fault")
    assert f"train/{made.train[1]}: empty_file: 0 bytes" in message
    assert f"test/{made.test[0]}: missing_file" in message
    assert "on_fault: leave_out" in message
    assert not (results.root / "tiles.parquet").exists()
    assert len(caplog.records) == 2


def test_policy_leave_out_counts_the_faults(made, tmp_path):
    made.files[f"train/{made.train[1]}.tif"] = b""
    del made.files[f"test/{made.test[0]}.tif"]
    results = prepared(made, tmp_path)
    tiles = results.audit()
    assert tiles.loc[~tiles["kept"], "id"].tolist() == [made.train[1], made.test[0]]
    figures = read_json(results.root / "audit.json")
    assert figures["kept"] == {"train": 11, "test": 5}
    assert figures["faults"] == {"empty_file": {"train": 1, "test": 0}, "missing_file": {"train": 0, "test": 1}}


def test_equal_pixels_with_two_labels(made, tmp_path):
    """Possible only where ids are no hashes. Equal pixels with one label are copies, not a fault."""
    a, b, c, d, *_ = made.train
    made.files[f"train/{b}.tif"] = made.files[f"train/{a}.tif"]  # labels 0 and 1
    made.files[f"train/{c}.tif"] = made.files[f"train/{made.train[4]}.tif"]  # labels 0 and 0
    made.files[f"test/{made.test[0]}.tif"] = made.files[f"train/{d}.tif"]
    results = prepared(made, tmp_path, id_is_sha1=False)
    tiles = results.audit()
    assert tiles.loc[tiles["fault"] != "", ["id", "fault"]].to_numpy().tolist() == [
        [a, "conflicting_copies"],
        [b, "conflicting_copies"],
    ]
    figures = read_json(results.root / "audit.json")
    assert (figures["copies"], figures["in_both_splits"]) == (3, 1)


def test_training_tiles_of_one_class_are_refused(made, tmp_path):
    made.tables["train_labels.csv"] = made.tables["train_labels.csv"].replace(",1\n", ",0\n")
    with pytest.raises(InputError, match="expected training tiles of both classes, found 0 positives among 12"):
        prepared(made, tmp_path).audit()


def test_unwanted_training_tiles_are_left_out_and_test_tiles_are_not(made, tmp_path):
    even = np.full((96, 96, 3), 240, np.uint8)
    names = []
    for split, table, label, grey in (("train", "train_labels.csv", 0, 240), ("test", "sample_submission.csv", 0, 241)):
        tile = np.full_like(even, grey)
        names.append(sha1(tile))
        made.files[f"{split}/{names[-1]}.tif"] = tiff(tile)
        made.tables[table] += f"{names[-1]},{label}\n"
    results = prepared(made, tmp_path)
    assert results.audit("fail")["kept"].all()
    tiles = results.audit("fail", ("blank", "black"))
    assert tiles.loc[~tiles["kept"], ["id", "fault", "detail"]].to_numpy().tolist() == [
        [names[0], "", "blank: audit.leave_out"]
    ]
    figures = read_json(results.root / "audit.json")
    assert figures["left_out"] == {"blank": 1, "black": 0}
    assert figures["kept"] == {"train": 12, "test": 7}
    assert figures["faults"] == {}


def test_one_id_for_two_pictures_is_refused(made, tmp_path):
    """Possible only where ids are no hashes: overlaps of test tiles would pass for overlaps of training tiles."""
    a, b = made.train[0], made.test[0]
    made.files[f"test/{a}.tif"] = made.files.pop(f"test/{b}.tif")
    made.tables["sample_submission.csv"] = made.tables["sample_submission.csv"].replace(b, a)
    with pytest.raises(InputError, match=f"1 ids with different pixels in train and in test, such as {a}"):
        prepared(made, tmp_path, id_is_sha1=False).audit()


def test_many_copies_are_not_all_named_by_each(random):
    ids = [f"{k:040d}" for k in range(300)]
    tiles = pd.DataFrame({"id": ids, "split": "train", "fault": "", "detail": "", "pixels_sha1": "a"})
    tiles["label"] = random.integers(0, 2, 300)
    mark_conflicts(tiles)
    assert (tiles["fault"] == "conflicting_copies").all()
    assert tiles["detail"].str.len().max() < 600
    assert tiles["detail"][0].endswith("and 290 more")
