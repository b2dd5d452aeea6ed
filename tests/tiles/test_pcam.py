"""PatchCamelyon's files: slices of tiles, labels, and one error for files of another format."""

import h5py
import numpy as np
import pytest

from histo.errors import InputError
from histo.tiles.pcam import open_tiles, read_labels, read_slices
from support.pcam import gzipped


@pytest.mark.parametrize("chunk", [None, 1, 5, 40, 1000, 3000])
def test_slices_are_the_tiles_and_end_at_chunk_borders(tmp_path, random, chunk, monkeypatch):
    monkeypatch.setattr("histo.tiles.pcam.BATCH", 8)
    count = 40
    tiles = random.integers(0, 256, (count, 96, 96, 3), dtype=np.uint8)
    with h5py.File(tmp_path / "x.h5", "w") as file:
        shape = None if chunk is None else (min(chunk, count), 96, 96, 3)
        file.create_dataset("x", data=tiles, chunks=shape)
    with open_tiles(tmp_path / "x.h5") as dataset:
        slices = list(read_slices(dataset, 3, 33))
    np.testing.assert_array_equal(np.concatenate(slices), tiles[3:33])
    if chunk in (None, 1):
        assert [len(part) for part in slices] == [5, 8, 8, 8, 1]
    if chunk == 5:
        assert [len(part) for part in slices] == [7, 10, 10, 3]


def test_labels(tmp_path):
    (tmp_path / "y.h5.gz").write_bytes(gzipped(y=np.array([0, 1, 1], np.uint8).reshape(3, 1, 1, 1)))
    labels = read_labels(tmp_path / "y.h5.gz")
    assert (labels.dtype, labels.tolist()) == (np.int8, [0, 1, 1])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "expected a dataset|expected a gzipped HDF5 file"),
        (b"not gzip", "expected a gzip file"),
        (gzipped(y=np.zeros((9, 1, 1, 1), np.uint8))[:-20], "expected a gzip file, found Compressed file ended"),
        (gzipped(z=np.zeros((9, 1, 1, 1), np.uint8)), r"expected a dataset 'y'.* found only \['z'\]"),
        (gzipped(y=np.zeros((9, 2, 1, 1), np.uint8)), r"found uint8 \[9, 2, 1, 1\]"),
        (gzipped(y=np.zeros((9, 1, 1, 1), np.float32)), "found float32"),
        (gzipped(y=np.full((9, 1, 1, 1), 2, np.uint8)), "expected labels 0 and 1, found 2 at position 0"),
    ],
)
def test_labels_in_another_format_are_refused(tmp_path, content, message):
    (tmp_path / "y.h5.gz").write_bytes(content)
    with pytest.raises(InputError, match=message):
        read_labels(tmp_path / "y.h5.gz")


def test_labels_that_unpack_to_too_many_bytes_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("histo.tiles.pcam.MAX_LABEL_BYTES", 1000)
    (tmp_path / "y.h5.gz").write_bytes(gzipped(y=np.zeros((9, 1, 1, 1), np.uint8)))
    with pytest.raises(InputError, match="at most 1,000 bytes"):
        read_labels(tmp_path / "y.h5.gz")


def test_tiles_in_another_format_are_refused(tmp_path):
    path = tmp_path / "x.h5"
    path.write_bytes(b"no HDF5")
    with pytest.raises(InputError, match="expected an HDF5 file"), open_tiles(path):
        pass
    with h5py.File(path, "w") as file:
        file["x"] = np.zeros((3, 64, 64, 3), np.uint8)
    with pytest.raises(InputError, match=r"found uint8 \[3, 64, 64, 3\]"), open_tiles(path):
        pass
