"""PatchCamelyon's own form: for each of its parts `train`, `valid` and `test` an HDF5 file of tiles and one of labels.

Veeling et al., "Rotation Equivariant CNNs for Digital Pathology", MICCAI 2018; https://github.com/basveeling/pcam.
"""

import gzip
import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py
import numpy as np

from histo.errors import InputError
from histo.tiles.geometry import SIDE

LEADERBOARD = {"valid": "public", "test": "private"}  # what a part of the test split stands for
DAMAGED = (EOFError, gzip.BadGzipFile, zlib.error)
LARGEST_LABELS = 64 << 20  # bytes, unpacked; those of the training part have 264,000
TOGETHER = 1024  # tiles read at once, about: 28 MB
MOST_TOGETHER = 8192


@contextmanager
def open_tiles(path: Path) -> Iterator[h5py.Dataset]:
    """Yield the dataset `x`, uint8 [N, 96, 96, 3]; InputError when the file has none of this form."""
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        raise _other(path, "an HDF5 file", str(error)) from None
    with file:
        yield _dataset(path, file, "x", (SIDE, SIDE, 3))


def read_labels(path: Path) -> np.ndarray:
    """Return the labels of a part, int8 [N], from its gzipped HDF5 file with the dataset `y` [N, 1, 1, 1]."""
    try:
        with gzip.open(path) as packed:
            data = packed.read(LARGEST_LABELS + 1)
    except (*DAMAGED, OSError) as error:
        raise _other(path, "a gzip file", str(error)) from None
    if len(data) > LARGEST_LABELS:
        raise _other(path, f"at most {LARGEST_LABELS:,} bytes of labels", "more")
    try:
        file = h5py.File(io.BytesIO(data), "r")
    except OSError as error:
        raise _other(path, "an HDF5 file in it", str(error)) from None
    with file:
        labels = _dataset(path, file, "y", (1, 1, 1))[:].ravel()
    wrong = np.flatnonzero(~np.isin(labels, (0, 1)))
    if len(wrong):
        raise _other(path, "labels 0 and 1", f"{labels[wrong[0]]} as number {wrong[0]}")
    return labels.astype(np.int8)


def read_slices(tiles: h5py.Dataset, start: int, stop: int) -> Iterator[np.ndarray]:
    """Yield the tiles start … stop - 1 in order, uint8 [n, 96, 96, 3], in slices that end where chunks of the file end.

    So no chunk is unpacked twice. A slice has at most 8,192 tiles, 227 MB.
    """
    chunk = tiles.chunks[0] if tiles.chunks else 1
    step = min(-(-TOGETHER // chunk) * chunk, MOST_TOGETHER)
    while start < stop:
        end = min(start - start % step + step, stop)
        yield tiles[start:end]
        start = end


def _dataset(path: Path, file: h5py.File, name: str, shape: tuple[int, ...]) -> h5py.Dataset:
    found = file.get(name)
    wanted = f"a dataset {name!r}, uint8 [N, {', '.join(map(str, shape))}]"
    if not isinstance(found, h5py.Dataset):
        raise _other(path, wanted, f"only {sorted(file)}" if len(file) else "an empty file")
    if found.dtype != np.uint8 or found.shape[1:] != shape or not len(found):
        raise _other(path, wanted, f"{found.dtype} {list(found.shape)}")
    return found


def _other(path: Path, expected: str, found: str) -> InputError:
    return InputError(f"{path}: expected {expected}, found {found}. Delete the file and run again to fetch it anew.")
