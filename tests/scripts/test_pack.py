"""Packing: every tile that decodes, in the order of the ids, with its label."""

import numpy as np
import pytest

from histo.errors import InputError
from histo.synthetic.tiff import tiff
from histo.tiles.shards import Shard
from pack import pack
from support.archives import sha1
from support.stages import Results


def test_every_tile_that_decodes_is_packed(made, tmp_path):
    first, second, third, *_ = made.train
    altered = made.pixels[third] ^ 1
    made.files |= {f"train/{first}.tif": b"x", f"train/{third}.tif": tiff(altered)}
    made.tables["train_labels.csv"] = made.tables["train_labels.csv"].replace(f"{second},1", f"{second},8")
    results = Results(made.write(tmp_path / "a.zip"), tmp_path / "r").prepare()
    shards = [Shard(path) for path in results.packed("train")]
    assert [name for shard in shards for name in shard.ids] == made.train[1:]
    labels = dict(zip(shards[0].ids, shards[0].labels, strict=True))
    assert labels[second] == -1
    assert labels[made.train[3]] == int(made.labels[made.train[3]])
    for shard in shards:
        for name, image in zip(shard.ids, shard.images, strict=True):
            assert sha1(np.asarray(image)) == (sha1(altered) if name == third else name)
        shard.verify()


def test_tiles_that_change_under_its_hands(made, tmp_path):
    results = Results(made.write(tmp_path / "a.zip"), tmp_path / "r", 1, 1).prepare()
    folder = results.root / "u-train-0"
    (folder / f"{made.train[2]}.tif").write_bytes(b"gone")
    output = tmp_path / "again.h5"
    with pytest.raises(InputError, match=rf"{made.train[2]}\.tif: was a tile when it was validated"):
        pack(
            folder, results.root / "index.parquet", results.validations("train")[0], output,
            split="train", shard=0, code="",
        )  # fmt: skip
    assert not output.exists()


def test_more_shards_than_tiles(made, tmp_path):
    results = Results(made.write(tmp_path / "a.zip"), tmp_path / "r", 15, 8).prepare()
    assert [len(Shard(path)) for path in results.packed("train")] == [1] * 12 + [0] * 3
    assert results.audit()["kept"].all()
    assert len(results.overlaps()) == 0
    results.groups()
    assert sorted(results.folds()["id"]) == made.train
