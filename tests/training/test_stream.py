"""The stream: the bits of the shards in any order, without the page cache where supported, in bounded memory."""

import gc
import os
import threading
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from histo.errors import InputError
from histo.geometry import TILE_BYTES
from histo.tiles.shards import Shard, open_shards
from histo.training import stream as module
from histo.training.stream import SECTOR, Source, aligned, stream
from support.training import make_split


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    paths, frame = make_split(tmp_path_factory.mktemp("shards"), "train", (40, 30, 35))
    return open_shards(paths, "train"), frame["shard"].to_numpy(), frame["row"].to_numpy()


def pixels(data, positions):
    """Expected images at these positions."""
    shards, shard, row = data
    return np.stack([shards[int(shard[p])].images[row[p]] for p in positions])


@pytest.mark.parametrize("side", [32, 64, 96, 224])
def test_tiles_of_aligned_memory_start_at_sectors(side):
    for count in (0, 1, 5):
        tiles = aligned(count, side)
        assert tiles.shape == (count, side, side, 3)
        assert all(tile.ctypes.data % SECTOR == 0 and tile.flags.c_contiguous for tile in tiles)


@pytest.mark.parametrize(("window", "run", "runs"), [(1, 1, 1), (25, 3, 2), (1000, 32, 8)])
def test_any_order_and_any_window_give_the_bits_of_the_shards(data, monkeypatch, window, run, runs):
    for name, value in (("WINDOW", window), ("RUN", run), ("RUNS", runs)):
        monkeypatch.setattr(module, name, value)
    random = np.random.default_rng(0)
    # Random order, file order, one tile twice in a batch, batches of several sizes.
    order = [random.permutation(105)[:17], np.arange(105), np.array([7, 7, 104, 0]), np.array([40])]
    found = list(stream(*data, order))
    assert [positions.tolist() for positions, _ in found] == [positions.tolist() for positions in order]
    for positions, images in found:
        np.testing.assert_array_equal(images, pixels(data, positions))
    assert list(stream(*data, [])) == []


def test_reads_through_the_page_cache_give_the_same_bits(data, monkeypatch):
    monkeypatch.setattr(Source, "_open_direct", lambda self: False)
    positions = np.array([80, 3, 4, 5, 50])
    ((_, images),) = stream(*data, [positions])
    np.testing.assert_array_equal(images, pixels(data, positions))


def test_unaligned_offsets_are_read_too(data):
    """Most file systems refuse them with O_DIRECT, as they refuse tiles on disks with larger sectors."""
    shards, *_ = data
    shard = Shard(shards[0].path)
    assert shard.offset % SECTOR == 0
    shard.offset += 1
    source = Source(shard)
    (tile,) = aligned(1)
    source.read(2, [tile])
    source.close()
    np.testing.assert_array_equal(tile.ravel()[:-1], shard.images[2].ravel()[1:])


def test_memory_is_bounded_by_a_few_windows_for_any_length_of_the_order(data, monkeypatch):
    monkeypatch.setattr(module, "WINDOW", 20)
    random = np.random.default_rng(0)
    order = [random.permutation(105)[:10] for _ in range(200)]
    tracemalloc.start()
    try:
        count = sum(len(images) for _, images in stream(*data, order))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert count == 2000
    assert 2 * 20 * TILE_BYTES < peak < 4 * 20 * TILE_BYTES


def test_a_shard_without_tiles_is_accepted(tmp_path):
    paths, frame = make_split(tmp_path, "train", (0, 4))
    ((_, images),) = stream(
        open_shards(paths, "train"), frame["shard"].to_numpy(), frame["row"].to_numpy(), [np.array([2])]
    )
    np.testing.assert_array_equal(images[0], Shard(paths[1]).images[2])


@pytest.mark.parametrize("direct", [True, False])
def test_a_file_truncated_after_it_was_opened_is_named(tmp_path, monkeypatch, direct):
    if not direct:
        monkeypatch.setattr(Source, "_open_direct", lambda self: False)
    paths, frame = make_split(tmp_path, "train", (20,))
    shards = open_shards(paths, "train")
    os.truncate(paths[0], shards[0].offset + 10 * 96 * 96 * 3 + 5)
    order = [np.arange(0, 10), np.arange(10, 20)]
    with pytest.raises(InputError, match=rf"{paths[0]}: truncated while it was read"):
        list(stream(shards, frame["shard"].to_numpy(), frame["row"].to_numpy(), order))


def open_files():
    """Number of shard files that this process has open."""
    return sum(".h5" in os.path.realpath(entry) for entry in Path("/proc/self/fd").iterdir())


def test_leaving_early_closes_files_and_stops_threads(data):
    gc.collect()  # memory maps of other tests
    before = open_files()
    batches = stream(*data, [np.arange(10), np.arange(10, 20)])
    next(batches)
    assert open_files() == before + 3
    batches.close()
    assert open_files() == before
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("stream")]
