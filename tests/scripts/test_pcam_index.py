"""PatchCamelyon's tiles become an index: unique ids, test labels set aside, one error for files of another form."""

import h5py
import numpy as np
import pandas as pd
import pytest

from histo.errors import InputError
from histo.tiles.pcam import open_tiles, read_labels, read_slices
from pcam_gunzip import pcam_gunzip
from pcam_index import make_ids
from support.archives import sha1
from support.pcam import Pcam, zipped


@pytest.fixture
def pcam(random):
    return Pcam(random)


def test_index(pcam, tmp_path):
    frame, _ = pcam.indexed(tmp_path)
    assert frame["id"].is_unique
    train = frame[frame["split"] == "train"].sort_values("offset")
    assert train["label"].tolist() == pcam.labels["train"].tolist()
    assert train["shard"].tolist() == [0] * 14 + [1] * 13 + [2] * 13
    first = sha1(pcam.tiles["train"][0])
    assert train["id"].tolist()[:6] == [
        first,
        sha1(pcam.tiles["train"][1]),
        sha1(pcam.tiles["train"][2]),
        f"{first[:33]}-2",
        sha1(pcam.tiles["train"][4]),
        f"{first[:33]}-3",
    ]
    test = frame[frame["split"] == "test"]
    assert (test["label"] == -1).all()
    assert test.groupby("entry").size().to_dict() == {"valid": 12, "test": 14}
    assert test.groupby("shard").size().tolist() == [13, 13]
    assert frame["id"].tolist() == [*sorted(train["id"]), *sorted(test["id"])]
    assert (frame["fault"] == "").all()


def test_sample_and_truth_follow_the_files(pcam, tmp_path):
    pcam.indexed(tmp_path)
    truth, sample = pd.read_csv(tmp_path / "truth.csv"), pd.read_csv(tmp_path / "sample.csv")
    assert truth["label"].tolist() == [*pcam.labels["valid"], *pcam.labels["test"]]
    assert truth["part"].tolist() == ["public"] * 12 + ["private"] * 14
    assert truth.loc[1, "id"] == sha1(pcam.tiles["valid"][1])
    assert sample["id"].tolist() == truth["id"].tolist()
    assert (sample["label"] == 0).all()


def test_copies_across_the_parts_stay_apart(pcam, tmp_path):
    pcam.tiles["test"][1] = pcam.tiles["train"][0]
    frame, _ = pcam.indexed(tmp_path)
    first = sha1(pcam.tiles["train"][0])
    copies = frame[frame["id"].str.startswith(first[:33])].set_index("id")["entry"].to_dict()
    assert copies == {first: "train"} | {f"{first[:33]}-{k}": "train" for k in (2, 3)} | {f"{first[:33]}-4": "test"}


def test_ids_fit_for_the_whole_set():
    """All 327,680 tiles equal: the longest number still fits."""
    ids = make_ids(["a" * 40] * 327_680)
    assert len(set(ids)) == 327_680
    assert max(map(len, ids)) == 40


@pytest.mark.parametrize("chunk", [None, 1, 5, 40, 1000, 3000])
def test_slices_are_the_tiles(tmp_path, random, chunk, monkeypatch):
    monkeypatch.setattr("histo.tiles.pcam.TOGETHER", 8)
    count = 40
    tiles = random.integers(0, 256, (count, 96, 96, 3), dtype=np.uint8)
    with h5py.File(tmp_path / "x.h5", "w") as file:
        shape = None if chunk is None else (min(chunk, count), 96, 96, 3)
        file.create_dataset("x", data=tiles, chunks=shape)
    with open_tiles(tmp_path / "x.h5") as dataset:
        slices = list(read_slices(dataset, 3, 33))
    np.testing.assert_array_equal(np.concatenate(slices), tiles[3:33])
    if chunk in (None, 1):
        assert [len(part) for part in slices] == [5, 8, 8, 8, 1]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "expected a dataset|expected an HDF5 file in it"),
        (b"not gzip", "expected a gzip file"),
        (zipped(y=np.zeros((9, 1, 1, 1), np.uint8))[:-20], "expected a gzip file, found Compressed file ended"),
        (zipped(z=np.zeros((9, 1, 1, 1), np.uint8)), r"expected a dataset 'y'.* found only \['z'\]"),
        (zipped(y=np.zeros((9, 2, 1, 1), np.uint8)), r"found uint8 \[9, 2, 1, 1\]"),
        (zipped(y=np.zeros((9, 1, 1, 1), np.float32)), "found float32"),
        (zipped(y=np.full((9, 1, 1, 1), 2, np.uint8)), "expected labels 0 and 1, found 2 as number 0"),
    ],
)
def test_labels_of_another_form(tmp_path, content, message):
    (tmp_path / "y.h5.gz").write_bytes(content)
    with pytest.raises(InputError, match=message):
        read_labels(tmp_path / "y.h5.gz")


def test_labels_that_unpack_to_too_much(tmp_path, monkeypatch):
    monkeypatch.setattr("histo.tiles.pcam.LARGEST_LABELS", 1000)
    (tmp_path / "y.h5.gz").write_bytes(zipped(y=np.zeros((9, 1, 1, 1), np.uint8)))
    with pytest.raises(InputError, match="at most 1,000 bytes"):
        read_labels(tmp_path / "y.h5.gz")


def test_tiles_of_another_form(tmp_path):
    path = tmp_path / "x.h5"
    path.write_bytes(b"no HDF5")
    with pytest.raises(InputError, match="expected an HDF5 file"), open_tiles(path):
        pass
    with h5py.File(path, "w") as file:
        file["x"] = np.zeros((3, 64, 64, 3), np.uint8)
    with pytest.raises(InputError, match=r"found uint8 \[3, 64, 64, 3\]"), open_tiles(path):
        pass


def test_numbers_of_tiles_and_labels_differ(pcam, tmp_path):
    pcam.labels["valid"] = pcam.labels["valid"][:-1]
    with pytest.raises(InputError, match=r"valid_y\.h5\.gz: expected 12 labels, .*found 11"):
        pcam.indexed(tmp_path)
    assert not (tmp_path / "index.parquet").exists()


def test_damaged_gzip(tmp_path):
    content = zipped(x=np.zeros((3, 96, 96, 3), np.uint8))
    for damaged in (content[:-9], content[:-8] + bytes(8), b"<html>"):
        (tmp_path / "x.h5.gz").write_bytes(damaged)
        with pytest.raises(InputError, match=r"x\.h5\.gz: expected a complete gzip file, found a damaged one"):
            pcam_gunzip(tmp_path / "x.h5.gz", tmp_path / "x.h5")
        assert not (tmp_path / "x.h5").exists()
