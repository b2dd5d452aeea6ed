"""Errors of several libraries that say that no memory is left: a message, no advice to delete a file."""

import errno
import mmap

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from histo import tables
from histo.errors import InputError, out_of_memory
from histo.tiles import decoding
from histo.tiles.shards import Shard
from histo.training import checkpoints
from histo.training.resume import ResumeFile
from support.training import make_split

HUGE = 1 << 60  # bytes, more than an address space
LIBRARIES = {
    "Python": lambda: bytes(HUGE),
    "NumPy": lambda: np.empty(HUGE, np.uint8),
    "Arrow": lambda: pa.allocate_buffer(HUGE),
    "torch": lambda: torch.empty(HUGE, dtype=torch.uint8),
    "the kernel": lambda: mmap.mmap(-1, HUGE),
}


@pytest.mark.parametrize("name", LIBRARIES)
def test_libraries_without_memory(name):
    with pytest.raises(Exception) as caught:
        LIBRARIES[name]()
    assert out_of_memory(caught.value)


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), InputError("a.h5: cut short")])
def test_other_errors(error):
    assert not out_of_memory(error)


def test_a_good_file_is_not_called_damaged_without_memory(tmp_path, monkeypatch):
    """Whoever follows the advice to delete it would lose a training."""
    [shard], _ = make_split(tmp_path, "train", (2,))
    path = tmp_path / "weights.pt"
    torch.save({}, path)

    def fail(*_, **__):
        raise OSError(errno.ENOMEM, "Cannot allocate memory")

    def fail_in_arrow(*_, **__):
        pa.allocate_buffer(HUGE)

    monkeypatch.setattr(torch, "load", fail)
    monkeypatch.setattr(h5py, "File", fail)
    monkeypatch.setattr(pq, "read_table", fail_in_arrow)
    for read in (
        lambda: checkpoints.load(path),
        ResumeFile(path, {}).load,
        lambda: Shard(shard),
        lambda: tables.read(path, tables.FOLDS),
    ):
        with pytest.raises((OSError, MemoryError)) as caught:
            read()
        assert out_of_memory(caught.value)


def test_a_tile_that_claims_too_much_memory_is_damaged_and_others_are_not(monkeypatch):
    def fail(*_, **__):
        raise MemoryError

    monkeypatch.setattr(Image, "open", fail)
    assert decoding._decode_with_pillow(b"II*\0", 96)[0].fault == "unreadable"
    monkeypatch.setattr(decoding, "_SPARE", HUGE)
    with pytest.raises(MemoryError):
        decoding._decode_with_pillow(b"II*\0", 96)
