"""Shards: written atomically, read back unchanged, refused when damaged."""

import hashlib
import os
import pickle
import resource
import time

import h5py
import numpy as np
import pytest

from histo.errors import InputError
from histo.geometry import COMPETITION, Geometry
from histo.tiles import shards
from histo.tiles.shards import Shard, open_shards, syncing, write_shard


@pytest.fixture
def images(random):
    return random.integers(0, 256, (10, 96, 96, 3), dtype=np.uint8)


def write(path, images, **changes):
    ids = [f"{k:040x}" for k in range(len(images))]
    labels = np.arange(len(images)) % 2
    settings = {"split": "train", "number": 3, "ids": ids, "labels": labels, "batches": [images[:4], images[4:]]}
    write_shard(path, **(settings | {"code": "abc"} | changes))
    return path


def test_round_trip(tmp_path, images):
    shard = Shard(write(tmp_path / "a.h5", images))
    np.testing.assert_array_equal(shard.images, images)
    assert shard.ids.tolist() == [f"{k:040x}" for k in range(10)]
    assert shard.labels.tolist() == [0, 1] * 5
    assert (shard.split, shard.number, len(shard)) == ("train", 3, 10)
    shard.verify()
    assert not shard.images.flags.writeable


def test_a_pickled_shard_maps_the_file_again(tmp_path, images):
    data = pickle.dumps(Shard(write(tmp_path / "a.h5", images)))
    assert len(data) < 2000
    np.testing.assert_array_equal(pickle.loads(data).images, images)


@pytest.mark.parametrize(
    "view",
    [
        lambda images: np.pad(images.reshape(len(images), -1), ((0, 0), (287, 8)))[:, 287:-8].reshape(images.shape),
        lambda images: np.asfortranarray(images),
        lambda images: images.astype(np.int64),
    ],
    ids=["parts of files", "Fortran order", "another type"],
)
def test_batches_of_any_layout(tmp_path, images, view, monkeypatch):
    monkeypatch.setattr(shards, "WRITTEN", 3)
    batch = view(images)
    np.testing.assert_array_equal(batch, images)
    shard = Shard(write(tmp_path / "a.h5", images, batches=[batch]))
    np.testing.assert_array_equal(shard.images, images)
    shard.verify()


def test_short_writes_are_continued(tmp_path, images, monkeypatch):
    write_all, writev = os.write, os.writev
    monkeypatch.setattr(os, "writev", lambda file, views: writev(file, [b"".join(views)[:30_000]]))
    monkeypatch.setattr(os, "write", lambda file, data: write_all(file, data[:50_000]))
    np.testing.assert_array_equal(Shard(write(tmp_path / "a.h5", images)).images, images)


def test_h5py_reads_a_shard(tmp_path, images):
    with h5py.File(write(tmp_path / "a.h5", images)) as file:
        np.testing.assert_array_equal(file["images"][:], images)
        assert file["images"].chunks is None
        assert file["images"].compression is None
        assert dict(file.attrs)["positives"] == 5
        assert dict(file.attrs)["code_version"] == "abc"


def test_the_geometry_is_recorded(tmp_path, images):
    geometry = Geometry(tile_side=64, centre_side=48, classes=4)
    shard = Shard(write(tmp_path / "a.h5", images[:, :64, :64], batches=[images[:, :64, :64]], geometry=geometry))
    assert shard.geometry == geometry
    np.testing.assert_array_equal(shard.images, images[:, :64, :64])
    assert Shard(write(tmp_path / "b.h5", images, number=4)).geometry == COMPETITION
    with pytest.raises(
        InputError, match=r"b\.h5: expected tiles of Geometry\(tile_side=64.*found Geometry\(tile_side=96"
    ):
        open_shards([tmp_path / "a.h5", tmp_path / "b.h5"], "train")


def test_a_shard_without_recorded_geometry_is_of_the_competition(tmp_path, images):
    path = write(tmp_path / "a.h5", images)
    with h5py.File(path, "r+") as file:
        for name in ("tile_side", "centre_side", "classes"):
            del file.attrs[name]
    assert Shard(path).geometry == COMPETITION


def test_a_shard_without_tiles(tmp_path, images):
    shard = Shard(write(tmp_path / "a.h5", images[:0]))
    assert (len(shard), shard.images.shape) == (0, (0, 96, 96, 3))
    shard.verify()


@pytest.mark.parametrize(
    ("batches", "message"),
    [
        (lambda images: [], "10 ids but 0 tiles"),
        (lambda images: [images, images], "10 ids but 20 tiles"),
        (lambda images: [images[:, :50]], r"expected tiles of shape \(96, 96, 3\), got \(50, 96, 3\)"),
    ],
    ids=["too few", "too many", "wrong shape"],
)
def test_a_failed_write_leaves_no_file(tmp_path, images, batches, message):
    with pytest.raises(ValueError, match=message):
        write(tmp_path / "a.h5", images, batches=batches(images))
    assert list(tmp_path.iterdir()) == []


def test_a_failed_rewrite_leaves_the_old_shard(tmp_path, images):
    path = write(tmp_path / "a.h5", images)
    with pytest.raises(ValueError, match="ids but"):
        write(path, images, batches=[])
    np.testing.assert_array_equal(Shard(path).images, images)


def test_an_error_of_the_background_sync_is_raised():
    """A pipe cannot be synced: the error of the thread is raised by the next call, or at the end."""
    ends = os.pipe()
    try:
        for more in (10**6, 0):
            with pytest.raises(OSError, match="Invalid argument"), syncing(ends[1], every=10) as wrote:
                wrote(10)
                time.sleep(0.3)
                for _ in range(more):
                    wrote(1)
        with pytest.raises(ZeroDivisionError), syncing(ends[1], every=10) as wrote:
            wrote(1 // 0)
        with syncing(ends[1], every=10) as wrote:
            wrote(9)
    finally:
        for end in ends:
            os.close(end)


def test_a_full_disk_leaves_no_file(tmp_path, images):
    """The file size limit of the process stands in for the size of the disk."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)

    def batches():
        yield images[:4]
        resource.setrlimit(resource.RLIMIT_FSIZE, (150_000, limits[1]))
        yield images[4:]

    try:
        with pytest.raises(OSError, match="File too large"):
            write(tmp_path / "a.h5", images, batches=batches())
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert list(tmp_path.iterdir()) == []


def test_ids_that_are_not_ascii_are_damage(tmp_path, images):
    path = write(tmp_path / "a.h5", images)
    path.write_bytes(path.read_bytes().replace(b"0" * 39 + b"7", b"0" * 39 + b"\xff"))
    with pytest.raises(InputError, match="expected a complete HDF5 shard, found UnicodeDecodeError"):
        Shard(path)


def truncated(path):
    path.write_bytes(path.read_bytes()[:-5000])


def not_hdf5(path):
    path.write_bytes(b"x" * 5000)


def empty(path):
    path.write_bytes(b"")


def other_version(path):
    with h5py.File(path, "r+") as file:
        file.attrs["format_version"] = 99


def other_datasets(path):
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


def fewer_hashes(path):
    with h5py.File(path, "r+") as file:
        hashes = file["pixels_sha1"][:-1]
        del file["pixels_sha1"]
        file["pixels_sha1"] = hashes


DAMAGE = [truncated, not_hdf5, empty, other_version, other_datasets, chunked, fewer_ids, fewer_hashes]


@pytest.mark.parametrize("damage", DAMAGE)
def test_damaged_shards_are_refused(tmp_path, images, damage):
    path = write(tmp_path / "a.h5", images)
    damage(path)
    with pytest.raises(InputError, match=rf"{path}: expected .* found .*Delete the file and run again"):
        Shard(path)


def test_verify_detects_altered_pixels(tmp_path, images):
    path = write(tmp_path / "a.h5", images)
    data = bytearray(path.read_bytes())
    data[Shard(path).offset + 12345] ^= 1
    path.write_bytes(data)
    name = f"{12345 // 27648:040x}"
    with pytest.raises(InputError, match=f"expected tiles with the SHA-1s stored beside them, found 1 altered: {name}"):
        Shard(path).verify()


@pytest.mark.parametrize("dataset", ["ids", "labels", "pixels_sha1"])
def test_verify_detects_altered_ids_labels_and_hashes(tmp_path, images, dataset):
    path = write(tmp_path / "a.h5", images)
    Shard(path).verify()
    with h5py.File(path, "r+") as file:
        file[dataset][:2] = file[dataset][:2][::-1]
    with pytest.raises(InputError, match="expected ids, labels and SHA-1s of tiles with SHA-256"):
        Shard(path).verify()


def test_the_checksum_as_documented(tmp_path, images):
    path = write(tmp_path / "a.h5", images)
    sha1s = [hashlib.sha1(image.tobytes()).digest() for image in images]
    with h5py.File(path) as file:
        assert file["pixels_sha1"][:].tobytes() == b"".join(sha1s)
        content = file["ids"][:].tobytes() + file["labels"][:].tobytes() + b"".join(sha1s)
        assert file.attrs["sha256"] == Shard(path).sha256 == hashlib.sha256(content).hexdigest()


def test_known_hashes_are_stored_as_they_are(tmp_path, images):
    """`verify` computes them from the shard: wrong ones show."""
    sha1s = Shard(write(tmp_path / "a.h5", images)).sha1s
    again = write(tmp_path / "b.h5", images, sha1s=sha1s)
    assert again.read_bytes() == (tmp_path / "a.h5").read_bytes()
    wrong = Shard(write(tmp_path / "c.h5", images, sha1s=np.roll(sha1s, 1, axis=0)))
    with pytest.raises(InputError, match="found 10 altered"):
        wrong.verify()
    with pytest.raises(ValueError, match=r"expected 10 SHA-1s of 20 bytes, got \(9, 20\)"):
        write(tmp_path / "d.h5", images, sha1s=sha1s[:9])


def test_a_shard_of_the_first_format_is_refused(tmp_path, images):
    path = write(tmp_path / "a.h5", images)
    with h5py.File(path, "r+") as file:
        file.attrs["format_version"] = 1
        del file["pixels_sha1"]
    with pytest.raises(InputError, match=r"expected format version 2, found version 1\. Delete the file and run again"):
        Shard(path)


def test_open_shards(tmp_path, images):
    a, b = write(tmp_path / "a.h5", images, number=0), write(tmp_path / "b.h5", images, number=1)
    assert {number: shard.path for number, shard in open_shards([b, a], "train").items()} == {0: a, 1: b}
    with pytest.raises(InputError, match="expected a shard of test tiles, found train tiles"):
        open_shards([a], "test")
    with pytest.raises(InputError, match="given twice"):
        open_shards([a, a], "train")
    with pytest.raises(InputError, match="no such shard"):
        open_shards([tmp_path / "c.h5"], "train")


@pytest.mark.parametrize("kind", ["external link", "soft link", "external storage"])
def test_data_that_are_not_in_the_file_are_refused(tmp_path, images, kind):
    """HDF5 would read the other file, the memory map this one."""
    path, other = write(tmp_path / "a.h5", images), write(tmp_path / "b.h5", images[::-1])
    with h5py.File(path, "r+") as file:
        if kind == "soft link":
            file["copy"] = file["images"]
        del file["images"]
        if kind == "external link":
            file["images"] = h5py.ExternalLink(other.name, "/images")
        elif kind == "soft link":
            file["images"] = h5py.SoftLink("/copy")
        else:
            storage = [(str(other), 0, images.nbytes)]
            file.create_dataset("images", images.shape, np.uint8, external=storage)
    with pytest.raises(InputError, match=r"a\.h5: expected all data in the file itself, found a link to another"):
        Shard(path)
