"""Batches of tiles: one order, three homes.

`TileLoader` holds chosen rows of shards and yields them batch by batch on the device, as uint8. Where they live meanwhile:

- device: all of them copied once to the device's memory, batches are gathered there;
- cache: in the shards' memory maps, that is in the page cache, which all jobs of a machine share; a thread gathers
  ahead into staging buffers (pinned for a GPU, then copied asynchronously);
- stream: on disk, read ahead past the memory maps (`histo.training.stream`), so that memory stays bounded however large the data
  are.

The order of batches depends on the seed and the epoch alone (`epoch_order`), so all homes give the same bits. The home
is chosen by free memory; the environment variable HISTO_TILES_STORAGE (device, cache or stream) overrides the choice.
"""

import os
import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from histo.errors import InputError
from histo.tiles.geometry import SHAPE, TILE_BYTES
from histo.tiles.shards import Shard
from histo.training.stream import stream

STORAGES = ("device", "cache", "stream")
PREFETCHED = 3  # batches that are ready before they are asked for

Item = TypeVar("Item")


def epoch_order(count: int, batch_size: int, seed: int, epoch: int) -> list[np.ndarray]:
    """Batches of an epoch: arrays of `batch_size` positions in 0 … count - 1, each position at most once.

    What does not fill a batch waits for another epoch; fewer tiles than a batch make one batch of all. Within a batch,
    where the order has no meaning, positions ascend, which makes gathering several times faster.
    """
    # 2^63: another stream of numbers than the augmentation's, which has the same seed and epoch.
    key = np.array([seed, (1 << 63) + epoch], dtype=np.uint64)
    order = np.random.Generator(np.random.Philox(key=key)).permutation(count)
    size = min(batch_size, count)
    return [np.sort(order[start : start + size]) for start in range(0, count - size + 1, size)] if size else []


def file_order(count: int, batch_size: int) -> list[np.ndarray]:
    """All positions in ascending order, in batches of `batch_size`, the last one may be smaller."""
    return [np.arange(start, min(start + batch_size, count)) for start in range(0, count, batch_size)]


def available_memory() -> int:
    """Bytes of main memory that may still be used, page cache included, within the control group's limit if any."""
    with open("/proc/meminfo") as file:
        fields = {line.split(":")[0]: int(line.split()[1]) * 1024 for line in file}
    free = fields["MemAvailable"]
    group = Path("/sys/fs/cgroup")
    try:
        limit, used = (group / "memory.max").read_text().strip(), int((group / "memory.current").read_text())
        statistics = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
    except (OSError, ValueError):
        return free
    return free if limit == "max" else max(0, min(free, int(limit) - used + int(statistics.get("file", 0))))


def choose_storage(tiles: int, device: torch.device) -> str:
    """Name of the home for so many tiles: see the module's text for what there is.

    A GPU's memory when they take at most 60 % of what is free there; else the page cache when they take at most 70 % of
    the available main memory; else the disk. On the CPU a copy of one's own would be no faster than the page cache.
    Raises InputError when HISTO_TILES_STORAGE names no home.
    """
    wish = os.environ.get("HISTO_TILES_STORAGE")
    if wish:
        if wish not in STORAGES:
            raise InputError(f"HISTO_TILES_STORAGE: expected one of {', '.join(STORAGES)}, found {wish!r}.")
        return wish
    need = tiles * TILE_BYTES
    if device.type == "cuda" and need <= 0.6 * torch.cuda.mem_get_info(device)[0]:
        return "device"
    return "cache" if need <= 0.7 * available_memory() else "stream"


def prefetch(items: Iterable[Item], depth: int = PREFETCHED) -> Iterator[Item]:
    """Yield `items`, computed by a thread that runs up to `depth` items ahead; its errors are raised here."""
    ready: queue.Queue[tuple[bool, Any]] = queue.Queue(depth)
    stopped = threading.Event()

    def put(entry: tuple[bool, Any]) -> bool:
        while not stopped.is_set():
            try:
                ready.put(entry, timeout=0.1)
                return True
            except queue.Full:
                continue
        return False

    def work() -> None:
        try:
            for item in items:
                if not put((True, item)):
                    return
            put((False, None))
        except BaseException as error:
            put((False, error))

    thread = threading.Thread(target=work, name="ahead", daemon=True)
    thread.start()
    try:
        while True:
            more, value = ready.get()
            if more:
                yield value
            elif value is None:
                return
            else:
                raise value
    finally:
        stopped.set()
        thread.join()


class TileLoader:
    """Chosen tiles of shards.

    Attributes: labels: int8 [N]; home; device.
    """

    def __init__(
        self, shards: dict[int, Shard], rows: pd.DataFrame, device: torch.device, home: str | None = None
    ) -> None:
        """shards: by number; rows: a frame with id, shard, row, label, whose order is the order of positions; home:
        None chooses. Raises InputError, naming the shard, when one is missing or its ids are not those of `rows`."""
        self.labels = rows["label"].to_numpy(dtype=np.int8)
        self._shard = rows["shard"].to_numpy(dtype=np.int32)
        self._row = rows["row"].to_numpy(dtype=np.int32)
        self._shards = shards
        self._check(rows["id"])
        self.device = device
        self.home = home or choose_storage(len(self), device)
        self._images: Tensor | None = None
        if self.home == "device":
            self._images = torch.empty((len(self), *SHAPE), dtype=torch.uint8, device=device)
            for positions in file_order(len(self), 1024):
                chunk = torch.from_numpy(self.gather(positions))
                self._images[int(positions[0]) : int(positions[-1]) + 1].copy_(chunk)

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def ids(self) -> np.ndarray:
        """N str, made anew each time: training has no use for them."""
        ids = np.empty(len(self), dtype="U40")
        for number in np.unique(self._shard):
            here = self._shard == number
            ids[here] = self._shards[number].ids_ascii[self._row[here]]
        return ids

    def _check(self, ids: pd.Series) -> None:
        for number in np.unique(self._shard):
            here = self._shard == number
            if number not in self._shards:
                raise InputError(
                    f"shard {number}: {here.sum()} tiles of the table lie there, but it is not among the shards given: "
                    f"{', '.join(str(shard.path) for shard in self._shards.values()) or 'none'}."
                )
            shard, row, expected = self._shards[number], self._row[here], ids[here].to_numpy(dtype=str)
            inside = (row >= 0) & (row < len(shard))
            found = np.full(len(row), "no tile", dtype="U40")
            found[inside] = shard.ids_ascii[row[inside]]
            wrong = np.flatnonzero(found != expected)
            if len(wrong):
                at = wrong[0]
                raise InputError(
                    f"{shard.path}: expected tile {expected[at]} in row {row[at]}, found {found[at]}; "
                    f"{len(wrong)} of {len(row)} rows differ. The shard and the table are not of one data set: "
                    "delete both and run again."
                )

    def gather(self, positions: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
        """Tiles at `positions` from the memory maps, uint8 [n, 96, 96, 3], into `out` if given."""
        out = np.empty((len(positions), *SHAPE), dtype=np.uint8) if out is None else out
        shard, row = self._shard[positions], self._row[positions]
        for number in np.unique(shard):
            here = np.flatnonzero(shard == number)
            images = self._shards[number].images
            if here[-1] - here[0] + 1 == len(here):
                np.take(images, row[here], axis=0, out=out[here[0] : here[-1] + 1], mode="clip")
            else:
                out[here] = images[row[here]]
        return out

    def batches(
        self, order: list[np.ndarray], prepare: Callable[[int, int], Any] = lambda index, count: None
    ) -> Iterator[tuple[Tensor, Tensor, Any]]:
        """Yield for each batch of `order` its images, uint8 [n, 96, 96, 3], and labels, float32 [n], on the device, and
        what `prepare(index of the batch, n)` returned, which runs ahead with the reading."""
        copier = torch.cuda.Stream(self.device) if self.device.type == "cuda" else None
        source = self._on_device(order) if self.home == "device" else self._staged(order, copier)
        prepared = (
            (images, labels, event, prepare(index, len(order[index])))
            for index, (images, labels, event) in enumerate(source)
        )
        # A generator of ours, so that leaving the loop early ends the thread before files and buffers go.
        for images, labels, event, extra in prefetch(prepared):
            if copier is not None and event is not None:
                current = torch.cuda.current_stream(self.device)
                current.wait_event(event)
                # Made on the copying stream, used on this one: their memory may not be reused before.
                images.record_stream(current)
                labels.record_stream(current)
            if self._images is not None:
                images = self._images.index_select(0, images)
            yield images, labels, extra

    def _on_device(self, order: list[np.ndarray]) -> Iterator[tuple[Tensor, Tensor, None]]:
        """Positions instead of images: the gathering belongs to the stream that computes."""
        for positions in order:
            labels = torch.from_numpy(self.labels[positions].astype(np.float32))
            yield torch.from_numpy(positions).to(self.device), labels.to(self.device), None

    def _staged(self, order: list[np.ndarray], copier: Any) -> Iterator[tuple[Tensor, Tensor, Any]]:
        read = self._stream(order) if self.home == "stream" else ((positions, None) for positions in order)
        largest = max((len(positions) for positions in order), default=0)
        if copier is not None:
            # One buffer is filled while the others are copied.
            pinned = [torch.empty((largest, *SHAPE), dtype=torch.uint8, pin_memory=True) for _ in range(2)]
            copied: list[Any] = [None, None]
        for index, (positions, images) in enumerate(read):
            labels = torch.from_numpy(self.labels[positions].astype(np.float32))
            if copier is None:
                yield torch.from_numpy(self.gather(positions) if images is None else images), labels, None
                continue
            buffer, event = pinned[index % 2][: len(positions)], copied[index % 2]
            if event is not None:
                event.synchronize()
            if images is None:
                self.gather(positions, buffer.numpy())
            else:
                buffer.numpy()[:] = images
            with torch.cuda.stream(copier):
                on_device = buffer.to(self.device, non_blocking=True), labels.to(self.device)
                copied[index % 2] = torch.cuda.Event()
                copied[index % 2].record(copier)
            yield *on_device, copied[index % 2]

    def _stream(self, order: list[np.ndarray]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        return stream(self._shards, self._shard, self._row, order)

    def statistics(self, most: int = 4096) -> tuple[list[float], list[float]]:
        """Per-channel mean and standard deviation in 0..1 of at most `most` tiles, evenly spaced: exact integer sums,
        so the same everywhere."""
        positions = np.unique(np.linspace(0, len(self) - 1, min(most, len(self))).round().astype(np.int64))
        counts = np.zeros((3, 256), dtype=np.int64)
        order = [positions[start : start + 256] for start in range(0, len(positions), 256)]
        # What is gathered from the maps stays mapped: not where memory is short.
        streamed = self.home == "stream"
        for _, images in self._stream(order) if streamed else ((some, self.gather(some)) for some in order):
            for channel in range(3):
                counts[channel] += np.bincount(images[..., channel].ravel(), minlength=256)
        levels = np.arange(256)
        total = counts.sum(1)
        mean = (counts @ levels) / total
        spread = np.sqrt((counts @ levels**2) / total - mean**2)
        # A channel of one value only (made data) must not divide by zero.
        return (mean / 255).tolist(), (np.maximum(spread, 1) / 255).tolist()
