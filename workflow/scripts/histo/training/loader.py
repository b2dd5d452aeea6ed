"""Batches of tiles in one deterministic order, from one of three storage modes.

`TileLoader` holds selected rows of shards and yields them in batches on the device, as uint8. The storage mode says
where the tiles are kept meanwhile:

- device: all tiles are copied once to the device's memory, batches are gathered there;
- cache: tiles stay in the memory maps of the shards, that is in the page cache, which all jobs of a machine share; a
  thread prefetches batches into staging buffers (pinned for a GPU, then copied asynchronously);
- stream: tiles stay on disk and are read without the memory maps (`histo.training.stream`), so that memory stays
  bounded for data of any size.

The order of batches depends on the seed and the epoch alone (`epoch_order`), so all storage modes give the same bits.
The mode is chosen by free memory; the environment variable HISTO_TILES_STORAGE (device, cache or stream) overrides the
choice.
"""

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar, cast

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from histo.errors import InputError
from histo.geometry import TILE_BYTES
from histo.tiles.shards import Shard, geometry_of
from histo.training.memory import available_memory
from histo.training.stream import stream

STORAGES = ("device", "cache", "stream")
PREFETCH_DEPTH = 3  # batches that are prepared in advance
GATHER_CHUNK = 1024  # tiles that are copied to the device in one call
STATISTICS_BATCH = 256  # tiles that are counted in one call

Item = TypeVar("Item")


def epoch_order(count: int, batch_size: int, seed: int, epoch: int) -> list[np.ndarray]:
    """Batches of an epoch: arrays of `batch_size` positions in 0 … count - 1, each position at most once.

    The incomplete last batch is dropped; fewer tiles than `batch_size` give one batch of all tiles. Positions ascend
    within a batch, where order has no meaning, because that makes gathering several times faster.
    """
    # 2^63 separates these random numbers from those of the augmentation, which has the same seed and epoch.
    key = np.array([seed, (1 << 63) + epoch], dtype=np.uint64)
    order = np.random.Generator(np.random.Philox(key=key)).permutation(count)
    size = min(batch_size, count)
    return [np.sort(order[start : start + size]) for start in range(0, count - size + 1, size)] if size else []


def file_order(count: int, batch_size: int) -> list[np.ndarray]:
    """All positions in ascending order, in batches of `batch_size`; the last batch may be smaller."""
    return [np.arange(start, min(start + batch_size, count)) for start in range(0, count, batch_size)]


def choose_storage(tiles: int, device: torch.device, tile_bytes: int = TILE_BYTES) -> str:
    """Storage mode for this number of tiles (see the module docstring).

    `device` for a GPU if the tiles take at most 60 % of its free memory; else `cache` if they take at most 70 % of the
    available main memory; else `stream`. On the CPU a private copy would be no faster than the page cache. Raises
    InputError if HISTO_TILES_STORAGE names no storage mode.
    """
    override = os.environ.get("HISTO_TILES_STORAGE")
    if override:
        if override not in STORAGES:
            raise InputError(f"HISTO_TILES_STORAGE: expected one of {', '.join(STORAGES)}, found {override!r}.")
        return override
    needed = tiles * tile_bytes
    if device.type == "cuda" and needed <= 0.6 * torch.cuda.mem_get_info(device)[0]:
        return "device"
    return "cache" if needed <= 0.7 * available_memory() else "stream"


def prefetch(items: Iterable[Item], depth: int = PREFETCH_DEPTH) -> Iterator[Item]:
    """Yield `items`, computed in a thread, at most `depth` of them in advance.

    An error of `items` is raised in the consumer. Leaving the loop early stops the thread and closes a generator.
    """
    iterator, end = iter(items), object()
    executor = ThreadPoolExecutor(1, "prefetch")
    try:
        pending = deque(executor.submit(next, iterator, end) for _ in range(depth))
        while (item := pending.popleft().result()) is not end:
            pending.append(executor.submit(next, iterator, end))
            yield cast(Item, item)
    finally:
        executor.shutdown(cancel_futures=True)
        if isinstance(items, Generator):
            items.close()


class TileLoader:
    """Selected tiles of shards.

    Attributes: labels (int8 [N], or float32 [N] where some lie between 0 and 1), geometry, storage (the storage mode),
    device, resident (all tiles on the device, uint8 [N, side, side, 3], in the storage mode `device`, otherwise None).
    """

    def __init__(
        self, shards: dict[int, Shard], rows: pd.DataFrame, device: torch.device, storage: str | None = None
    ) -> None:
        """Check that the shards hold the tiles and, for the storage mode `device`, copy them there.

        shards: by number; rows: a frame with id, shard, row, label, whose order defines the positions; storage: a
        storage mode, None to choose one by free memory. Raises InputError, naming the shard, if a shard is missing or
        its ids differ from those of `rows`.
        """
        self.labels = rows["label"].to_numpy(dtype=np.float32 if rows["label"].dtype.kind == "f" else np.int8)
        self._shard = rows["shard"].to_numpy(dtype=np.int32)
        self._row = rows["row"].to_numpy(dtype=np.int32)
        self._shards, self.geometry = shards, geometry_of(shards)
        self._check(rows["id"])
        self.device = device
        self.storage = storage or choose_storage(len(self), device, self.geometry.tile_bytes)
        self.resident: Tensor | None = None
        if self.storage == "device":
            self.resident = torch.empty((len(self), *self.geometry.shape), dtype=torch.uint8, device=device)
            for positions in file_order(len(self), GATHER_CHUNK):
                chunk = torch.from_numpy(self.gather(positions))
                self.resident[int(positions[0]) : int(positions[-1]) + 1].copy_(chunk)

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def ids(self) -> np.ndarray:
        """Ids of the N tiles, str [N], read on each access because training does not need them."""
        ids = np.empty(len(self), dtype="U40")
        for number in np.unique(self._shard):
            in_shard = self._shard == number
            ids[in_shard] = self._shards[number].ids_ascii[self._row[in_shard]]
        return ids

    def _check(self, ids: pd.Series) -> None:
        """Raise InputError unless every tile lies in its row of its shard."""
        for number in np.unique(self._shard):
            in_shard = self._shard == number
            if number not in self._shards:
                raise InputError(
                    f"shard {number}: the table expects {in_shard.sum()} tiles in it, but it is not among the given "
                    f"shards: {', '.join(str(shard.path) for shard in self._shards.values()) or 'none'}."
                )
            shard, row, expected = self._shards[number], self._row[in_shard], ids[in_shard].to_numpy(dtype=str)
            exists = (row >= 0) & (row < len(shard))
            found = np.full(len(row), "no tile", dtype="U40")
            found[exists] = shard.ids_ascii[row[exists]]
            wrong = np.flatnonzero(found != expected)
            if len(wrong):
                first = wrong[0]
                raise InputError(
                    f"{shard.path}: expected tile {expected[first]} in row {row[first]}, found {found[first]}; "
                    f"{len(wrong)} of {len(row)} rows differ. The shard and the table belong to different data sets: "
                    "delete both and run again."
                )

    def gather(self, positions: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
        """Tiles at `positions` from the memory maps, uint8 [n, side, side, 3], written to `out` if given."""
        out = np.empty((len(positions), *self.geometry.shape), dtype=np.uint8) if out is None else out
        shard, row = self._shard[positions], self._row[positions]
        for number in np.unique(shard):
            in_shard = np.flatnonzero(shard == number)
            images = self._shards[number].images
            if in_shard[-1] - in_shard[0] + 1 == len(in_shard):  # consecutive: no copy in between
                np.take(images, row[in_shard], axis=0, out=out[in_shard[0] : in_shard[-1] + 1], mode="clip")
            else:
                out[in_shard] = images[row[in_shard]]
        return out

    def batches(
        self,
        order: list[np.ndarray],
        prepare: Callable[[int, int], Any] = lambda index, count: None,
        gathered: bool = True,
    ) -> Iterator[tuple[Tensor, Tensor, Any]]:
        """Yield images, labels and prepared data for each batch of `order`.

        Images: uint8 [n, side, side, 3]; labels: float32 [n]; both on the device. Prepared data: the result of
        `prepare(index of the batch, n)`, which is called in the prefetching thread. gathered: False yields, in place of
        images, their positions in `resident`, int64 [n], if the tiles are there.
        """
        copy_stream: torch.cuda.Stream | None = None
        if self.device.type == "cuda":
            copy_stream = torch.cuda.Stream(self.device)  # type: ignore[no-untyped-call]
        source = self._on_device(order) if self.storage == "device" else self._staged(order, copy_stream)
        prepared = (
            (images, labels, copied, prepare(index, len(order[index])))
            for index, (images, labels, copied) in enumerate(source)
        )
        for images, labels, copied, extra in prefetch(prepared):
            if copied is not None:
                compute_stream = torch.cuda.current_stream(self.device)
                compute_stream.wait_event(copied)
                # Allocated on the copy stream and used on this one: their memory must not be reused before.
                images.record_stream(compute_stream)
                labels.record_stream(compute_stream)
            if self.resident is not None and gathered:
                images = self.resident.index_select(0, images)
            yield images, labels, extra

    def _on_device(self, order: list[np.ndarray]) -> Iterator[tuple[Tensor, Tensor, None]]:
        """Yield positions in place of images: the compute stream gathers the images.

        Positions and labels of all batches are copied once.
        """
        joined = np.concatenate(order) if order else np.empty(0, dtype=np.int64)
        positions = self._sent(torch.from_numpy(joined))
        labels = self._sent(torch.from_numpy(self.labels[joined].astype(np.float32)))
        start = 0
        for batch in order:
            part = slice(start, start + len(batch))
            yield positions[part], labels[part], None
            start += len(batch)

    def _sent(self, values: Tensor) -> Tensor:
        """Copy to the device without waiting for it, if that is a GPU."""
        pinned = values.pin_memory() if self.device.type == "cuda" else values
        return pinned.to(self.device, non_blocking=True)

    def _staged(
        self, order: list[np.ndarray], copy_stream: torch.cuda.Stream | None
    ) -> Iterator[tuple[Tensor, Tensor, torch.cuda.Event | None]]:
        """Yield images, labels and, for a GPU, the event after which their asynchronous copy is complete."""
        read = self._stream(order) if self.storage == "stream" else ((positions, None) for positions in order)
        largest = max((len(positions) for positions in order), default=0)
        if copy_stream is not None:
            # Two buffers: one is filled while the other is copied.
            shape = largest, *self.geometry.shape
            pinned = [torch.empty(shape, dtype=torch.uint8, pin_memory=True) for _ in range(2)]
            events: list[torch.cuda.Event | None] = [None, None]
        for index, (positions, images) in enumerate(read):
            labels = torch.from_numpy(self.labels[positions].astype(np.float32))
            if copy_stream is None:
                yield torch.from_numpy(self.gather(positions) if images is None else images), labels, None
                continue
            buffer, copied = pinned[index % 2][: len(positions)], events[index % 2]
            if copied is not None:
                copied.synchronize()
            if images is None:
                self.gather(positions, buffer.numpy())
            else:
                buffer.numpy()[:] = images
            with torch.cuda.stream(copy_stream):
                on_device = buffer.to(self.device, non_blocking=True), self._sent(labels)
                copied = events[index % 2] = torch.cuda.Event()  # type: ignore[no-untyped-call]
                copied.record(copy_stream)
            yield *on_device, copied

    def _stream(self, order: list[np.ndarray]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        return stream(self._shards, self._shard, self._row, order)

    def statistics(self, at_most: int = 4096) -> tuple[list[float], list[float]]:
        """Per-channel mean and standard deviation, in 0..1, of up to `at_most` evenly spaced tiles.

        Sums are exact integers, so the result is the same on every machine.
        """
        positions = np.unique(np.linspace(0, len(self) - 1, min(at_most, len(self))).round().astype(np.int64))
        counts = np.zeros((3, 256), dtype=np.int64)
        order = [positions[start : start + STATISTICS_BATCH] for start in range(0, len(positions), STATISTICS_BATCH)]
        # Pages gathered from the memory maps stay mapped, which `stream` must avoid because memory is short.
        streamed = self.storage == "stream"
        for _, images in self._stream(order) if streamed else ((batch, self.gather(batch)) for batch in order):
            for channel in range(3):
                counts[channel] += np.bincount(images[..., channel].ravel(), minlength=256)
        levels = np.arange(256)
        total = counts.sum(1)
        mean = (counts @ levels) / total
        std = np.sqrt((counts @ levels**2) / total - mean**2)
        # At least one level, because a constant channel (synthetic data) must not cause a division by zero.
        return (mean / 255).tolist(), (np.maximum(std, 1) / 255).tolist()
