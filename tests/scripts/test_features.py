"""The stage `features`: a table with the features of every tile of a shard."""

from pathlib import Path

import numpy as np

from features import measure
from histo import tables
from histo.tiles.colour_texture import NAMES, SCHEMA, features
from histo.tiles.shards import write_shard


def write(path: Path, ids: list[str], images: np.ndarray) -> Path:
    labels = np.zeros(len(ids), np.int8)
    write_shard(path, split="train", number=0, ids=ids, labels=labels, batches=[images], code="test")
    return path


def test_the_table_has_every_tile_of_the_shard_sorted_by_id(random, tmp_path):
    tiles = random.integers(0, 256, (20, 96, 96, 3), dtype=np.uint8)
    ids = [f"{(7 * k) % 20:02d}" for k in range(20)]
    measure(write(tmp_path / "train-00000.h5", ids, tiles), tmp_path / "features.parquet")
    frame = tables.read(tmp_path / "features.parquet", SCHEMA)
    assert frame["id"].tolist() == sorted(ids)
    assert np.array_equal(frame[list(NAMES)].to_numpy(np.float32), features(tiles)[np.argsort(ids)])


def test_an_empty_shard_gives_an_empty_table(tmp_path):
    empty = np.empty((0, 96, 96, 3), np.uint8)
    measure(write(tmp_path / "train-00000.h5", [], empty), tmp_path / "features.parquet")
    assert len(tables.read(tmp_path / "features.parquet", SCHEMA)) == 0
