"""Packing: every tile that can be decoded, in the order of the ids, with its label."""

import numpy as np
import pytest

from histo.errors import InputError
from histo.synthetic.tiff import tiff
from histo.tiles.shards import Shard
from pack import pack
from support.archives import sha1
from support.stages import Results


def test_every_tile_that_can_be_decoded_is_packed(archive, tmp_path):
    first, second, third, *_ = archive.train
    altered = archive.pixels[third] ^ 1
    archive.files |= {f"train/{first}.tif": b"x", f"train/{third}.tif": tiff(altered)}
    archive.relabel(second, "8")
    results = Results(archive.write(tmp_path / "a.zip"), tmp_path / "r").prepare()
    shards = [Shard(path) for path in results.packed("train")]
    assert [name for shard in shards for name in shard.ids] == archive.train[1:]
    labels = dict(zip(shards[0].ids, shards[0].labels, strict=True))
    assert labels[second] == -1
    assert labels[archive.train[3]] == int(archive.labels[archive.train[3]])
    for shard in shards:
        for name, image in zip(shard.ids, shard.images, strict=True):
            assert sha1(np.asarray(image)) == (sha1(altered) if name == third else name)
        shard.verify()


def test_a_file_that_changed_after_validation_is_an_error(archive, tmp_path):
    results = Results(archive.write(tmp_path / "a.zip"), tmp_path / "r", 1, 1).prepare()
    tiles = results.root / "u-train-0.tiles"
    data = bytearray(tiles.read_bytes())
    data[2 * 27935 : 2 * 27935 + 7] = b"changed"  # the start of the third file
    tiles.write_bytes(data)
    inputs = (tiles, results.root / "index.parquet", results.validations("train")[0])
    output = tmp_path / "again.h5"
    message = rf"{archive.train[2]}: expected the tile that was validated, found a changed one \(neither TIFF"
    with pytest.raises(InputError, match=message):
        pack(*inputs, output, split="train", shard=0, code="")
    assert not output.exists()


def test_more_shards_than_tiles(archive, tmp_path):
    results = Results(archive.write(tmp_path / "a.zip"), tmp_path / "r", 15, 8).prepare()
    assert [len(Shard(path)) for path in results.packed("train")] == [1] * 12 + [0] * 3
    assert results.audit()["kept"].all()
    assert len(results.overlaps()) == 0
    results.groups()
    assert sorted(results.folds()["id"]) == archive.train
