"""Packing: every tile that can be decoded, in the order of the ids, with its label."""

import io
import itertools
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from histo import tables
from histo.errors import InputError
from histo.synthetic.tiff import tiff
from histo.tiles.decoding import Decoded, Decoder
from histo.tiles.shards import Shard
from pack import pack
from support.archives import Archive, sha1
from support.stages import Results


def test_every_tile_that_can_be_decoded_is_packed(archive, tmp_path):
    first, second, third, *_ = archive.train
    altered = archive.pixels[third] ^ 1
    archive.files |= {f"train/{first}.tif": b"x", f"train/{third}.tif": tiff(altered)}
    archive.relabel(second, "8")
    results = Results(archive.write(tmp_path / "a.zip"), tmp_path / "r").prepare()
    shards = [Shard(path) for path in results.packed("train")]
    assert [name for shard in shards for name in shard.ids] == archive.train[1:]
    labels = dict(zip(shards[0].ids, shards[0].labels, strict=True))
    assert labels[second] == -1
    assert labels[archive.train[3]] == int(archive.labels[archive.train[3]])
    for shard in shards:
        for name, image in zip(shard.ids, shard.images, strict=True):
            assert sha1(np.asarray(image)) == (sha1(altered) if name == third else name)
        shard.verify()


def packed_again(results: Results, changed: Path) -> None:
    pack(changed, results.root / "index.parquet", results.validations("train")[0], results.root / "again.h5",
         split="train", shard=0, code="")  # fmt: skip


@pytest.mark.parametrize("place", [0, 286, 287, 20_000, 27_934], ids=["start", "header", "first", "pixel", "last"])
def test_a_file_that_changed_after_validation_is_an_error(archive, tmp_path, place):
    """Any byte: of the header or a pixel, so that the file still decodes."""
    results = Results(archive.write(tmp_path / "a.zip"), tmp_path / "r", 1, 1).prepare()
    tiles = results.root / "u-train-0.tiles"
    data = bytearray(tiles.read_bytes())
    data[2 * 27935 + place] ^= 1  # of the third file
    tiles.write_bytes(data)
    message = rf"tiles: {archive.train[2]}: expected the file that was validated, with CRC \w{{8}}, found CRC \w{{8}}"
    with pytest.raises(InputError, match=message):
        packed_again(results, tiles)
    assert not (results.root / "again.h5").exists()


def test_a_tile_in_a_folder_that_changed_after_validation_is_an_error(archive, tmp_path):
    folder = archive.extract(tmp_path / "extracted")
    results = Results(folder, tmp_path / "r", 1, 1).prepare()
    tile = folder / f"train/{archive.train[4]}.tif"
    data = bytearray(tile.read_bytes())
    data[5000] ^= 1
    tile.write_bytes(data)
    with pytest.raises(InputError, match=rf"{archive.train[4]}: expected the file that was validated.*forcerun index"):
        packed_again(results, folder)


def test_a_validation_table_of_other_tiles_is_refused(archive, tmp_path):
    results = Results(archive.write(tmp_path / "a.zip"), tmp_path / "r", 2, 1).prepare()
    results.validations("train")[1].replace(results.validations("train")[0])
    with pytest.raises(InputError, match=r"v-train-0\.parquet: expected the tiles of .*index\.parquet, found others"):
        packed_again(results, results.root / "u-train-0.tiles")


def test_tiles_of_several_layouts(random, tmp_path):
    """Raw pixels at several offsets, PNG files, faulty files, in blocks with and without each other."""
    archive = Archive(random, train=300, test=10)
    names = archive.train
    for name in names[70:80]:
        buffer = io.BytesIO()
        Image.fromarray(archive.pixels[name]).save(buffer, "PNG")
        archive.files[f"train/{name}.tif"] = buffer.getvalue()
    for name in names[150:190]:
        buffer = io.BytesIO()
        Image.fromarray(archive.pixels[name]).save(buffer, "TIFF")
        archive.files[f"train/{name}.tif"] = buffer.getvalue()
    archive.files |= {f"train/{names[k]}.tif": b"x" for k in (75, 160, *range(192, 256))}
    del archive.files[f"train/{names[3]}.tif"]
    results = Results(archive.write(tmp_path / "a.zip"), tmp_path / "r", 1, 1).prepare()
    shard = Shard(results.packed("train")[0])
    kept = [name for k, name in enumerate(names) if k not in (3, 75, 160, *range(192, 256))]
    assert shard.ids.tolist() == kept
    np.testing.assert_array_equal(shard.images, np.stack([archive.pixels[name] for name in kept]))
    shard.verify()
    found = tables.read(results.validations("train")[0], tables.VALIDATION).set_index("id")["pixels_offset"]
    assert len(set(found[names[:60]]) - {-1}) == 1
    assert set(found[names[70:80]]) == {-1}
    assert found[names[3]] == -1


def encoded(pixels: np.ndarray, kind: str) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind, quality=75)
    return buffer.getvalue()


def jpeg(pixels: np.ndarray) -> bytes:
    return encoded(pixels, "JPEG")


@pytest.mark.parametrize("kind", ["archive", "folder"])
def test_jpeg_tiles(archive, tmp_path, kind):
    """Their pixels are those that Pillow decodes; an id that is the SHA-1 of other pixels is a fault, if checked."""
    archive.files = {
        str(Path(name).with_suffix(ending)): jpeg(archive.pixels[Path(name).stem])
        for name, ending in zip(archive.files, itertools.cycle([".jpg", ".jpeg", ".JPG"]), strict=False)
    }
    source = archive.write(tmp_path / "a.zip") if kind == "archive" else archive.extract(tmp_path / "a")
    results = Results(source, tmp_path / "r", 1, 1).prepare(id_is_sha1=False)
    table = tables.read(results.validations("train")[0], tables.VALIDATION)
    assert table["id"].tolist() == archive.train
    assert set(table["fault"]) == {""}
    shard = Shard(results.packed("train")[0])
    for name, image, digest in zip(shard.ids, shard.images, table["pixels_sha1"], strict=True):
        data = next(data for file, data in archive.files.items() if Path(file).stem == name)
        assert sha1(np.asarray(Image.open(io.BytesIO(data)))) == sha1(np.asarray(image)) == digest
    shard.verify()
    checked = Results(source, tmp_path / "c", 1, 1).prepare(id_is_sha1=True)
    faults = tables.read(checked.validations("train")[0], tables.VALIDATION)["fault"]
    assert set(faults) == {"sha1_differs"}


def test_png_tiles_keep_their_pixels_and_ids(archive, tmp_path):
    """PNG is lossless: the ids are still the SHA-1 of the pixels."""
    archive.files = {
        str(Path(name).with_suffix(".png")): encoded(archive.pixels[Path(name).stem], "PNG") for name in archive.files
    }
    results = Results(archive.write(tmp_path / "a.zip"), tmp_path / "r", 1, 1).prepare(id_is_sha1=True)
    assert set(tables.read(results.validations("train")[0], tables.VALIDATION)["fault"]) == {""}
    shard = Shard(results.packed("train")[0])
    assert shard.ids.tolist() == archive.train
    np.testing.assert_array_equal(shard.images, np.stack([archive.pixels[name] for name in archive.train]))


def test_a_file_that_is_decoded_otherwise_than_by_validate_is_an_error(archive, tmp_path, monkeypatch):
    """As by another version of Pillow."""
    name = archive.train[1]
    archive.files[f"train/{name}.tif"] = jpeg(archive.pixels[name])
    results = Results(archive.write(tmp_path / "a.zip"), tmp_path / "r", 1, 1).prepare(id_is_sha1=False)
    decode = Decoder.decode

    def otherwise(decoder: Decoder, data: bytes) -> Decoded:
        found = decode(decoder, data)
        return replace(found, pixels=found.pixels ^ 1)

    monkeypatch.setattr(Decoder, "decode", otherwise)
    with pytest.raises(InputError, match=rf"{name}: expected pixels with SHA-1 \w{{40}}, found \w{{40}}\. Delete"):
        packed_again(results, results.root / "u-train-0.tiles")


def test_two_runs_write_the_same_bytes(archive, tmp_path):
    results = Results(archive.write(tmp_path / "a.zip"), tmp_path / "r", 1, 1).prepare()
    time.sleep(1.1)  # HDF5 stores times in whole seconds, unless told not to
    again = Results(results.archive, tmp_path / "r2", 1, 1).prepare()
    for split in ("train", "test"):
        first, second = results.packed(split)[0], again.packed(split)[0]
        assert first.read_bytes() == second.read_bytes()


def test_more_shards_than_tiles(archive, tmp_path):
    results = Results(archive.write(tmp_path / "a.zip"), tmp_path / "r", 15, 8).prepare()
    assert [len(Shard(path)) for path in results.packed("train")] == [1] * 12 + [0] * 3
    assert results.audit()["kept"].all()
    assert len(results.overlaps()) == 0
    results.groups()
    assert sorted(results.folds()["id"]) == archive.train
