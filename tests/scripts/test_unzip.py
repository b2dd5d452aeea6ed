"""Unzipping a shard: the exact bytes of its own tiles, or one error that names the damaged entries."""

import zipfile

import pytest

from histo import tables
from histo.errors import InputError
from index import index
from support.stages import unzipped
from unzip import unzip


def test_each_shard_gets_its_own_tiles(archive, tmp_path):
    path = archive.write(tmp_path / "a.zip")
    index(path, tmp_path / "index.parquet", tmp_path / "sample.csv", train_shards=3, test_shards=1)
    found = {}
    for shard in range(3):
        output = tmp_path / f"{shard}.tiles"
        unzip(path, tmp_path / "index.parquet", output, split="train", shard=shard)
        found |= unzipped(output, tmp_path / "index.parquet", "train", shard)
    assert found == {name: archive.files[f"train/{name}.tif"] for name in archive.train}


def test_tiles_without_a_file_take_no_place(archive, tmp_path):
    """Files of any length, in the order of the ids, whatever their order in the archive."""
    first, second, third, *rest = archive.train
    del archive.files[f"train/{second}.tif"]
    files = dict(reversed(archive.files.items())) | {f"train/{first}.tif": b"", f"train/{third}.tif": b"short"}
    archive.files = files
    path = archive.write(tmp_path / "a.zip")
    index(path, tmp_path / "index.parquet", tmp_path / "sample.csv", train_shards=1, test_shards=1)
    unzip(path, tmp_path / "index.parquet", tmp_path / "out.tiles", split="train", shard=0)
    found = unzipped(tmp_path / "out.tiles", tmp_path / "index.parquet", "train", 0)
    assert list(found) == [first, third, *rest]
    assert found == {name: files[f"train/{name}.tif"] for name in found}


def test_damaged_entries_are_named(archive, tmp_path):
    path = archive.write(tmp_path / "a.zip", zipfile.ZIP_STORED)
    data = path.read_bytes()
    position = data.index(archive.files[f"train/{archive.train[0]}.tif"]) + 1000
    path.write_bytes(data[:position] + bytes([data[position] ^ 1]) + data[position + 1 :])
    index(path, tmp_path / "index.parquet", tmp_path / "sample.csv", train_shards=1, test_shards=1)
    with pytest.raises(InputError, match=rf"1 of 12 entries .* train/{archive.train[0]}\.tif: CRC"):
        unzip(path, tmp_path / "index.parquet", tmp_path / "out.tiles", split="train", shard=0)
    assert not list(tmp_path.glob("*out*"))


def test_ids_of_a_changed_index_lead_nowhere(archive, tmp_path):
    """Files of a shard lie one after the other in one file; no id becomes a path."""
    path = archive.write(tmp_path / "a.zip")
    index(path, tmp_path / "index.parquet", tmp_path / "sample.csv", train_shards=1, test_shards=1)
    rows = tables.read(tmp_path / "index.parquet", tables.INDEX)
    rows["id"] = "../../" + rows["id"].str[:20]
    tables.write(rows, tmp_path / "index.parquet", tables.INDEX)
    (tmp_path / "results").mkdir()
    unzip(path, tmp_path / "index.parquet", tmp_path / "results" / "out.tiles", split="train", shard=0)
    assert [file.name for file in (tmp_path / "results").iterdir()] == ["out.tiles"]
    assert {file.name for file in tmp_path.iterdir()} == {"a.zip", "index.parquet", "sample.csv", "results"}
