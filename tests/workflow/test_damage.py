"""Random damage to tiles and archives: a verdict or an error for each, never a crash, never wrong pixels."""

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
from support.stages import Results


def damage(data: bytes, random: np.random.Generator) -> bytes:
    """Cut, flip, overwrite, insert or repeat bytes somewhere; more often near the start, where headers are."""
    spoilt = bytearray(data)
    at = int(random.integers(len(data)) if random.random() < 0.5 else random.integers(min(400, len(data))))
    match random.integers(5):
        case 0:
            del spoilt[at:]
        case 1:
            for _ in range(random.integers(1, 9)):
                spoilt[(at + int(random.integers(64))) % len(data)] ^= int(random.integers(1, 256))
        case 2:
            length = int(random.integers(1, 200))
            spoilt[at : at + length] = random.bytes(length)
        case 3:
            spoilt[at:at] = random.bytes(int(random.integers(1, 50)))
        case 4:
            length = int(random.integers(1, 2000))
            spoilt[at : at + length] = bytes(length)
    return bytes(spoilt)


@pytest.mark.slow
def test_damaged_tiles(random, tmp_path):
    """1,500 tiles in five encodings, each damaged in one place."""
    made = Archive(random, train=1500, test=2)
    encodings = ("raw", "tiff_lzw", "tiff_adobe_deflate", "packbits")
    spoilt = 0
    for k, name in enumerate(made.train):
        if k % 5 == 0:
            good = tiff(made.pixels[name])
        else:
            buffer = io.BytesIO()
            Image.fromarray(made.pixels[name]).save(buffer, "TIFF", compression=encodings[k % 5 - 1])
            good = buffer.getvalue()
        made.files[f"train/{name}.tif"] = damage(good, random)
        spoilt += made.files[f"train/{name}.tif"] != good
    results = Results(made.write(tmp_path / "a.zip", zipfile.ZIP_STORED), tmp_path / "r", 1, 1).prepare()

    frame = tables.read(results.validations("train")[0], tables.VALIDATION).set_index("id")
    assert frame.index.tolist() == made.train
    assert set(frame["fault"]) <= {*FAULTS, ""}
    assert (frame["fault"] != "").sum() > 0.8 * spoilt > 1000
    shard = Shard(results.packed("train")[0])
    accepted = 0
    for name, image in zip(shard.ids, shard.images, strict=True):
        if frame.loc[name, "fault"] == "":
            np.testing.assert_array_equal(image, made.pixels[name])
            accepted += 1
        else:
            assert frame.loc[name, "fault"] == "sha1_differs"
            assert sha1(np.asarray(image)) == frame.loc[name, "pixels_sha1"] != name
    assert accepted == (frame["fault"] == "").sum()


@pytest.mark.slow
def test_damaged_archives(random, tmp_path):
    """500 archives, each damaged in one place: refused in words, or what is accepted is right."""
    made = Archive(random, train=4, test=2)
    whole = made.write(tmp_path / "whole.zip").read_bytes()
    directory = whole.index(b"PK\1\2")
    refused = 0
    for k in range(500):
        # Every other one in the directory, which is small beside the tiles.
        spoilt = damage(whole, random) if k % 2 else whole[:directory] + damage(whole[directory:], random)
        path = tmp_path / "spoilt.zip"
        path.write_bytes(spoilt)
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
                    np.testing.assert_array_equal(image, made.pixels[name], err_msg=f"{split}/{name}")
    assert 300 < refused < 500
