"""PatchCamelyon's own file format: for each part (`train`, `valid`, `test`) one HDF5 file of tiles and one of labels.

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
import numpy.typing as npt

from histo.errors import InputError
from histo.geometry import SHAPE

LEADERBOARD = {"valid": "public", "test": "private"}  # part of the leaderboard that a part of the test split stands for
GZIP_ERRORS = (EOFError, gzip.BadGzipFile, zlib.error)  # raised by a damaged gzip file
MAX_LABEL_BYTES = 64 << 20  # unpacked; the file of the training part has 264,000
BATCH = 1024  # tiles read at a time, about: 28 MB
MAX_BATCH = 8192


@contextmanager
def open_tiles(path: Path) -> Iterator[h5py.Dataset]:
    """Yield the dataset `x`, uint8 [N, 96, 96, 3]; InputError when the file has no such dataset."""
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        raise _unexpected(path, "an HDF5 file", str(error)) from None
    with file:
        yield _dataset(path, file, "x", SHAPE)


def read_labels(path: Path) -> npt.NDArray[np.int8]:
    """Return the labels of a part, int8 [N], from its gzipped HDF5 file with the dataset `y` [N, 1, 1, 1].

    Raises InputError when the file is damaged, has no such dataset or has labels other than 0 and 1.
    """
    try:
        with gzip.open(path) as packed:
            data = packed.read(MAX_LABEL_BYTES + 1)
    except (*GZIP_ERRORS, OSError) as error:
        raise _unexpected(path, "a gzip file", str(error)) from None
    if len(data) > MAX_LABEL_BYTES:
        raise _unexpected(path, f"at most {MAX_LABEL_BYTES:,} bytes of labels", "more")
    try:
        file = h5py.File(io.BytesIO(data), "r")
    except OSError as error:
        raise _unexpected(path, "a gzipped HDF5 file", str(error)) from None
    with file:
        labels: npt.NDArray[np.uint8] = _dataset(path, file, "y", (1, 1, 1))[:].ravel()
    wrong = np.flatnonzero(~np.isin(labels, (0, 1)))
    if len(wrong):
        raise _unexpected(path, "labels 0 and 1", f"{labels[wrong[0]]} at position {wrong[0]}")
    return labels.astype(np.int8)


def read_slices(tiles: h5py.Dataset, start: int, stop: int) -> Iterator[npt.NDArray[np.uint8]]:
    """Yield the tiles start … stop - 1 in order, uint8 [n, 96, 96, 3], in slices that end at chunk borders of the file.

    No chunk is unpacked twice. A slice has at most 8,192 tiles, 227 MB.
    """
    chunk = tiles.chunks[0] if tiles.chunks else 1
    step = min(-(-BATCH // chunk) * chunk, MAX_BATCH)
    while start < stop:
        end = min(start - start % step + step, stop)
        yield tiles[start:end]
        start = end


def _dataset(path: Path, file: h5py.File, name: str, shape: tuple[int, ...]) -> h5py.Dataset:
    dataset = file.get(name)
    expected = f"a dataset {name!r}, uint8 [N, {', '.join(map(str, shape))}]"
    if not isinstance(dataset, h5py.Dataset):
        raise _unexpected(path, expected, f"only {sorted(file)}" if len(file) else "an empty file")
    if dataset.dtype != np.uint8 or dataset.shape[1:] != shape or not len(dataset):
        raise _unexpected(path, expected, f"{dataset.dtype} {list(dataset.shape)}")
    return dataset


def _unexpected(path: Path, expected: str, found: str) -> InputError:
    return InputError(f"{path}: expected {expected}, found {found}. Delete the file and run again to download it.")
