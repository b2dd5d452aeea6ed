"""The index of PatchCamelyon: unique ids, shards, and test labels in a file of their own."""

import pandas as pd
import pytest

from histo.errors import InputError
from pcam_index import make_ids
from support.archives import sha1
from support.pcam import Pcam


@pytest.fixture
def pcam(random) -> Pcam:
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


def test_sample_and_truth_are_in_the_order_of_the_files(pcam, tmp_path):
    pcam.indexed(tmp_path)
    truth, sample = pd.read_csv(tmp_path / "truth.csv"), pd.read_csv(tmp_path / "sample.csv")
    assert truth["label"].tolist() == [*pcam.labels["valid"], *pcam.labels["test"]]
    assert truth["part"].tolist() == ["public"] * 12 + ["private"] * 14
    assert truth.loc[1, "id"] == sha1(pcam.tiles["valid"][1])
    assert sample["id"].tolist() == truth["id"].tolist()
    assert (sample["label"] == 0).all()


def test_copies_in_other_parts_get_their_own_ids(pcam, tmp_path):
    pcam.tiles["test"][1] = pcam.tiles["train"][0]
    frame, _ = pcam.indexed(tmp_path)
    first = sha1(pcam.tiles["train"][0])
    copies = frame[frame["id"].str.startswith(first[:33])].set_index("id")["entry"].to_dict()
    assert copies == {first: "train"} | {f"{first[:33]}-{k}": "train" for k in (2, 3)} | {f"{first[:33]}-4": "test"}


def test_ids_have_at_most_40_characters():
    """Even if all 327,680 tiles are equal."""
    ids = make_ids(["a" * 40] * 327_680)
    assert len(set(ids)) == 327_680
    assert max(map(len, ids)) == 40


def test_different_numbers_of_tiles_and_labels_are_refused(pcam, tmp_path):
    pcam.labels["valid"] = pcam.labels["valid"][:-1]
    with pytest.raises(InputError, match=r"valid_y\.h5\.gz: expected 12 labels, .*found 11"):
        pcam.indexed(tmp_path)
    assert not (tmp_path / "index.parquet").exists()
