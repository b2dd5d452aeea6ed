"""The audit: which tiles are kept, and the policies for faults and quality flags."""

import logging
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from audit import mark_conflicts
from histo.errors import InputError
from histo.files import read_json
from histo.tiles.shards import Shard
from support.archives import Archive
from support.stages import Results


def prepared(archive: Archive, folder: Path, *, id_is_sha1: bool = True) -> Results:
    return Results(archive.write(folder / "a.zip"), folder / "r").prepare(id_is_sha1=id_is_sha1)


def test_all_tiles_without_faults_are_kept(archive, tmp_path):
    results = prepared(archive, tmp_path)
    assert results.audit("fail")["kept"].all()
    assert read_json(results.root / "audit.json") == {
        "tiles": {"train": 12, "test": 6},
        "kept": {"train": 12, "test": 6},
        "faults": {},
        "positives": 6,
        "positive_share": 0.5,
        "copies": 0,
        "in_both_splits": 0,
        "left_out": {},
    }


def test_rows_are_positions_in_the_shards(archive, tmp_path):
    archive.files[f"train/{archive.train[1]}.tif"] = b""
    results = prepared(archive, tmp_path)
    tiles = results.audit()
    assert tiles.loc[tiles["id"] == archive.train[1], ["row", "kept"]].to_numpy().tolist() == [[-1, False]]
    shards = {split: [Shard(path) for path in results.packed(split)] for split in ("train", "test")}
    for tile in tiles[tiles["row"] >= 0].itertuples():
        assert shards[tile.split][tile.shard].ids[tile.row] == tile.id


def test_policy_fail_names_the_tiles_and_what_to_do(archive, tmp_path, caplog):
    archive.files[f"train/{archive.train[1]}.tif"] = b""
    del archive.files[f"test/{archive.test[0]}.tif"]
    results = prepared(archive, tmp_path)
    with caplog.at_level(logging.WARNING), pytest.raises(InputError) as error:
        results.audit("fail")
    message = str(error.value)
    assert message.startswith("2 of 18 tiles have a fault")
    assert f"train/{archive.train[1]}: empty_file: 0 bytes" in message
    assert f"test/{archive.test[0]}: missing_file" in message
    assert "on_fault: leave_out" in message
    assert "id_is_sha1" not in message
    assert not (results.root / "tiles.parquet").exists()
    assert len(caplog.records) == 2


def test_ids_that_are_no_sha1_name_the_setting(archive, tmp_path):
    old = archive.train[0]
    archive.files["train/tile-1.tif"] = archive.files.pop(f"train/{old}.tif")
    archive.tables["train_labels.csv"] = archive.tables["train_labels.csv"].replace(old, "tile-1")
    with pytest.raises(InputError, match="sha1_differs") as error:
        prepared(archive, tmp_path).audit("fail")
    assert "set `validate: {id_is_sha1: false}`" in str(error.value)


def test_policy_leave_out_counts_the_faults(archive, tmp_path):
    archive.files[f"train/{archive.train[1]}.tif"] = b""
    del archive.files[f"test/{archive.test[0]}.tif"]
    results = prepared(archive, tmp_path)
    tiles = results.audit()
    assert tiles.loc[~tiles["kept"], "id"].tolist() == [archive.train[1], archive.test[0]]
    summary = read_json(results.root / "audit.json")
    assert summary["kept"] == {"train": 11, "test": 5}
    assert summary["faults"] == {"empty_file": {"train": 1, "test": 0}, "missing_file": {"train": 0, "test": 1}}


def test_equal_pixels_with_two_labels(archive, tmp_path):
    """Possible only where ids are not hashes. Equal pixels with one label are copies, not a fault."""
    a, b, c, d, *_ = archive.train
    archive.files[f"train/{b}.tif"] = archive.files[f"train/{a}.tif"]  # labels 0 and 1
    archive.files[f"train/{c}.tif"] = archive.files[f"train/{archive.train[4]}.tif"]  # labels 0 and 0
    archive.files[f"test/{archive.test[0]}.tif"] = archive.files[f"train/{d}.tif"]
    results = prepared(archive, tmp_path, id_is_sha1=False)
    tiles = results.audit()
    assert tiles.loc[tiles["fault"] != "", ["id", "fault"]].to_numpy().tolist() == [
        [a, "conflicting_copies"],
        [b, "conflicting_copies"],
    ]
    summary = read_json(results.root / "audit.json")
    assert (summary["copies"], summary["in_both_splits"]) == (3, 1)


def test_training_tiles_of_one_class_are_refused(archive, tmp_path):
    archive.tables["train_labels.csv"] = archive.tables["train_labels.csv"].replace(",1\n", ",0\n")
    with pytest.raises(InputError, match="expected training tiles of both classes, found 0 positives among 12"):
        prepared(archive, tmp_path).audit()


def test_flagged_training_tiles_are_excluded_but_no_test_tiles(archive, tmp_path):
    blank = archive.add("train", np.full((96, 96, 3), 240, np.uint8))
    archive.add("test", np.full((96, 96, 3), 241, np.uint8))
    results = prepared(archive, tmp_path)
    assert results.audit("fail")["kept"].all()
    tiles = results.audit("fail", ("blank", "black"))
    assert tiles.loc[~tiles["kept"], ["id", "fault", "detail"]].to_numpy().tolist() == [
        [blank, "", "blank: audit.leave_out"]
    ]
    summary = read_json(results.root / "audit.json")
    assert summary["left_out"] == {"blank": 1, "black": 0}
    assert summary["kept"] == {"train": 12, "test": 7}
    assert summary["faults"] == {}


def test_one_id_for_different_tiles_is_refused(archive, tmp_path):
    """Possible only where ids are not hashes: overlaps of a test tile would count for the training tile."""
    a, b = archive.train[0], archive.test[0]
    archive.files[f"test/{a}.tif"] = archive.files.pop(f"test/{b}.tif")
    archive.tables["sample_submission.csv"] = archive.tables["sample_submission.csv"].replace(b, a)
    with pytest.raises(InputError, match=f"1 ids with different pixels in train and in test, such as {a}"):
        prepared(archive, tmp_path, id_is_sha1=False).audit()


def test_the_detail_of_many_copies_is_short(random):
    ids = [f"{k:040d}" for k in range(300)]
    tiles = pd.DataFrame({"id": ids, "split": "train", "fault": "", "detail": "", "pixels_sha1": "a"})
    tiles["label"] = random.integers(0, 2, 300)
    mark_conflicts(tiles)
    assert (tiles["fault"] == "conflicting_copies").all()
    assert tiles["detail"].str.len().max() < 600
    assert tiles["detail"][0].endswith("and 290 more")
