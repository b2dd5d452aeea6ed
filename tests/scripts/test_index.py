"""The list of tiles: every disagreement of tables and files becomes a fault, every unusable archive an error."""

import pytest

from histo import tables
from histo.errors import InputError
from index import index, parse_label


def indexed(made, folder, **shards):
    archive = made.write(folder / "archive.zip")
    index(archive, folder / "index.parquet", folder / "sample.csv", **({"train_shards": 3, "test_shards": 2} | shards))
    return tables.read(folder / "index.parquet", tables.INDEX)


def faults(frame):
    return {row.id: row.fault for row in frame[frame["fault"] != ""].itertuples()}


def test_a_sound_archive(made, tmp_path):
    frame = indexed(made, tmp_path)
    train, test = frame[frame["split"] == "train"], frame[frame["split"] == "test"]
    assert train["id"].tolist() == made.train
    assert test["id"].tolist() == made.test
    assert dict(zip(train["id"], train["label"].astype(str), strict=True)) == made.labels
    assert (test["label"] == -1).all()
    assert train["shard"].tolist() == [0] * 4 + [1] * 4 + [2] * 4
    assert test["shard"].tolist() == [0] * 3 + [1] * 3
    assert faults(frame) == {}
    assert (tmp_path / "sample.csv").read_text() == made.tables["sample_submission.csv"]


def test_more_shards_than_tiles(made, tmp_path):
    assert indexed(made, tmp_path, test_shards=9)["shard"].max() == 5


def test_every_disagreement_is_found(made, tmp_path):
    first, second, third, fourth, fifth, *_ = made.train
    lines = made.tables["train_labels.csv"].splitlines()
    lines[1], lines[2] = f"{first},", f"{second},2"
    del lines[3]  # third: not listed
    lines += [f"{fifth},{1 - int(made.labels[fifth])}", "f" * 40 + ",1"]
    made.tables["train_labels.csv"] = "\n".join(lines)
    del made.files[f"train/{fourth}.tif"], made.files[f"test/{made.test[0]}.tif"]
    frame = indexed(made, tmp_path)
    assert faults(frame) == {
        first: "no_label",
        second: "bad_label",
        third: "unlisted_file",
        fourth: "missing_file",
        fifth: "repeated_id",
        "f" * 40: "missing_file",
        made.test[0]: "missing_file",
    }
    details = frame.set_index("id")["detail"]
    assert details[second] == "the label is '2'"
    assert details[fifth].startswith("lines 5 and 13 of train_labels.csv")


@pytest.mark.parametrize("text", ["0", "1", "0.0", "1.0", " 1", "1e0"])
def test_labels_in_any_notation(text):
    assert parse_label(text.strip()) == (int(float(text)), "", "")


@pytest.mark.parametrize("text", ["2", "-1", "0.5", "nan", "yes"])
def test_other_labels(text):
    assert parse_label(text)[:2] == (-1, "bad_label")


def test_upper_case_ids_of_the_table_find_their_files(made, tmp_path):
    made.tables["train_labels.csv"] = made.tables["train_labels.csv"].upper().replace("ID,LABEL", "id,label")
    frame = indexed(made, tmp_path)
    assert faults(frame) == {}
    assert frame.loc[frame["split"] == "train", "id"].tolist() == made.train


def test_a_folder_around_everything_and_strangers_are_fine(made, tmp_path):
    made.files = {f"data/{name}": content for name, content in made.files.items()}
    made.tables = {f"data/{name}": content for name, content in made.tables.items()}
    made.files |= {"__MACOSX/data/._train_labels.csv": b"x", "data/.DS_Store": b"x", "__MACOSX/train_labels.csv": b"x"}
    made.files |= {f"data/train/._{made.train[0]}.tif": b"x"}
    assert faults(indexed(made, tmp_path)) == {}


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda made: made.tables.pop("train_labels.csv"), r"expected one train_labels\.csv, found 0"),
        (lambda made: made.tables.update({"x/train_labels.csv": "id,label\n"}), r"expected one .*, found 2"),
        (
            lambda made: made.tables.update({"train_labels.csv": "id,label\n"}),
            "a row for each training tile, found none",
        ),
        (lambda made: made.tables.update({"train_labels.csv": "id;label\n"}), "expected the columns id, label"),
        (lambda made: made.tables.update({"sample_submission.csv": "id\na\nb\na\n"}), "found a on lines 2 and 4"),
        (lambda made: made.tables.update({"sample_submission.csv": "id,label\n../x,0\n"}), "line 2: expected an id"),
        (lambda made: [made.files.pop(f"test/{name}.tif") for name in made.test], r"expected files test/ID\.tif"),
        (lambda made: made.files.update({f"train/{made.train[0].upper()}.tif": b""}), "expected one file of each id"),
    ],
)
def test_unusable_archives_end_in_one_error(made, tmp_path, spoil, message):
    spoil(made)
    with pytest.raises(InputError, match=message):
        indexed(made, tmp_path)
    assert not (tmp_path / "index.parquet").exists()
