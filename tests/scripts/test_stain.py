"""The stage `stain`: a copy of a shard with normalised tiles."""

import numpy as np

from histo.tiles.shards import Shard, write_shard
from histo.tiles.stain_normalisation import normalise
from stain import stain


def test_the_copy_differs_in_the_pixels_only(random, tmp_path):
    images = random.integers(60, 220, (5, 96, 96, 3), dtype=np.uint8)
    labels, ids = np.array([0, 1, -1, 0, 1], np.int8), np.array([f"tile-{k}" for k in range(5)])
    source, output = tmp_path / "pack.h5", tmp_path / "stain.h5"
    write_shard(source, split="test", number=3, ids=ids, labels=labels, batches=[images], code="pack")
    stain(source, output, code="stain")
    shard = Shard(output)
    assert (shard.split, shard.number, shard.ids.tolist()) == ("test", 3, ids.tolist())
    assert shard.labels.tolist() == labels.tolist()
    assert np.array_equal(shard.images, normalise(images))
    assert not np.array_equal(shard.images, images)
    shard.verify()


def test_an_empty_shard_gives_an_empty_shard(tmp_path):
    source, output = tmp_path / "pack.h5", tmp_path / "stain.h5"
    write_shard(source, split="test", number=0, ids=[], labels=[], batches=[], code="pack")
    stain(source, output, code="stain")
    assert len(Shard(output)) == 0
