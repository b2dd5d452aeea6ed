"""Unzipping shards: the right bytes of the right tiles, or one error that names the damage."""

import zipfile

import pytest

from histo.errors import InputError
from index import index
from unzip import unzip


def test_each_shard_gets_its_own_tiles(made, tmp_path):
    archive = made.write(tmp_path / "a.zip")
    index(archive, tmp_path / "index.parquet", tmp_path / "sample.csv", train_shards=3, test_shards=1)
    seen = {}
    for shard in range(3):
        unzip(archive, tmp_path / "index.parquet", tmp_path / f"{shard}", split="train", shard=shard)
        seen |= {f"train/{path.name}": path.read_bytes() for path in (tmp_path / f"{shard}").iterdir()}
    assert seen == {name: content for name, content in made.files.items() if name.startswith("train/")}


def test_damaged_entries_are_named(made, tmp_path):
    archive = made.write(tmp_path / "a.zip", zipfile.ZIP_STORED)
    data = archive.read_bytes()
    tile = made.files[f"train/{made.train[0]}.tif"]
    place = data.index(tile) + 1000
    archive.write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
    index(archive, tmp_path / "index.parquet", tmp_path / "sample.csv", train_shards=1, test_shards=1)
    with pytest.raises(InputError, match=rf"1 of 12 entries .* train/{made.train[0]}\.tif: CRC"):
        unzip(archive, tmp_path / "index.parquet", tmp_path / "out", split="train", shard=0)
