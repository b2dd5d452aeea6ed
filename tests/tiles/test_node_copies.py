"""Copies of shards on a node: one for all jobs, proven, or an error."""

import logging
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from histo.errors import InputError
from histo.tiles import node_copies
from histo.tiles.node_copies import on_this_node
from histo.tiles.shards import Shard, write_shard


@pytest.fixture
def shard(tmp_path, random):
    path = tmp_path / "shared" / "train-00003.h5"
    images = random.integers(0, 256, (10, 96, 96, 3), dtype=np.uint8)
    ids = [f"{k:040x}" for k in range(10)]
    write_shard(path, split="train", number=3, ids=ids, labels=np.arange(10) % 2, batches=[images], code="abc")
    return path


def test_jobs_that_start_together_copy_a_shard_once(shard, tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("NODE_DISK", str(tmp_path / "disk"))
    with caplog.at_level(logging.INFO), ThreadPoolExecutor(4) as jobs:
        found = list(jobs.map(on_this_node, [[str(shard)]] * 4, ["$NODE_DISK/tiles"] * 4))
    copy = tmp_path / "disk" / "tiles" / f"train-00003-{Shard(shard).sha256}.h5"
    assert found == [[str(copy)]] * 4
    assert copy.read_bytes() == shard.read_bytes()
    assert [record.args[:2] for record in caplog.records] == [(shard, copy)]


def test_a_shard_that_was_packed_again_is_copied_again(shard, tmp_path):
    (first,) = on_this_node([str(shard)], str(tmp_path))
    old = Shard(shard)
    write_shard(shard, split="train", number=3, ids=old.ids, labels=1 - old.labels, batches=[old.images], code="abc")
    (second,) = on_this_node([str(shard)], str(tmp_path))
    assert first != second
    assert Shard(second).labels.tolist() == [1, 0] * 5


def test_a_copy_that_differs_is_refused_and_removed(shard, tmp_path, monkeypatch):
    def damaged(source, target):
        content = bytearray(source.read_bytes())
        content[Shard(source).offset + 5000] ^= 1
        target.write_bytes(content)

    monkeypatch.setattr(node_copies.shutil, "copyfile", damaged)
    with pytest.raises(InputError, match=r"train-00003.h5: expected a copy in .+ with the SHA-256 of the shard"):
        on_this_node([str(shard)], str(tmp_path / "disk"))
    assert [path.suffix for path in (tmp_path / "disk").iterdir()] == [".lock"]


def test_without_a_folder_the_shards_are_read_where_they_are(shard):
    assert on_this_node([str(shard)], "") == [str(shard)]


@pytest.mark.parametrize("folder", ["tiles", "$SURELY_NOT_SET/tiles", "/disk/$SURELY_NOT_SET"])
def test_a_folder_that_is_no_absolute_path_is_refused(shard, folder):
    with pytest.raises(InputError, match="expected an absolute path whose variables are set on the node, found "):
        on_this_node([str(shard)], folder)
    assert not Path(folder).exists()
