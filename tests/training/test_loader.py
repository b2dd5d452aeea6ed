"""The loader: the same tiles in the same order from all storage modes, and prefetching."""

import threading
import time

import numpy as np
import pytest
import torch

from histo.errors import InputError
from histo.tiles.shards import open_shards
from histo.training import loader, stream
from histo.training.loader import STORAGES, TileLoader, choose_storage, epoch_order, file_order, prefetch
from support.training import make_split

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def split(tmp_path_factory):
    paths, frame = make_split(tmp_path_factory.mktemp("shards"), "train", (40, 30, 35))
    return open_shards(paths, "train"), frame.drop(index=[3, 50, 51])


def test_order_depends_on_seed_and_epoch_and_has_each_tile_at_most_once():
    order = epoch_order(103, 10, seed=1, epoch=2)
    assert [len(batch) for batch in order] == [10] * 10
    assert len(np.unique(np.concatenate(order))) == 100
    assert all((np.diff(batch) > 0).all() for batch in order)
    again, other_epoch, other_seed = (epoch_order(103, 10, *key) for key in ((1, 2), (1, 3), (2, 2)))
    assert np.array_equal(order, again)
    assert not np.array_equal(order, other_epoch)
    assert not np.array_equal(order, other_seed)


def test_fewer_tiles_than_a_batch_make_one_batch():
    assert [batch.tolist() for batch in epoch_order(3, 8, 0, 0)] == [[0, 1, 2]]
    assert epoch_order(0, 8, 0, 0) == []


@pytest.mark.parametrize("storage", STORAGES)
def test_all_storage_modes_give_the_bits_of_the_shards(split, storage, monkeypatch):
    shards, frame = split
    monkeypatch.setattr(stream, "WINDOW", 25)  # several windows of one batch of 16 each
    tiles = TileLoader(shards, frame, CPU, storage)
    assert tiles.storage == storage
    order = epoch_order(len(tiles), 16, 5, 1)
    got = list(tiles.batches(order, lambda index, count: (index, count)))
    assert len(got) == len(order)
    for index, (positions, (images, labels, extra)) in enumerate(zip(order, got, strict=True)):
        expected = np.stack([shards[s].images[r] for s, r in frame.iloc[positions][["shard", "row"]].to_numpy()])
        assert images.dtype == torch.uint8 and np.array_equal(images.numpy(), expected)
        assert labels.tolist() == frame["label"].iloc[positions].tolist()
        assert extra == (index, 16)


@pytest.mark.parametrize("storage", STORAGES)
def test_resident_tiles_can_be_gathered_by_the_caller(split, storage):
    shards, frame = split
    tiles, order = TileLoader(shards, frame, CPU, storage), epoch_order(len(frame), 16, 5, 1)
    expected = [images for images, _, _ in tiles.batches(order)]
    found = [images for images, _, _ in tiles.batches(order, gathered=False)]
    assert (tiles.resident is not None) == (storage == "device")
    if tiles.resident is not None:
        assert all(np.array_equal(positions, batch) for positions, batch in zip(order, found, strict=True))
        found = [tiles.resident[positions] for positions in found]
    assert all(map(torch.equal, expected, found))


def test_batches_of_different_sizes_and_no_batch(split):
    shards, frame = split
    for storage in STORAGES:
        tiles = TileLoader(shards, frame, CPU, storage)
        assert list(tiles.batches([])) == []
        order = [np.array([4, 9, 20]), np.array([7]), np.array([1, 2])]
        labels = [labels.tolist() for _, labels, _ in tiles.batches(order)]
        assert labels == [frame["label"].iloc[positions].tolist() for positions in order]


def test_order_and_labels_are_copied_to_the_device_once(split, monkeypatch):
    sent, send = [], TileLoader._sent
    monkeypatch.setattr(TileLoader, "_sent", lambda self, values: sent.append(len(values)) or send(self, values))
    tiles = TileLoader(*split, CPU, "device")
    assert len(list(tiles.batches(epoch_order(len(tiles), 16, 5, 1)))) == 6
    assert sent == [96, 96]


def test_unsorted_rows_are_gathered_in_their_order(split):
    shards, frame = split
    mixed = frame.sample(frac=1, random_state=0)
    for storage in STORAGES:
        tiles = TileLoader(shards, mixed, CPU, storage)
        images = torch.cat([images for images, _, _ in tiles.batches(file_order(len(tiles), 50))])
        expected = np.stack([shards[s].images[r] for s, r in mixed[["shard", "row"]].to_numpy()])
        assert np.array_equal(images.numpy(), expected)


def test_tiles_that_are_not_in_their_rows_are_refused_with_the_shard(split):
    shards, frame = split
    swapped = frame.copy()
    swapped.loc[[41, 42], "row"] = swapped.loc[[42, 41], "row"].to_numpy()
    with pytest.raises(
        InputError, match=r"train-00001\.h5: expected tile train-1-001 in row 2, found train-1-002; 2 of"
    ):
        TileLoader(shards, swapped, CPU)
    beyond = frame.copy()
    beyond.loc[0, "row"] = 40
    with pytest.raises(InputError, match=r"train-00000\.h5: expected tile train-0-000 in row 40, found no tile"):
        TileLoader(shards, beyond, CPU)
    with pytest.raises(InputError, match="shard 2: the table expects 35 tiles in it"):
        TileLoader({0: shards[0], 1: shards[1]}, frame, CPU)


def test_ids_are_those_of_the_rows(split):
    shards, frame = split
    mixed = frame.sample(frac=1, random_state=0)
    assert TileLoader(shards, mixed, CPU).ids.tolist() == mixed["id"].tolist()


def test_storage_is_chosen_by_memory_and_can_be_overridden(monkeypatch):
    monkeypatch.delenv("HISTO_TILES_STORAGE", raising=False)
    monkeypatch.setattr(loader, "available_memory", lambda: 1000 * 96 * 96 * 3)
    assert choose_storage(700, CPU) == "cache"
    assert choose_storage(701, CPU) == "stream"
    monkeypatch.setenv("HISTO_TILES_STORAGE", "device")
    assert choose_storage(701, CPU) == "device"
    monkeypatch.setenv("HISTO_TILES_STORAGE", "disk")
    with pytest.raises(InputError, match="HISTO_TILES_STORAGE: expected one of device, cache, stream, found 'disk'"):
        choose_storage(1, CPU)


def test_prefetch_keeps_the_order():
    assert list(prefetch(range(20))) == list(prefetch(iter(range(20)), depth=1)) == list(range(20))
    assert list(prefetch([])) == []


def test_prefetch_raises_errors_after_the_items_before_them():
    def failing():
        yield 1
        raise InputError("broken shard")

    items = prefetch(failing())
    assert next(items) == 1
    with pytest.raises(InputError, match="broken shard"):
        next(items)


def test_prefetch_computes_at_most_depth_items_in_advance():
    computed = []
    items = prefetch((computed.append(number) or number for number in range(100)), depth=3)
    assert computed == []
    for taken in range(5):
        assert next(items) == taken
        deadline = time.monotonic() + 60
        while len(computed) < taken + 4 and time.monotonic() < deadline:
            time.sleep(0.001)
        time.sleep(0.01)
        assert computed == list(range(taken + 4))
    items.close()


def test_leaving_early_stops_the_thread_and_closes_the_source():
    computed, closed = [], []

    def endless():
        try:
            for number in range(10**9):
                computed.append(number)
                yield number
        finally:
            closed.append(threading.current_thread().name)

    items = prefetch(endless())
    assert next(items) == 0
    items.close()
    count = len(computed)
    time.sleep(0.05)
    assert len(computed) == count < 10 and len(closed) == 1
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("prefetch")]


@pytest.mark.parametrize("storage", STORAGES)
def test_statistics_are_those_of_the_pixels(split, storage):
    shards, frame = split
    tiles = TileLoader(shards, frame, CPU, storage)
    mean, std = tiles.statistics()
    pixels = tiles.gather(np.arange(len(tiles))).reshape(-1, 3) / 255
    assert mean == pytest.approx(pixels.mean(0), abs=1e-12)
    assert std == pytest.approx(pixels.std(0), abs=1e-9)
