"""Shards: written whole, read as they were, refused when they are not what they say."""

import h5py
import numpy as np
import pytest

from histo.errors import InputError
from histo.shards import Shard, open_shards, write_shard


@pytest.fixture
def images(random):
    return random.integers(0, 256, (10, 96, 96, 3), dtype=np.uint8)


def write(path, images, **changes):
    ids = [f"{k:040x}" for k in range(len(images))]
    labels = np.arange(len(images)) % 2
    settings = {"split": "train", "number": 3, "ids": ids, "labels": labels, "batches": [images[:4], images[4:]]}
    write_shard(path, **(settings | {"code": "abc"} | changes))
    return path


def test_what_is_written_is_read(tmp_path, images):
    shard = Shard(write(tmp_path / "a.h5", images))
    np.testing.assert_array_equal(shard.images, images)
    assert shard.ids.tolist() == [f"{k:040x}" for k in range(10)]
    assert shard.labels.tolist() == [0, 1] * 5
    assert (shard.split, shard.number, len(shard)) == ("train", 3, 10)
    shard.verify()
    assert not shard.images.flags.writeable


def test_any_hdf5_tool_reads_it(tmp_path, images):
    with h5py.File(write(tmp_path / "a.h5", images)) as file:
        np.testing.assert_array_equal(file["images"][:], images)
        assert file["images"].chunks is None
        assert file["images"].compression is None
        assert dict(file.attrs)["positives"] == 5
        assert dict(file.attrs)["code_version"] == "abc"


def test_a_shard_without_tiles(tmp_path, images):
    shard = Shard(write(tmp_path / "a.h5", images[:0]))
    assert (len(shard), shard.images.shape) == (0, (0, 96, 96, 3))
    shard.verify()


@pytest.mark.parametrize("batches", [[], ["more"], ["shape"]])
def test_nothing_is_left_of_a_shard_that_fails(tmp_path, images, batches):
    given = {"more": [images, images], "shape": [images[:, :50]]}[batches[0]] if batches else []
    with pytest.raises(ValueError, match=r"ids but|expected tiles"):
        write(tmp_path / "a.h5", images, batches=given)
    assert list(tmp_path.iterdir()) == []


def test_a_failing_rewrite_leaves_the_old_one(tmp_path, images):
    path = write(tmp_path / "a.h5", images)
    with pytest.raises(ValueError, match="ids but"):
        write(path, images, batches=[])
    np.testing.assert_array_equal(Shard(path).images, images)


def cut(path):
    path.write_bytes(path.read_bytes()[:-5000])


def no_hdf5(path):
    path.write_bytes(b"x" * 5000)


def empty(path):
    path.write_bytes(b"")


def version(path):
    with h5py.File(path, "r+") as file:
        file.attrs["format_version"] = 99


def other(path):
    with h5py.File(path, "w") as file:
        file["x"] = np.zeros(3)


def chunked(path):
    with h5py.File(path, "r+") as file:
        images = file["images"][:]
        del file["images"]
        file.create_dataset("images", data=images, chunks=(1, 96, 96, 3))


def fewer_ids(path):
    with h5py.File(path, "r+") as file:
        ids = file["ids"][:-1]
        del file["ids"]
        file["ids"] = ids


@pytest.mark.parametrize("damage", [cut, no_hdf5, empty, version, other, chunked, fewer_ids])
def test_damaged_shards_end_in_one_error(tmp_path, images, damage):
    path = write(tmp_path / "a.h5", images)
    damage(path)
    with pytest.raises(InputError, match=rf"{path}: expected .* found .*Delete the file and run again"):
        Shard(path)


def test_altered_pixels_are_found_on_request(tmp_path, images):
    path = write(tmp_path / "a.h5", images)
    data = bytearray(path.read_bytes())
    data[Shard(path).offset + 12345] ^= 1
    path.write_bytes(data)
    with pytest.raises(InputError, match="expected images with SHA-256"):
        Shard(path).verify()


def test_open_shards(tmp_path, images):
    a, b = write(tmp_path / "a.h5", images, number=0), write(tmp_path / "b.h5", images, number=1)
    assert {number: shard.path for number, shard in open_shards([b, a], "train").items()} == {0: a, 1: b}
    with pytest.raises(InputError, match="expected a shard of test tiles, found train tiles"):
        open_shards([a], "test")
    with pytest.raises(InputError, match="given twice"):
        open_shards([a, a], "train")
    with pytest.raises(InputError, match="no such shard"):
        open_shards([tmp_path / "c.h5"], "train")
