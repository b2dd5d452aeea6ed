"""The stage that measures the stain of the tiles of a shard."""

import numpy as np

from histo import tables
from histo.tiles.shards import Shard, write_shard
from histo.tiles.stain_vectors import SCHEMA, band_sums
from stain_vectors import stain_vectors


def shard(path, images):
    ids = [f"{number:040d}" for number in range(len(images))]
    write_shard(
        path, split="train", number=0, ids=ids, labels=np.zeros(len(images), np.int8), batches=[images], code="test"
    )
    return path


def test_one_row_per_tile_in_the_order_of_the_shard(random, tmp_path):
    images = random.integers(0, 256, (70, 96, 96, 3), dtype=np.uint8)
    stain_vectors(shard(tmp_path / "a.h5", images), tmp_path / "s.parquet")
    frame = tables.read(tmp_path / "s.parquet", SCHEMA)
    assert frame["id"].tolist() == list(Shard(tmp_path / "a.h5").ids)
    np.testing.assert_allclose(np.stack(frame["sums"].tolist()).reshape(70, -1, 3), band_sums(images), atol=1e-6)


def test_an_empty_shard_has_no_rows(tmp_path):
    stain_vectors(shard(tmp_path / "a.h5", np.empty((0, 96, 96, 3), np.uint8)), tmp_path / "s.parquet")
    assert len(tables.read(tmp_path / "s.parquet", SCHEMA)) == 0
