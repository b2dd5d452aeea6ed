"""An extracted archive as the source: the same index and the same tiles as from the zip, and the same distrust."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import yaml

from histo import tables
from histo.config.configuration import check
from histo.errors import InputError
from histo.tiles.source import list_entries
from index import index
from support import ROOT
from unzip import unzip

SHARDS = {"train_shards": 2, "test_shards": 1}


@pytest.fixture
def extracted(made, tmp_path) -> Path:
    """The folder that the made archive extracts to."""
    folder = tmp_path / "extracted"
    with zipfile.ZipFile(made.write(tmp_path / "archive.zip")) as file:
        file.extractall(folder)
    return folder


def indexed(source: Path, to: Path):
    to.mkdir(exist_ok=True)
    index(source, to / "index.parquet", to / "sample.csv", **SHARDS)
    return tables.read(to / "index.parquet", tables.INDEX)


def unzipped(source: Path, to: Path) -> dict[str, bytes]:
    """The tiles of the training shards, after indexing into `to`."""
    for shard in range(2):
        unzip(source, to / "index.parquet", to / "out", split="train", shard=shard)
    return {path.name: path.read_bytes() for path in (to / "out").iterdir()}


def test_a_folder_gives_what_its_archive_gives(made, extracted, tmp_path):
    of_folder, of_zip = indexed(extracted, tmp_path / "a"), indexed(tmp_path / "archive.zip", tmp_path / "b")
    same = ["id", "split", "label", "shard", "entry", "size", "fault", "detail"]
    assert of_folder[same].equals(of_zip[same])
    assert (tmp_path / "a" / "sample.csv").read_bytes() == (tmp_path / "b" / "sample.csv").read_bytes()
    found = unzipped(extracted, tmp_path / "a")
    assert found == {f"{name}.tif": made.files[f"train/{name}.tif"] for name in made.train}


def test_disagreements_of_tables_and_files_are_faults(made, extracted, tmp_path):
    first, second, third, *_ = made.train
    (extracted / f"train/{first}.tif").unlink()
    (extracted / f"train/{second}.tif").rename(extracted / f"train/{'e' * 40}.tif")
    (extracted / f"train/{third}.tif").write_bytes(b"")
    frame = indexed(extracted, tmp_path / "a")
    faults = {row.id: row.fault for row in frame[frame["fault"] != ""].itertuples()}
    assert faults == {first: "missing_file", second: "missing_file", "e" * 40: "unlisted_file"}
    assert frame.set_index("id").loc[third, "size"] == 0
    assert unzipped(extracted, tmp_path / "a")[f"{third}.tif"] == b""


def test_strangers_are_not_looked_at(made, extracted, tmp_path):
    (extracted / "train" / "deeper").mkdir()
    (extracted / "train" / "deeper" / f"{'e' * 40}.tif").write_bytes(b"x")
    (extracted / "notes.csv").symlink_to("/etc/passwd")
    (extracted / "train" / "Thumbs.db").write_bytes(b"x")
    assert set(list_entries(extracted)) == {*made.files, *made.tables}
    assert (indexed(extracted, tmp_path / "a")["fault"] == "").all()


def test_links_inside_the_folder_are_the_files_that_they_lead_to(made, extracted, tmp_path):
    kept = extracted / "objects"
    (extracted / "train").rename(kept)
    (extracted / "train").mkdir()
    for path in kept.iterdir():
        (extracted / "train" / path.name).symlink_to(f"../objects/{path.name}")
    link = tmp_path / "link"
    link.symlink_to(extracted)  # the folder itself may be one
    assert (indexed(link, tmp_path / "a")["fault"] == "").all()
    assert unzipped(link, tmp_path / "a")[f"{made.train[0]}.tif"] == made.files[f"train/{made.train[0]}.tif"]


def replace(path: Path) -> Path:
    path.unlink()
    return path


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda tile: replace(tile).symlink_to("/etc/passwd"), "found a link that leads out of it, to '/etc/passwd'"),
        (lambda tile: replace(tile).symlink_to("none.tif"), "found a link to nothing"),
        (lambda tile: replace(tile).symlink_to(tile.name), "found a link to nothing"),
        (lambda tile: os.mkfifo(replace(tile)), "expected a file, found a pipe or a device"),
        (lambda tile: replace(tile).mkdir(), "expected a file, found a folder"),
        (lambda tile: os.truncate(tile, 1 << 30), "expected at most 16,777,216 bytes, found 1,073,741,824"),
        (lambda tile: tile.rename(tile.parent / ("x" * 41 + ".tif")), "expected an id of 1 to 40 ASCII characters"),
        (lambda tile: tile.rename(tile.parent / "\udcff\n.tif"), r"found '\\udcff\\n'"),
        (lambda tile: (tile.parent / f"{tile.stem.upper()}.tif").write_bytes(b""), "expected one file of each id"),
    ],
    ids=["leads out", "to nothing", "circle", "pipe", "folder", "too large", "long name", "strange name", "two of one"],
)
def test_what_is_no_tile_ends_in_one_error(made, extracted, tmp_path, spoil, message):
    spoil(extracted / f"train/{made.train[0]}.tif")
    with pytest.raises(InputError, match=message):
        indexed(extracted, tmp_path / "a")
    assert not (tmp_path / "a" / "index.parquet").exists()


def test_a_folder_of_tiles_that_leads_out(extracted, tmp_path):
    (extracted / "train").rename(tmp_path / "elsewhere")
    (extracted / "train").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(InputError, match="'train': expected a folder, found a link that leads out of it"):
        indexed(extracted, tmp_path / "a")


def test_no_tiles(extracted, tmp_path):
    shutil.rmtree(extracted / "test")
    with pytest.raises(InputError, match=r"expected files test/ID\.tif, found none"):
        indexed(extracted, tmp_path / "a")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_unreadable(made, extracted, tmp_path):
    (extracted / "train").chmod(0)
    with pytest.raises(InputError, match="train cannot be read"):
        indexed(extracted, tmp_path / "a")
    (extracted / "train").chmod(0o700)
    indexed(extracted, tmp_path / "a")
    (extracted / f"train/{made.train[0]}.tif").chmod(0)
    with pytest.raises(InputError, match=r"cannot be read \(Permission denied\)"):
        unzipped(extracted, tmp_path / "a")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda tile: tile.write_bytes(b"short"), "27,935 bytes expected, 5 there"),
        (lambda tile: tile.write_bytes(bytes(30000)), "27,935 bytes expected, more than 27,935 there"),
        (lambda tile: tile.unlink(), "cannot be read"),
        (lambda tile: replace(tile).symlink_to("/etc/passwd"), "is now a link that leads out of the folder"),
        (lambda tile: os.mkfifo(replace(tile)), "is now no plain file"),
    ],
    ids=["shorter", "longer", "gone", "leads out", "pipe"],
)
def test_a_tile_that_changed_after_it_was_listed(made, extracted, tmp_path, spoil, message):
    indexed(extracted, tmp_path / "a")
    spoil(extracted / f"train/{made.train[0]}.tif")
    with pytest.raises(InputError, match=rf"1 of 6 .* train/{made.train[0]}\.tif: {message}.*forcerun index"):
        unzipped(extracted, tmp_path / "a")


def test_a_source_that_is_gone(made, extracted, tmp_path):
    indexed(extracted, tmp_path / "a")
    shutil.rmtree(extracted)
    with pytest.raises(InputError, match="expected the archive or folder that was indexed, found nothing"):
        unzipped(extracted, tmp_path / "a")


@pytest.mark.parametrize(
    ("folder", "message"),
    [
        (None, "dataset.folder: missing"),
        ("none", "found nothing there: none"),
        (__file__, "found a file; for a zip write source: archive"),
        (str(ROOT), r"found no train_labels\.csv and no sample_submission\.csv"),
    ],
)
def test_settings(folder, message):
    config = yaml.safe_load((ROOT / "config" / "config.yaml").read_text())
    config["dataset"] |= {"source": "folder", "folder": folder}
    with pytest.raises(InputError, match=message):
        check(config)


@pytest.mark.slow
def test_the_rules_run_on_a_folder(extracted, tmp_path):
    command = [sys.executable, "-m", "snakemake", "results/made/audit.json", "--cores", "2"]
    command += [
        "--snakefile",
        ROOT / "Snakefile",
        "--directory",
        tmp_path,
        "--configfile",
        ROOT / "config/config.yaml",
        "--config",
    ]
    command += [f"dataset={{name: made, source: folder, folder: {extracted}}}", f"index={SHARDS}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert '"train": 12' in (tmp_path / "results/made/audit.json").read_text()
    done = subprocess.run([*command, "--dry-run"], capture_output=True, text=True, timeout=300)
    assert "Nothing to be done" in done.stdout + done.stderr
