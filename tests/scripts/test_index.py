"""The index: tables and files that disagree give faults, an unusable archive gives one error."""

from pathlib import Path

import pandas as pd
import pytest

from histo import tables
from histo.errors import InputError
from index import index, parse_label
from support.archives import Archive


def indexed(archive: Archive, folder: Path, **shards: int) -> pd.DataFrame:
    path = archive.write(folder / "archive.zip")
    index(path, folder / "index.parquet", folder / "sample.csv", **({"train_shards": 3, "test_shards": 2} | shards))
    return tables.read(folder / "index.parquet", tables.INDEX)


def faults(frame: pd.DataFrame) -> dict[str, str]:
    return {row.id: row.fault for row in frame[frame["fault"] != ""].itertuples()}


def test_archive_without_faults(archive, tmp_path):
    frame = indexed(archive, tmp_path)
    train, test = frame[frame["split"] == "train"], frame[frame["split"] == "test"]
    assert train["id"].tolist() == archive.train
    assert test["id"].tolist() == archive.test
    assert dict(zip(train["id"], train["label"].astype(str), strict=True)) == archive.labels
    assert (test["label"] == -1).all()
    assert train["shard"].tolist() == [0] * 4 + [1] * 4 + [2] * 4
    assert test["shard"].tolist() == [0] * 3 + [1] * 3
    assert faults(frame) == {}
    assert (tmp_path / "sample.csv").read_text() == archive.tables["sample_submission.csv"]


def test_more_shards_than_tiles(archive, tmp_path):
    assert indexed(archive, tmp_path, test_shards=9)["shard"].max() == 5


def test_every_disagreement_of_tables_and_files_is_a_fault(archive, tmp_path):
    first, second, third, fourth, fifth, *_ = archive.train
    archive.relabel(first, "")
    archive.relabel(second, "2")
    lines = archive.tables["train_labels.csv"].splitlines()
    del lines[3]  # third: not listed
    lines += [f"{fifth},{1 - int(archive.labels[fifth])}", "f" * 40 + ",1"]
    archive.tables["train_labels.csv"] = "\n".join(lines)
    del archive.files[f"train/{fourth}.tif"], archive.files[f"test/{archive.test[0]}.tif"]
    frame = indexed(archive, tmp_path)
    assert faults(frame) == {
        first: "no_label",
        second: "bad_label",
        third: "unlisted_file",
        fourth: "missing_file",
        fifth: "repeated_id",
        "f" * 40: "missing_file",
        archive.test[0]: "missing_file",
    }
    details = frame.set_index("id")["detail"]
    assert details[second] == "the label is '2'"
    assert details[fifth].startswith("lines 5 and 13 of train_labels.csv")


@pytest.mark.parametrize("text", ["0", "1", "0.0", "1.0", " 1", "1e0"])
def test_labels_in_any_number_format(text):
    assert parse_label(text.strip()) == (int(float(text)), "", "")


@pytest.mark.parametrize("text", ["2", "-1", "0.5", "nan", "yes"])
def test_other_labels_are_a_fault(text):
    assert parse_label(text)[:2] == (-1, "bad_label")


def test_labels_of_several_classes():
    assert [parse_label(text, 4)[0] for text in ("0", "2", "3.0", "4", "2.5", "-1")] == [0, 2, 3, -1, -1, -1]


def test_upper_case_ids_in_the_table_match_lower_case_files(archive, tmp_path):
    archive.tables["train_labels.csv"] = archive.tables["train_labels.csv"].upper().replace("ID,LABEL", "id,label")
    frame = indexed(archive, tmp_path)
    assert faults(frame) == {}
    assert frame.loc[frame["split"] == "train", "id"].tolist() == archive.train


def test_enclosing_folder_and_unrelated_files_are_accepted(archive, tmp_path):
    archive.files = {f"data/{name}": content for name, content in archive.files.items()}
    archive.tables = {f"data/{name}": content for name, content in archive.tables.items()}
    for name in ("__MACOSX/data/._train_labels.csv", "data/.DS_Store", "__MACOSX/train_labels.csv"):
        archive.files[name] = b"x"
    archive.files[f"data/train/._{archive.train[0]}.tif"] = b"x"
    assert faults(indexed(archive, tmp_path)) == {}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda archive: archive.tables.pop("train_labels.csv"), r"expected one train_labels\.csv, found 0"),
        (lambda archive: archive.tables.update({"x/train_labels.csv": "id,label\n"}), r"expected one .*, found 2"),
        (
            lambda archive: archive.tables.update({"train_labels.csv": "id,label\n"}),
            "a row for each training tile, found none",
        ),
        (lambda archive: archive.tables.update({"train_labels.csv": "id;label\n"}), "expected the columns id, label"),
        (lambda archive: archive.tables.update({"sample_submission.csv": "id\na\nb\na\n"}), "found a on lines 2 and 4"),
        (
            lambda archive: archive.tables.update({"sample_submission.csv": "id,label\n../x,0\n"}),
            "line 2: expected an id",
        ),
        (
            lambda archive: [archive.files.pop(f"test/{name}.tif") for name in archive.test],
            r"expected files test/ID\.tif",
        ),
        (
            lambda archive: archive.files.update({f"train/{archive.train[0].upper()}.tif": b""}),
            "expected one file of each id",
        ),
    ],
)
def test_unusable_archives_raise_one_error(archive, tmp_path, change, message):
    change(archive)
    with pytest.raises(InputError, match=message):
        indexed(archive, tmp_path)
    assert not (tmp_path / "index.parquet").exists()


def test_faults_end_the_run_before_anything_is_unpacked(archive, tmp_path):
    """With `audit.on_fault: fail`, as the audit would after all tiles are unpacked."""
    first, second, *_ = archive.train
    archive.relabel(first, "7")
    archive.tables["train_labels.csv"] += f"{second},{archive.labels[second]}\n"
    with pytest.raises(InputError, match=r"2 of 18 tiles have a fault") as error:
        indexed(archive, tmp_path, on_fault="fail")
    assert f"train/{first}: bad_label: the label is '7'" in str(error.value)
    assert f"train/{second}: repeated_id: lines 3 and 14 of train_labels.csv" in str(error.value)
    assert not (tmp_path / "index.parquet").exists() and not (tmp_path / "sample.csv").exists()
    assert len(faults(indexed(archive, tmp_path, on_fault="leave_out"))) == 2
