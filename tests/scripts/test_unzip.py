"""Unzipping a shard: the exact bytes of its own tiles, or one error that names the damaged entries."""

import zipfile

import pytest

from histo.errors import InputError
from index import index
from unzip import unzip


def test_each_shard_gets_its_own_tiles(archive, tmp_path):
    path = archive.write(tmp_path / "a.zip")
    index(path, tmp_path / "index.parquet", tmp_path / "sample.csv", train_shards=3, test_shards=1)
    unzipped = {}
    for shard in range(3):
        folder = tmp_path / f"{shard}"
        unzip(path, tmp_path / "index.parquet", folder, split="train", shard=shard)
        unzipped |= {f"train/{tile.name}": tile.read_bytes() for tile in folder.iterdir()}
    assert unzipped == {name: content for name, content in archive.files.items() if name.startswith("train/")}


def test_damaged_entries_are_named(archive, tmp_path):
    path = archive.write(tmp_path / "a.zip", zipfile.ZIP_STORED)
    data = path.read_bytes()
    position = data.index(archive.files[f"train/{archive.train[0]}.tif"]) + 1000
    path.write_bytes(data[:position] + bytes([data[position] ^ 1]) + data[position + 1 :])
    index(path, tmp_path / "index.parquet", tmp_path / "sample.csv", train_shards=1, test_shards=1)
    with pytest.raises(InputError, match=rf"1 of 12 entries .* train/{archive.train[0]}\.tif: CRC"):
        unzip(path, tmp_path / "index.parquet", tmp_path / "out", split="train", shard=0)
