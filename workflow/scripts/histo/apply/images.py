"""The images that a model is applied to: files of a folder or a zip archive, or tiles of shards, behind one interface.

The id of a file is its path inside the folder or archive, without the ending.
"""

import functools
import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from histo.errors import InputError
from histo.tiles.decoding import Decoder
from histo.tiles.shards import Shard
from histo.tiles.zip_archive import DamagedEntry, read_directory, read_entry
from histo.zip_paths import split_zip_path

ENDINGS = (".tif", ".tiff", ".png", ".jpg", ".jpeg")
BATCH = 64  # tiles that are in memory at a time
LISTED = 5  # unusable files named in one message

Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Images:
    """Tiles of one side.

    ids: of the N tiles; batches: yields their pixels in the order of the ids, uint8 [≤ 1024, side, side, 3], anew at
    each call, and raises InputError at the end if there are files that are not images of three channels of 8 bits, or
    none of this side: all are in its message; resized: ids of files of another size, whose pixels are 0, complete when
    all batches have been read.
    """

    ids: list[str]
    batches: Callable[[], Iterator[Pixels]]
    resized: set[str] = field(default_factory=set)


def open_images(path: str | Path, side: int) -> Images:
    """Open tiles of `side` pixels.

    path: what `image_files` reads, a shard, or a folder of shards. Raises InputError if there are no images, or two of
    one id.
    """
    place, _ = split_zip_path(path)
    if place.is_file() and place.suffix.lower() == ".h5":
        return _of_shards([place], side)
    shards = sorted(place.glob("*.h5")) if place.is_dir() else []
    return _of_shards(shards, side) if shards else _decoded(str(path), image_files(path), side)


def image_files(path: str | Path) -> dict[str, tuple[str, Callable[[], bytes]]]:
    """Return the names of image files, and functions that read them, by id in sorted order.

    path: a folder of TIFF, PNG or JPEG files, searched with its subfolders; a zip archive of such files, or a folder in
    it, as `archive.zip/test`. Raises InputError if there are no images, or two of one id.
    """
    place, inside = split_zip_path(path)
    if place.suffix.lower() == ".zip" and place.is_file():
        return _by_id(str(path), _zip_files(place, inside))
    if place.is_dir():
        return _by_id(str(path), _folder_files(place))
    found = "another file" if place.exists() else "nothing"
    advice = "Name its folder." if place.exists() else "Correct the path."
    raise InputError(f"{path}: expected a folder, a zip archive or shards, found {found}. {advice}")


def _of_shards(paths: list[Path], side: int) -> Images:
    shards = [Shard(path) for path in paths]
    for shard in shards:
        if shard.geometry.tile_side != side:
            raise InputError(
                f"{shard.path}: expected tiles of {side} × {side} pixels, as the model was trained on, found tiles of "
                f"{shard.geometry.tile_side} × {shard.geometry.tile_side}. Choose other tiles or another model."
            )
    ids = [name for shard in shards for name in shard.ids.tolist()]
    if not ids:
        raise InputError(f"{paths[0].parent}: expected tiles, found shards without any. Choose others.")
    return Images(ids, lambda: itertools.chain.from_iterable(shard.batches() for shard in shards))


def _folder_files(folder: Path) -> dict[str, Callable[[], bytes]]:
    """Return functions that read the images of a folder, by name."""
    paths = [path for path in folder.rglob("*") if path.suffix.lower() in ENDINGS and path.is_file()]
    return {path.relative_to(folder).as_posix(): path.read_bytes for path in paths}


def _zip_files(archive: Path, inside: str) -> dict[str, Callable[[], bytes]]:
    """Return functions that read the images of an archive below the folder `inside`, by name."""

    def reader(name: str) -> Callable[[], bytes]:
        def read() -> bytes:
            try:
                with open(archive, "rb") as file:
                    return read_entry(file, entries[name])
            except DamagedEntry as error:
                raise InputError(f"{archive}: {name}: {error}. Get the archive again.") from None

        return read

    entries, start = read_directory(archive), f"{inside}/" if inside else ""
    names = [name for name in entries if name.startswith(start) and name.lower().endswith(ENDINGS)]
    return {name.removeprefix(start): reader(name) for name in names}


def _by_id(path: str, files: dict[str, Callable[[], bytes]]) -> dict[str, tuple[str, Callable[[], bytes]]]:
    """Return the files and their names by id; files: functions that read them, by name."""
    if not files:
        raise InputError(
            f"{path}: expected images ({', '.join(ENDINGS)}) or shards (.h5), found none. Correct the path."
        )
    found: dict[str, tuple[str, Callable[[], bytes]]] = {}
    for name in sorted(files):
        key = name.rpartition(".")[0]
        if key in found or not key.isprintable():
            expected = "one image of each id" if key in found else "a printable name"
            raise InputError(f"{path}: expected {expected}, found {name!r}. Rename or remove one of the images.")
        found[key] = name, functools.partial(_read, files[name], name, path)
    return {key: found[key] for key in sorted(found)}


def _decoded(path: str, files: dict[str, tuple[str, Callable[[], bytes]]], side: int) -> Images:
    """Return the tiles of files, those of `image_files`."""
    ids, resized = list(files), set[str]()

    def batches() -> Iterator[Pixels]:
        decoder, unusable, others = Decoder(side), [], []
        for start in range(0, len(ids), BATCH):
            tiles = []
            for key in ids[start : start + BATCH]:
                name, read = files[key]
                found = decoder.decode(read())
                if found.fault == "wrong_size":
                    others.append(f"{name}: {found.fault}: {found.detail}")
                    resized.add(key)
                    tiles.append(np.zeros((side, side, 3), np.uint8))
                elif found.pixels is None:
                    unusable.append(f"{name}: {found.fault}: {found.detail}")
                else:
                    tiles.append(found.pixels)
            if not unusable:
                yield np.stack(tiles)
        if len(others) == len(ids):
            unusable = others
        if unusable:
            raise InputError(unusable_files(path, unusable, len(ids), f"tiles of {side} × {side} pixels"))

    return Images(ids, batches, resized)


def unusable_files(path: str, unusable: list[str], files: int, expected: str) -> str:
    """Return the message that names unusable files and their faults.

    files: number of all; expected: what they should be, beside of three channels of 8 bits.
    """
    more = [f"… and {len(unusable) - LISTED} more"] if len(unusable) > LISTED else []
    return "\n".join([
        f"{path}: expected {expected} and three channels of 8 bits, as the model was trained on, found {len(unusable)} "
        f"of {files} that are not:", *unusable[:LISTED], *more, "Fix or remove them.",
    ])  # fmt: skip


def _read(read: Callable[[], bytes], name: str, path: str) -> bytes:
    try:
        return read()
    except OSError as error:
        raise InputError(f"{path}: {name} cannot be read ({error.strerror}). Check the file.") from None
