"""The stream: the shards' bits in any order, past the page cache where that can be, in bounded memory."""

import gc
import os
import threading
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from histo.errors import InputError
from histo.tiles.geometry import TILE_BYTES
from histo.tiles.shards import Shard, open_shards
from histo.training import stream as module
from histo.training.stream import SECTOR, Source, aligned, stream
from support.training import make_split


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    paths, frame = make_split(tmp_path_factory.mktemp("shards"), "train", (40, 30, 35))
    return open_shards(paths, "train"), frame["shard"].to_numpy(), frame["row"].to_numpy()


def pixels(made, positions):
    shards, shard, row = made
    return np.stack([shards[int(shard[p])].images[row[p]] for p in positions])


def test_tiles_of_aligned_memory_begin_at_sectors():
    for count in (0, 1, 5):
        tiles = aligned(count)
        assert tiles.shape == (count, 96, 96, 3)
        assert all(tile.ctypes.data % SECTOR == 0 and tile.flags.c_contiguous for tile in tiles)


@pytest.mark.parametrize(("window", "run", "runs"), [(1, 1, 1), (25, 3, 2), (1000, 32, 8)])
def test_any_order_and_any_window_give_the_bits_of_the_shards(made, monkeypatch, window, run, runs):
    for name, value in (("WINDOW", window), ("RUN", run), ("RUNS", runs)):
        monkeypatch.setattr(module, name, value)
    random = np.random.default_rng(0)
    # Mixed, in the order of the files, one tile twice in a batch, batches of several sizes.
    order = [random.permutation(105)[:17], np.arange(105), np.array([7, 7, 104, 0]), np.array([40])]
    found = list(stream(*made, order))
    assert [positions.tolist() for positions, _ in found] == [positions.tolist() for positions in order]
    for positions, images in found:
        np.testing.assert_array_equal(images, pixels(made, positions))
    assert list(stream(*made, [])) == []


def test_through_the_page_cache_where_the_file_cannot_be_read_past_it(made, monkeypatch):
    monkeypatch.setattr(Source, "_open_direct", lambda self: False)
    positions = np.array([80, 3, 4, 5, 50])
    ((_, images),) = stream(*made, [positions])
    np.testing.assert_array_equal(images, pixels(made, positions))


def test_offsets_that_are_no_sectors_are_read_all_the_same(made):
    """Most file systems refuse them past the page cache, as they refuse tiles on disks of larger sectors."""
    shards, *_ = made
    shard = Shard(shards[0].path)
    assert shard.offset % SECTOR == 0
    shard.offset += 1
    source = Source(shard)
    (tile,) = aligned(1)
    source.read(2, [tile])
    source.close()
    np.testing.assert_array_equal(tile.ravel()[:-1], shard.images[2].ravel()[1:])


def test_memory_is_that_of_a_few_windows_however_long_the_order(made, monkeypatch):
    monkeypatch.setattr(module, "WINDOW", 20)
    random = np.random.default_rng(0)
    order = [random.permutation(105)[:10] for _ in range(200)]
    tracemalloc.start()
    try:
        count = sum(len(images) for _, images in stream(*made, order))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert count == 2000
    assert 2 * 20 * TILE_BYTES < peak < 4 * 20 * TILE_BYTES


def test_a_shard_without_tiles_is_no_obstacle(tmp_path):
    paths, frame = make_split(tmp_path, "train", (0, 4))
    ((_, images),) = stream(
        open_shards(paths, "train"), frame["shard"].to_numpy(), frame["row"].to_numpy(), [np.array([2])]
    )
    np.testing.assert_array_equal(images[0], Shard(paths[1]).images[2])


@pytest.mark.parametrize("direct", [True, False])
def test_a_file_cut_short_under_its_hands_is_named(tmp_path, monkeypatch, direct):
    if not direct:
        monkeypatch.setattr(Source, "_open_direct", lambda self: False)
    paths, frame = make_split(tmp_path, "train", (20,))
    shards = open_shards(paths, "train")
    os.truncate(paths[0], shards[0].offset + 10 * 96 * 96 * 3 + 5)
    order = [np.arange(0, 10), np.arange(10, 20)]
    with pytest.raises(InputError, match=rf"{paths[0]}: cut short while it was read"):
        list(stream(shards, frame["shard"].to_numpy(), frame["row"].to_numpy(), order))


def open_files():
    """How many files of shards this process has open."""
    return sum(".h5" in os.path.realpath(entry) for entry in Path("/proc/self/fd").iterdir())


def test_leaving_early_closes_files_and_ends_threads(made):
    gc.collect()  # maps that other tests left
    before = open_files()
    batches = stream(*made, [np.arange(10), np.arange(10, 20)])
    next(batches)
    assert open_files() == before + 3
    batches.close()
    assert open_files() == before
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("stream")]
