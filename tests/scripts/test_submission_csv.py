"""The file for Kaggle: right ids in the right order, every bit of the probabilities, nothing that ranks nothing."""

import hashlib

import numpy as np
import pandas as pd
import pytest

from histo import tables
from histo.errors import InputError
from histo.files import read_json, write_json
from submission_csv import check, submission_csv


def made(folder, ids, probabilities, sample="id,label\nb,0\nC,0\na,0\n", truth=None):
    (folder / "sample.csv").write_text(sample)
    write_json(folder / "audit.json", {"positive_share": 0.4})
    frame = pd.DataFrame({"id": list(ids), "fold": -1, "logit": 0.0, "probability": probabilities})
    tables.write(frame, folder / "test.parquet", tables.PROBABILITIES)
    if truth:
        (folder / "truth.csv").write_text(truth)
    inputs = [folder / name for name in ("sample.csv", "test.parquet", "audit.json")]
    submission_csv(
        *inputs, folder / "truth.csv" if truth else None, folder / "submission.csv", folder / "submission.json"
    )
    return pd.read_csv(folder / "submission.csv"), read_json(folder / "submission.json")


def test_order_ids_and_bits(tmp_path):
    values = np.array([1 / 3, 0.1 + 0.2, 1e-17])
    frame, figures = made(tmp_path, "abC", values)
    assert frame["id"].tolist() == ["b", "C", "a"]
    assert frame["label"].tolist() == values[[1, 2, 0]].tolist()
    assert (figures["rows"], figures["filled"], figures["distinct"]) == (3, [], 3)
    content = (tmp_path / "submission.csv").read_bytes()
    assert content.startswith(b"id,label\nb,0.30000000000000004\n")
    assert figures["sha256"] == hashlib.sha256(content).hexdigest()


def test_upper_case_hashes_stay_as_the_sample_writes_them(tmp_path):
    name = "AB" * 20
    frame, _ = made(tmp_path, [name.lower(), "x"], [0.25, 0.5], f"id,label\n{name},0\nx,0\n")
    assert frame["id"].tolist() == [name, "x"]
    assert frame["label"].tolist() == [0.25, 0.5]


def test_tiles_that_could_not_be_read_are_filled_and_stated(tmp_path):
    frame, figures = made(tmp_path, "ab", [0.1, 0.2])
    assert frame["label"].tolist() == [0.2, 0.4, 0.1]
    assert (figures["filled"], figures["filled_value"]) == (["C"], 0.4)


def test_score_on_known_labels(tmp_path):
    _, figures = made(tmp_path, "abC", [0.1, 0.2, 0.3], truth="id,label\na,0\nb,1\nC,0\n")
    assert figures["truth"]["auc"] == 0.5
    assert figures["truth"]["tiles"] == 3
    assert "parts" not in figures["truth"]


def test_score_of_each_part(tmp_path):
    sample = "id,label\n" + "".join(f"{name},0\n" for name in "abcdef")
    rows = ["a,0,public", "b,1,public", "c,0,private", "d,1,private", "e,1,private", "f,0,private"]
    values = [0.9, 0.1, 0.2, 0.3, 0.4, 0.35]
    _, figures = made(tmp_path, "abcdef", values, sample, truth="\n".join(["id,label,part", *rows]))
    truth = figures["truth"]
    assert {name: (part["tiles"], part["auc"]) for name, part in truth["parts"].items()} == {
        "public": (2, 0.0),
        "private": (4, 0.75),
    }
    assert (truth["tiles"], truth["auc"]) == (6, pytest.approx(1 / 3))


@pytest.mark.parametrize(
    ("ids", "values", "message"),
    [
        ("bca", [0.1, 0.2, 0.3], None),
        ("bc", [0.1, 0.2], "1 missing ids, such as a"),
        ("bcad", [0.1, 0.2, 0.3, 0.4], "1 extra ids, such as d"),
        ("bcaa", [0.1, 0.2, 0.3, 0.3], "1 repeated ids, such as a"),
        ("abc", [0.1, 0.2, 0.3], "not in the order"),
        ("bca", [0.1, np.nan, 0.3], "1 values that are no numbers, such as for c"),
        ("bca", [0.1, np.inf, 0.3], "no numbers"),
        ("bca", [0.1, -0.01, 0.3], "expected 0 to 1"),
        ("bca", [0.1, 1.01, 0.3], "expected 0 to 1"),
        ("bca", [1, 0, 1], "only zeros and ones"),
    ],
)
def test_what_kaggle_or_the_ranking_would_suffer_from_is_refused(ids, values, message):
    frame = pd.DataFrame({"id": list(ids), "label": values})
    if message is None:
        check(frame, list("bca"))
    else:
        with pytest.raises(InputError, match=message):
            check(frame, list("bca"))


def test_nothing_is_written_when_it_is_refused(tmp_path):
    with pytest.raises(InputError, match="only zeros and ones"):
        made(tmp_path, "abC", [0.0, 1.0, 1.0])
    assert not (tmp_path / "submission.csv").exists()


def test_predictions_of_strangers_are_refused(tmp_path):
    with pytest.raises(InputError, match="1 predicted ids are not in"):
        made(tmp_path, "abCz", [0.1, 0.2, 0.3, 0.4])


def test_ids_that_pandas_takes_for_missing(tmp_path):
    frame, _ = made(tmp_path, ["NA", "null"], [0.25, 0.5], "id,label\nnull,0\nNA,0\n")
    assert frame["label"].tolist() == [0.5, 0.25]


def test_hidden_labels_of_one_class_are_named(tmp_path):
    with pytest.raises(InputError, match="The 3 hidden labels are all of one class"):
        made(tmp_path, "abC", [0.1, 0.2, 0.3], truth="id,label\na,0\nb,0\nC,0\n")
