"""Verification of shards: every damaged shard is named."""

import numpy as np
import pytest

from histo.errors import InputError
from histo.tiles.shards import Shard, write_shard
from verify import verify


@pytest.fixture
def shards(random, tmp_path):
    paths = [tmp_path / f"{k}.h5" for k in range(4)]
    for k, path in enumerate(paths):
        images = random.integers(0, 256, (5, 96, 96, 3), dtype=np.uint8)
        ids, labels = [f"{k}{i}" for i in range(5)], np.zeros(5)
        write_shard(path, split="train", number=k, ids=ids, labels=labels, batches=[images], code="")
    return paths


def test_undamaged_shards_pass(shards, caplog):
    with caplog.at_level("INFO"):
        verify(shards)
    assert [record.getMessage() for record in caplog.records] == [f"{path}: 5 tiles, verified" for path in shards]


def test_all_damaged_shards_are_named(shards):
    data = bytearray(shards[1].read_bytes())
    data[Shard(shards[1]).offset + 77] ^= 1
    shards[1].write_bytes(data)
    shards[3].write_bytes(shards[3].read_bytes()[:-1])
    with pytest.raises(InputError) as error:
        verify(shards)
    lines = str(error.value).splitlines()
    assert [line.partition(":")[0] for line in lines] == [str(shards[1]), str(shards[3])]
    assert "SHA-1s stored beside them, found 1 altered: 10, …" in lines[0]
    assert "bytes" in lines[1] or "complete HDF5" in lines[1]
