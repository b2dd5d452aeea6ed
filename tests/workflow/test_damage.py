"""Random damage to tiles and archives: a fault or an InputError each time, no other exception, no wrong pixels."""

import io
import zipfile

import numpy as np
import pytest
from PIL import Image

from histo import tables
from histo.errors import InputError
from histo.faults import FAULTS
from histo.synthetic.tiff import tiff
from histo.tiles.shards import Shard
from support.archives import Archive, sha1
from support.damage import damage
from support.stages import Results


@pytest.mark.slow
def test_damaged_tiles(random, tmp_path):
    """1,500 tiles in five encodings, each damaged at one position."""
    archive = Archive(random, train=1500, test=2)
    encodings = ("raw", "tiff_lzw", "tiff_adobe_deflate", "packbits")
    damaged = 0
    for k, name in enumerate(archive.train):
        if k % 5 == 0:
            original = tiff(archive.pixels[name])
        else:
            buffer = io.BytesIO()
            Image.fromarray(archive.pixels[name]).save(buffer, "TIFF", compression=encodings[k % 5 - 1])
            original = buffer.getvalue()
        archive.files[f"train/{name}.tif"] = damage(original, random)
        damaged += archive.files[f"train/{name}.tif"] != original
    results = Results(archive.write(tmp_path / "a.zip", zipfile.ZIP_STORED), tmp_path / "r", 1, 1).prepare()

    frame = tables.read(results.validations("train")[0], tables.VALIDATION).set_index("id")
    assert frame.index.tolist() == archive.train
    assert set(frame["fault"]) <= {*FAULTS, ""}
    assert (frame["fault"] != "").sum() > 0.8 * damaged > 1000
    shard = Shard(results.packed("train")[0])
    accepted = 0
    for name, image in zip(shard.ids, shard.images, strict=True):
        if frame.loc[name, "fault"] == "":
            np.testing.assert_array_equal(image, archive.pixels[name])
            accepted += 1
        else:
            assert frame.loc[name, "fault"] == "sha1_differs"
            assert sha1(np.asarray(image)) == frame.loc[name, "pixels_sha1"] != name
    assert accepted == (frame["fault"] == "").sum()


@pytest.mark.slow
def test_damaged_archives(random, tmp_path):
    """500 archives, each damaged at one position: an InputError that names the archive, or correct tiles."""
    archive = Archive(random, train=4, test=2)
    original = archive.write(tmp_path / "original.zip").read_bytes()
    directory = original.index(b"PK\1\2")
    refused = 0
    for k in range(500):
        # Damage the directory every other time: it is small compared with the tiles.
        damaged = damage(original, random) if k % 2 else original[:directory] + damage(original[directory:], random)
        path = tmp_path / "damaged.zip"
        path.write_bytes(damaged)
        results = Results(path, tmp_path / f"r{k}", 1, 1)
        try:
            results.prepare()
        except InputError as error:
            assert str(path) in str(error)
            refused += 1
            continue
        for split, validation, packed in zip(
            ("train", "test"), results.validations(), [*results.packed("train"), *results.packed("test")], strict=True
        ):
            frame = tables.read(validation, tables.VALIDATION).set_index("id")
            shard = Shard(packed)
            for name, image in zip(shard.ids, shard.images, strict=True):
                if frame.loc[name, "fault"] == "":
                    np.testing.assert_array_equal(image, archive.pixels[name], err_msg=f"{split}/{name}")
    assert 300 < refused < 500
