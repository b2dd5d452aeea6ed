"""Shards: HDF5 files in which training reads tiles at memory speed.

`images` is one contiguous, uncompressed dataset. Any HDF5 tool can read it; this module maps it into memory at its file
offset. A sorted gather from the memory map is about fifty times faster than h5py's fancy indexing, and a memory map,
unlike an h5py handle, can be shared with forked and spawned workers.

`pixels_sha1` has the SHA-1 of each tile, and the attribute `sha256` is the SHA-256 of all ids, labels and these SHA-1s:
it proves every byte that a reader uses. Equal tiles, ids and labels give equal files, bit by bit.
"""

import hashlib
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, fields
from pathlib import Path

import h5py
import numpy as np
import numpy.typing as npt

from histo.errors import InputError, out_of_memory
from histo.files import atomic_write
from histo.geometry import COMPETITION, Geometry

FORMAT_VERSION = 2
SHA1_BYTES = 20
METADATA = 2**16  # bytes of the HDF5 structures of a shard, at most
WRITTEN = 512  # tiles written at a time; the system's limit is 1024
SYNC_BYTES = 8 << 20  # bytes written between two syncs


@contextmanager
def syncing(file: int, every: int = SYNC_BYTES) -> Iterator[Callable[[int], None]]:
    """Sync a file descriptor in a background thread; yield a function to call with the number of bytes just written.

    After each `every` bytes the thread calls fdatasync, so that the disk works while the next bytes are computed and
    the final sync has little left to do. Where the disk is slower than the writer, one sync covers everything written
    since the last. The kernel reports a write error to one sync only, so an error of the thread (OSError: disk full or
    broken) is raised by the next call or at the end.
    """
    due, finished = threading.Event(), threading.Event()
    errors: list[OSError] = []
    unsynced = 0

    def work() -> None:
        while due.wait() and not finished.is_set() and not errors:
            due.clear()
            try:
                os.fdatasync(file)
            except OSError as error:
                errors.append(error)

    def wrote(count: int) -> None:
        nonlocal unsynced
        if errors:
            raise errors[0]
        unsynced += count
        if unsynced >= every:
            unsynced = 0
            due.set()

    thread = threading.Thread(target=work, name="sync", daemon=True)
    thread.start()
    try:
        yield wrote
    finally:
        finished.set()
        due.set()
        thread.join()
    if errors:
        raise errors[0]


def content_sha256(ids: npt.NDArray[np.bytes_], labels: npt.NDArray[np.int8], sha1s: npt.NDArray[np.uint8]) -> str:
    """Return the SHA-256 of a shard's content, hexadecimal; ids: S40 [N]; sha1s: of the tiles, uint8 [N, 20]."""
    digest = hashlib.sha256()
    for values in (ids.astype("S40"), labels, sha1s):
        digest.update(np.ascontiguousarray(values).tobytes())
    return digest.hexdigest()


def tile_sha1s(images: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Return the SHA-1 of each tile, uint8 [N, 20]; images: uint8 [N, side, side, 3], each tile contiguous."""
    digests = b"".join(hashlib.sha1(tile.data, usedforsecurity=False).digest() for tile in images)
    return np.frombuffer(digests, np.uint8).reshape(-1, SHA1_BYTES)


def _write_tiles(file: int, tiles: npt.NDArray[np.uint8]) -> None:
    """Write tiles, each of them contiguous, without a copy of all of them."""
    for start in range(0, len(tiles), WRITTEN):
        views = [tile.data for tile in tiles[start : start + WRITTEN]]
        done = os.writev(file, views)
        if done < len(views) * views[0].nbytes:  # disk full: writing the rest raises the OSError that says so
            rest = memoryview(b"".join(views))[done:]
            while rest:
                rest = rest[os.write(file, rest) :]


def _require_room(file: int, needed: int) -> None:
    """Raise OSError unless a file can grow by `needed` bytes; its size stays.

    HDF5 ends the process with a segmentation fault when it closes a file for which the disk has no room.
    """
    size = os.fstat(file).st_size
    try:
        done = 0
        while done < needed:
            done += os.pwrite(file, bytes(needed - done), size + done)
    finally:
        os.ftruncate(file, size)


def write_shard(
    path: str | Path,
    *,
    split: str,
    number: int,
    ids: npt.ArrayLike,
    labels: npt.ArrayLike,
    batches: Iterable[npt.NDArray[np.uint8]],
    code: str,
    sha1s: npt.NDArray[np.uint8] | None = None,
    geometry: Geometry = COMPETITION,
) -> None:
    """Write a shard atomically, in bounded memory.

    ids: N strings of at most 40 ASCII characters, in the order of the rows; labels: int8 [N], -1 where unknown;
    batches: uint8 arrays [n, side, side, 3] whose lengths add up to N; code: version of the code that writes the shard;
    sha1s: SHA-1 of the tiles, uint8 [N, 20], if the caller has verified the batches against them by other means, None
    to compute them here; geometry: of the tiles. Raises ValueError when the batches or the SHA-1s do not fit the ids.
    """
    names = np.asarray(ids, dtype="S40")
    classes = np.asarray(labels, dtype=np.int8)
    if sha1s is not None and sha1s.shape != (len(names), SHA1_BYTES):
        raise ValueError(f"expected {len(names)} SHA-1s of {SHA1_BYTES} bytes, got {sha1s.shape}")
    count = len(names)
    with atomic_write(path) as temporary:
        with open(temporary, "wb", buffering=0) as raw:
            _require_room(raw.fileno(), METADATA + count * (names.itemsize + classes.itemsize))
        with h5py.File(temporary, "w", libver="v110") as file:
            layout = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
            layout.set_layout(h5py.h5d.CONTIGUOUS)
            layout.set_obj_track_times(False)
            layout.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
            layout.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
            space = h5py.h5s.create_simple((count, *geometry.shape))
            images = h5py.h5d.create(file.id, b"images", h5py.h5t.STD_U8LE, space, layout)
            offset = images.get_offset() if count else 0
            # Times of creation would make files of equal content differ.
            file.create_dataset("ids", data=names, track_times=False)
            file.create_dataset("labels", data=classes, track_times=False)
            file.attrs.update(
                {
                    "format_version": FORMAT_VERSION,
                    "split": split,
                    "shard": number,
                    "tiles": count,
                    "positives": int((classes == 1).sum()),
                    "code_version": code,
                    **asdict(geometry),
                }
            )
        computed: list[npt.NDArray[np.uint8]] = []
        written = 0
        # Write directly at the offset that HDF5 allocated, without a copy through its buffers.
        with open(temporary, "r+b", buffering=0) as raw, syncing(raw.fileno()) as wrote:
            raw.seek(offset)
            for batch in batches:
                block = np.asarray(batch, dtype=np.uint8)
                if block.shape[1:] != geometry.shape:
                    raise ValueError(f"expected tiles of shape {geometry.shape}, got {block.shape[1:]}")
                if len(block) and not block[0].flags.c_contiguous:
                    block = np.ascontiguousarray(block)
                _write_tiles(raw.fileno(), block)
                wrote(block.nbytes)
                if sha1s is None:
                    computed.append(tile_sha1s(block))
                written += len(block)
            _require_room(raw.fileno(), METADATA + count * SHA1_BYTES)
        if written != count:
            raise ValueError(f"{count} ids but {written} tiles")
        if sha1s is None:
            sha1s = np.concatenate([np.empty((0, SHA1_BYTES), np.uint8), *computed])
        with h5py.File(temporary, "r+") as file:
            file.create_dataset("pixels_sha1", data=sha1s, track_times=False)
            file.attrs["sha256"] = content_sha256(names, classes, sha1s)


class Shard:
    """A shard, opened for reading.

    Attributes: path; split ("train" or "test"); number; geometry; ids_ascii: N byte strings; labels: int8 [N]; images:
    uint8 [N, side, side, 3], a read-only memory map; offset: of `images` in the file, bytes; sha1s: of the tiles as
    they were written, uint8 [N, 20]; sha256: `content_sha256` of all that was written.

    Raises InputError when the file is missing, truncated, not a shard or of another format version.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        if not self.path.is_file():
            raise InputError(f"{path}: no such shard. Run the workflow again to create it.")
        try:
            with h5py.File(self.path, "r") as file:
                version = int(file.attrs.get("format_version", -1))
                if version != FORMAT_VERSION:
                    raise self._error(f"format version {FORMAT_VERSION}", f"version {version}")
                links = [file.get(name, getlink=True) for name in ("images", "ids", "labels", "pixels_sha1")]
                if not all(isinstance(link, h5py.HardLink) for link in links) or file["images"].external:
                    # The map would show other bytes than HDF5 reads.
                    raise self._error("all data in the file itself", "a link to another file or name")
                images = file["images"]
                offset, shape, dtype = images.id.get_offset(), images.shape, images.dtype
                # The conversion to str raises an error for bytes that are not ASCII.
                self.ids_ascii: npt.NDArray[np.bytes_] = file["ids"][:].astype(str).astype("S")
                self.labels: npt.NDArray[np.int8] = file["labels"][:]
                self.sha1s: npt.NDArray[np.uint8] = file["pixels_sha1"][:]
                self.split = str(file.attrs["split"])
                self.number = int(file.attrs["shard"])
                self.sha256 = str(file.attrs["sha256"])
                count = int(file.attrs["tiles"])
                recorded = {field.name: file.attrs.get(field.name, field.default) for field in fields(Geometry)}
                self.geometry = Geometry(**{name: int(value) for name, value in recorded.items()})
        except (OSError, KeyError, ValueError, RuntimeError, TypeError) as error:
            if out_of_memory(error):
                raise
            raise self._error("a complete HDF5 shard", f"{type(error).__name__}: {error}") from None
        expected, tile_bytes = self.geometry.shape, self.geometry.tile_bytes
        beside = (len(self), self.labels.shape, self.sha1s.shape)
        if shape != (count, *expected) or dtype != np.uint8 or beside != (count, (count,), (count, SHA1_BYTES)):
            raise self._error(
                f"{count} tiles of shape {expected}, ids, labels and SHA-1s",
                f"images {dtype} {shape}, {len(self)} ids, labels {self.labels.shape}, SHA-1s {self.sha1s.shape}",
            )
        if count and offset is None:
            raise self._error("contiguous, uncompressed images", "chunked or compressed images")
        if count and self.path.stat().st_size < offset + count * tile_bytes:
            raise self._error(f"{offset + count * tile_bytes} bytes", f"{self.path.stat().st_size} bytes")
        self.offset = offset or 0
        self.images: npt.NDArray[np.uint8] = (
            np.memmap(self.path, np.uint8, "r", offset, shape) if count else np.empty((0, *expected), dtype=np.uint8)
        )

    def _error(self, expected: str, found: str) -> InputError:
        return InputError(f"{self.path}: expected {expected}, found {found}. Delete the file and run again.")

    def __len__(self) -> int:
        return len(self.ids_ascii)

    def __reduce__(self) -> tuple[type["Shard"], tuple[Path]]:
        """Pickle the path alone: another process maps the file, where a pickled memory map would copy all tiles."""
        return Shard, (self.path,)

    @property
    def ids(self) -> npt.NDArray[np.str_]:
        """The N ids as str, converted at each access: they take four times the memory of `ids_ascii`."""
        return self.ids_ascii.astype(np.str_)

    def batches(self, tiles: int = 1024) -> Iterator[npt.NDArray[np.uint8]]:
        """Yield the images in order, uint8 [≤ tiles, side, side, 3]."""
        for start in range(0, len(self), tiles):
            yield self.images[start : start + tiles]

    def verify(self) -> None:
        """Read all images and prove every byte of them, of ids and labels; InputError when one has changed.

        The SHA-1s of all tiles are computed anew.
        """
        sha256 = content_sha256(self.ids_ascii, self.labels, self.sha1s)
        if sha256 != self.sha256:
            raise self._error(f"ids, labels and SHA-1s of tiles with SHA-256 {self.sha256}", sha256)
        found = np.concatenate([np.empty((0, SHA1_BYTES), np.uint8), *map(tile_sha1s, self.batches())])
        altered = self.ids_ascii[(found != self.sha1s).any(axis=1)].astype(str)
        if len(altered):
            raise self._error("tiles with the SHA-1s stored beside them", f"{len(altered)} altered: {altered[0]}, …")


def open_shards(paths: Iterable[str | Path], split: str) -> dict[int, Shard]:
    """Open shards of one split and return them by number.

    Raises InputError for a shard of another split, given twice or of another geometry than the first.
    """
    shards: dict[int, Shard] = {}
    for path in paths:
        shard = Shard(path)
        if shard.split != split:
            raise InputError(f"{path}: expected a shard of {split} tiles, found {shard.split} tiles.")
        if shard.number in shards:
            raise InputError(f"{path}: shard {shard.number} is given twice, first as {shards[shard.number].path}.")
        shards[shard.number] = shard
    geometry_of(shards)
    return shards


def geometry_of(shards: dict[int, Shard]) -> Geometry:
    """Return the geometry that all given shards have; that of the competition without shards.

    Raises InputError for a shard of another geometry than the first.
    """
    first = next(iter(shards.values()), None)
    if first is None:
        return COMPETITION
    for shard in shards.values():
        if shard.geometry != first.geometry:
            raise InputError(
                f"{shard.path}: expected tiles of {first.geometry}, as in {first.path}, found {shard.geometry}. Delete "
                "the older file and run again."
            )
    return first.geometry
