"""submission.csv: ids in the order of the sample, probabilities in full precision, invalid submissions refused."""

import hashlib

import numpy as np
import pandas as pd
import pytest

from histo import tables
from histo.errors import InputError
from histo.files import read_json, write_json
from submission_csv import check, submission_csv


def submit(folder, ids, probabilities, sample="id,label\nb,0\nC,0\na,0\n", truth=None):
    (folder / "sample.csv").write_text(sample)
    write_json(folder / "audit.json", {"positive_share": 0.4})
    frame = pd.DataFrame({"id": list(ids), "fold": -1, "logit": 0.0, "probability": probabilities})
    tables.write(frame, folder / "test.parquet", tables.PROBABILITIES)
    if truth:
        (folder / "truth.csv").write_text(truth)
    tables.write(pd.DataFrame(columns=tables.OVERLAPS.names), folder / "overlaps.parquet", tables.OVERLAPS)
    inputs = [folder / name for name in ("sample.csv", "test.parquet", "overlaps.parquet", "audit.json")]
    submission_csv(
        *inputs, folder / "truth.csv" if truth else None, folder / "submission.csv", folder / "submission.json"
    )
    return pd.read_csv(folder / "submission.csv"), read_json(folder / "submission.json")


def test_ids_order_and_precision(tmp_path):
    values = np.array([1 / 3, 0.1 + 0.2, 1e-17])
    frame, summary = submit(tmp_path, "abC", values)
    assert frame["id"].tolist() == ["b", "C", "a"]
    assert frame["label"].tolist() == values[[1, 2, 0]].tolist()
    assert (summary["rows"], summary["filled"], summary["distinct"]) == (3, [], 3)
    content = (tmp_path / "submission.csv").read_bytes()
    assert content.startswith(b"id,label\nb,0.30000000000000004\n")
    assert summary["sha256"] == hashlib.sha256(content).hexdigest()


def test_upper_case_ids_are_written_as_in_the_sample(tmp_path):
    name = "AB" * 20
    frame, _ = submit(tmp_path, [name.lower(), "x"], [0.25, 0.5], f"id,label\n{name},0\nx,0\n")
    assert frame["id"].tolist() == [name, "x"]
    assert frame["label"].tolist() == [0.25, 0.5]


def test_tiles_without_a_prediction_are_filled_and_listed(tmp_path):
    frame, summary = submit(tmp_path, "ab", [0.1, 0.2])
    assert frame["label"].tolist() == [0.2, 0.4, 0.1]
    assert (summary["filled"], summary["filled_value"]) == (["C"], 0.4)


def test_auc_on_held_out_labels(tmp_path):
    _, summary = submit(tmp_path, "abC", [0.1, 0.2, 0.3], truth="id,label\na,0\nb,1\nC,0\n")
    assert summary["truth"]["auc"] == 0.5
    assert summary["truth"]["tiles"] == 3
    assert "parts" not in summary["truth"]


def test_auc_of_each_part(tmp_path):
    sample = "id,label\n" + "".join(f"{name},0\n" for name in "abcdef")
    rows = ["a,0,public", "b,1,public", "c,0,private", "d,1,private", "e,1,private", "f,0,private"]
    values = [0.9, 0.1, 0.2, 0.3, 0.4, 0.35]
    _, summary = submit(tmp_path, "abcdef", values, sample, truth="\n".join(["id,label,part", *rows]))
    truth = summary["truth"]
    assert {name: (part["tiles"], part["auc"]) for name, part in truth["parts"].items()} == {
        "public": (2, 0.0),
        "private": (4, 0.75),
    }
    assert (truth["tiles"], truth["auc"]) == (6, pytest.approx(1 / 3))


@pytest.mark.parametrize(
    ("ids", "values", "message"),
    [
        ("bca", [0.1, 0.2, 0.3], None),
        ("bc", [0.1, 0.2], "1 missing ids, for example a"),
        ("bcad", [0.1, 0.2, 0.3, 0.4], "1 extra ids, for example d"),
        ("bcaa", [0.1, 0.2, 0.3, 0.3], "1 repeated ids, for example a"),
        ("abc", [0.1, 0.2, 0.3], "not in the order"),
        ("bca", [0.1, np.nan, 0.3], "1 values that are not finite numbers, for example for c"),
        ("bca", [0.1, np.inf, 0.3], "not finite numbers"),
        ("bca", [0.1, -0.01, 0.3], "expected values from 0 to 1"),
        ("bca", [0.1, 1.01, 0.3], "expected values from 0 to 1"),
        ("bca", [1, 0, 1], "only the values 0 and 1"),
    ],
)
def test_invalid_submissions_are_refused(ids, values, message):
    frame = pd.DataFrame({"id": list(ids), "label": values})
    if message is None:
        check(frame, list("bca"))
    else:
        with pytest.raises(InputError, match=message):
            check(frame, list("bca"))


def test_a_refused_submission_is_not_written(tmp_path):
    with pytest.raises(InputError, match="only the values 0 and 1"):
        submit(tmp_path, "abC", [0.0, 1.0, 1.0])
    assert not (tmp_path / "submission.csv").exists()


def test_predictions_of_unknown_ids_are_refused(tmp_path):
    with pytest.raises(InputError, match="1 predicted ids are not in"):
        submit(tmp_path, "abCz", [0.1, 0.2, 0.3, 0.4])


def test_ids_that_pandas_reads_as_missing_values(tmp_path):
    frame, _ = submit(tmp_path, ["NA", "null"], [0.25, 0.5], "id,label\nnull,0\nNA,0\n")
    assert frame["label"].tolist() == [0.5, 0.25]


def test_held_out_labels_of_one_class_are_an_error(tmp_path):
    with pytest.raises(InputError, match="The 3 held-out test labels are all of one class"):
        submit(tmp_path, "abC", [0.1, 0.2, 0.3], truth="id,label\na,0\nb,0\nC,0\n")


def test_several_classes_have_a_column_each(tmp_path):
    (tmp_path / "sample.csv").write_text("id,label\nb,0\nC,0\na,0\nd,0\n")
    write_json(tmp_path / "audit.json", {"positive_share": 0.5, "labels": [5, 3, 2]})
    values = np.array([[0.5, 0.3, 0.2], [0.1, 0.8, 0.1], [1 / 3, 1 / 3, 1 / 3]])
    columns = {f"probability_{k}": values[:, k] for k in range(3)}
    frame = pd.DataFrame({"id": list("abC"), "fold": -1, **columns})
    tables.write(frame, tmp_path / "test.parquet", tables.probabilities(3))
    (tmp_path / "truth.csv").write_text("id,label\na,0\nb,1\nC,2\nd,0\n")
    tables.write(pd.DataFrame(columns=tables.OVERLAPS.names), tmp_path / "overlaps", tables.OVERLAPS)
    names = ("sample.csv", "test.parquet", "overlaps", "audit.json", "truth.csv", "submission.csv", "submission.json")
    submission_csv(*(tmp_path / name for name in names))
    found = pd.read_csv(tmp_path / "submission.csv")
    assert found.columns.tolist() == ["id", "label_0", "label_1", "label_2"]
    np.testing.assert_array_equal(found.iloc[:, 1:], [values[1], values[2], values[0], [0.5, 0.3, 0.2]])
    summary = read_json(tmp_path / "submission.json")
    assert (summary["filled"], summary["rows"]) == (["d"], 4)
    # Label 0: a and d above b and C; label 1: b above all; label 2: C above all.
    assert summary["truth"]["auc"] == 1.0
    (tmp_path / "truth.csv").write_text("id,label\na,0\nb,1\nC,1\nd,0\n")
    with pytest.raises(InputError, match="lack some of 3 classes, so the macro AUC is undefined"):
        submission_csv(*(tmp_path / name for name in names))
