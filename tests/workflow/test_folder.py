"""An extracted archive as the source: the same index and the same tiles as from the zip archive."""

import os
import shutil
from pathlib import Path

import pandas as pd
import pytest
import yaml

from histo import tables
from histo.config.configuration import check
from histo.errors import InputError
from histo.files import read_json
from index import index
from support import ROOT, stages
from support.chain import job_counts, snakemake

SHARDS = {"train_shards": 2, "test_shards": 1}


@pytest.fixture
def extracted(archive, tmp_path) -> Path:
    """The extracted archive."""
    return archive.extract(tmp_path / "extracted")


def indexed(source: Path, results: Path) -> pd.DataFrame:
    results.mkdir(exist_ok=True)
    index(source, results / "index.parquet", results / "sample.csv", **SHARDS)
    return tables.read(results / "index.parquet", tables.INDEX)


def read(source: Path, results: Path) -> dict[str, bytes]:
    """Return the files of the training tiles by id, read from the folder after indexing into `results`."""
    found = {}
    for shard in range(2):
        found |= stages.unzipped(source, results / "index.parquet", "train", shard)
    return found


def test_folder_and_archive_give_the_same(archive, extracted, tmp_path):
    of_folder = indexed(extracted, tmp_path / "a")
    of_zip = indexed(archive.write(tmp_path / "archive.zip"), tmp_path / "b")
    same = ["id", "split", "label", "shard", "entry", "size", "fault", "detail"]
    assert of_folder[same].equals(of_zip[same])
    assert (tmp_path / "a" / "sample.csv").read_bytes() == (tmp_path / "b" / "sample.csv").read_bytes()
    expected = {name: archive.files[f"train/{name}.tif"] for name in archive.train}
    assert read(extracted, tmp_path / "a") == expected


def test_folder_and_archive_give_the_same_shards(archive, extracted, tmp_path):
    """Equal to the bit: no stage sees where the files came from. Nothing is written but tables and shards."""
    of_zip = stages.Results(archive.write(tmp_path / "archive.zip"), tmp_path / "zip", 1, 1).prepare()
    of_folder = stages.Results(extracted, tmp_path / "folder", 1, 1).prepare()
    for split in ("train", "test"):
        assert of_folder.packed(split)[0].read_bytes() == of_zip.packed(split)[0].read_bytes()
        found, expected = (tables.read(r.validations(split)[0], tables.VALIDATION) for r in (of_folder, of_zip))
        pd.testing.assert_frame_equal(found, expected)
    assert {path.suffix for path in of_folder.root.iterdir()} == {".parquet", ".csv", ".h5"}


def test_disagreements_of_tables_and_files_are_faults(archive, extracted, tmp_path):
    first, second, third, *_ = archive.train
    (extracted / f"train/{first}.tif").unlink()
    (extracted / f"train/{second}.tif").rename(extracted / f"train/{'e' * 40}.tif")
    (extracted / f"train/{third}.tif").write_bytes(b"")
    frame = indexed(extracted, tmp_path / "a")
    faults = {row.id: row.fault for row in frame[frame["fault"] != ""].itertuples()}
    assert faults == {first: "missing_file", second: "missing_file", "e" * 40: "unlisted_file"}
    assert frame.set_index("id").loc[third, "size"] == 0
    assert read(extracted, tmp_path / "a")[third] == b""


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda tile: tile.rename(tile.parent / ("x" * 41 + ".tif")), "expected an id of 1 to 40 ASCII characters"),
        (lambda tile: tile.rename(tile.parent / "\udcff\n.tif"), r"found '\\udcff\\n'"),
        (lambda tile: (tile.parent / f"{tile.stem.upper()}.tif").write_bytes(b""), "expected one file of each id"),
    ],
    ids=["too long", "not printable", "two files of one id"],
)
def test_file_names_that_are_not_ids_are_refused(archive, extracted, tmp_path, change, message):
    change(extracted / f"train/{archive.train[0]}.tif")
    with pytest.raises(InputError, match=message):
        indexed(extracted, tmp_path / "a")
    assert not (tmp_path / "a" / "index.parquet").exists()


def test_a_folder_without_test_tiles_is_refused(extracted, tmp_path):
    shutil.rmtree(extracted / "test")
    with pytest.raises(InputError, match=r"expected files test/ID\.tif, ID\.png or ID\.jpg, found none"):
        indexed(extracted, tmp_path / "a")


def test_a_file_that_changed_after_indexing_is_named(archive, extracted, tmp_path):
    indexed(extracted, tmp_path / "a")
    (extracted / f"train/{archive.train[0]}.tif").write_bytes(b"short")
    with pytest.raises(
        InputError, match=rf"train/{archive.train[0]}\.tif: expected 27,935 bytes, found 5.*forcerun index"
    ):
        read(extracted, tmp_path / "a")


def test_a_missing_folder_is_reported(extracted, tmp_path):
    indexed(extracted, tmp_path / "a")
    shutil.rmtree(extracted)
    with pytest.raises(InputError, match=r"extracted: expected the tiles that were indexed, found nothing\. Put"):
        read(extracted, tmp_path / "a")


@pytest.mark.parametrize(
    ("folder", "message"),
    [
        (None, "dataset.folder: missing"),
        ("none", "found nothing there: none"),
        (__file__, "found a file; for a zip write source: archive"),
        (str(ROOT), r"found no train_labels\.csv and no sample_submission\.csv and no train/ and no test/\. Name"),
    ],
)
def test_wrong_settings_are_refused(folder, message):
    config = yaml.safe_load((ROOT / "config" / "config.yaml").read_text())
    config["dataset"] |= {"source": "folder", "folder": folder}
    with pytest.raises(InputError, match=message):
        check(config)


@pytest.mark.slow
def test_the_workflow_runs_on_a_folder(archive, extracted, tmp_path):
    arguments = ("results/extracted/audit.json", f"dataset={{name: extracted, source: folder, folder: {extracted}}}")
    done = snakemake(tmp_path, *arguments)
    assert done.returncode == 0, done.stderr
    assert read_json(tmp_path / arguments[0])["tiles"] == {"train": 12, "test": 6}
    assert not (tmp_path / "results/extracted/unzip").exists()
    again = snakemake(tmp_path, *arguments, "--dry-run")
    assert "Nothing to be done" in again.stdout + again.stderr
    archive.relabel(archive.train[0], str(1 - int(archive.labels[archive.train[0]])))
    table = extracted / "train_labels.csv"
    table.write_text(archive.tables[table.name])
    os.utime(table, (0, 0))  # older than the results
    assert job_counts(snakemake(tmp_path, *arguments, "--dry-run"))["index"] == 1
