"""Validation: one row per tile with fault, checksums, measurements and block hashes."""

import hashlib
import io
import zlib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from histo import tables
from histo.errors import InputError
from histo.synthetic.tiff import tiff
from histo.tiles.decoding import Decoder
from histo.tiles.measurements import ValidationRows
from index import index
from support.archives import Archive, sha1
from support.stages import Results, unzipped
from unzip import unzip
from validate import validate


def validated(archive: Archive, folder: Path, *, id_is_sha1: bool = True) -> pd.DataFrame:
    """Return the validation rows of the training tiles, indexed by id."""
    folder.mkdir(exist_ok=True)
    results = Results(archive.write(folder / "a.zip"), folder / "results", 1, 1).prepare(id_is_sha1=id_is_sha1)
    return tables.read(results.validations("train")[0], tables.VALIDATION).set_index("id")


def test_tiles_without_faults(archive, tmp_path):
    frame = validated(archive, tmp_path)
    assert frame.index.tolist() == archive.train
    assert (frame["fault"] == "").all()
    assert (frame["bytes"] == 27935).all()
    for name in archive.train:
        tile, row = archive.pixels[name].astype(float), frame.loc[name]
        assert row["md5"] == hashlib.md5(archive.files[f"train/{name}.tif"]).hexdigest()
        assert row["pixels_sha1"] == name
        assert row["crc"] == zlib.crc32(archive.files[f"train/{name}.tif"])
        data = archive.files[f"train/{name}.tif"][row["pixels_offset"] :]
        assert data[: 96 * 96 * 3] == archive.pixels[name].tobytes()
        assert row["brightness"] == pytest.approx(tile.mean(), rel=1e-4)
        for channel, letter in enumerate("rgb"):
            assert row[f"mean_{letter}"] == pytest.approx(tile[..., channel].mean(), rel=1e-4)
            assert row[f"std_{letter}"] == pytest.approx(tile[..., channel].std(), rel=1e-4)


def test_each_fault_is_recorded(archive, tmp_path):
    names = archive.train
    image = Image.fromarray(archive.pixels[names[0]])

    def saved(picture: Image.Image) -> bytes:
        buffer = io.BytesIO()
        picture.save(buffer, "TIFF")
        return buffer.getvalue()

    altered = archive.pixels[names[5]].copy()
    altered[3, 4, 1] ^= 1
    damaged = {
        names[0]: b"",
        names[1]: b"not an image",
        names[2]: archive.files[f"train/{names[2]}.tif"][:9000],
        names[3]: saved(image.resize((95, 96))),
        names[4]: saved(image.convert("L")),
        names[5]: tiff(altered),
        names[6]: tiff(archive.pixels[names[6]][..., ::-1].copy()),
    }
    archive.files |= {f"train/{name}.tif": content for name, content in damaged.items()}
    frame = validated(archive, tmp_path)
    expected = ["empty_file", "unreadable", "unreadable", "wrong_size", "wrong_mode", "sha1_differs", "sha1_differs"]
    assert frame.loc[names, "fault"].tolist() == expected + [""] * 5
    assert frame.loc[names[5], "detail"] == f"pixels have SHA-1 {sha1(altered)}"
    assert frame.loc[names[:5], "brightness"].isna().all()
    assert np.stack(frame.loc[names[:5], "blocks"]).max() == 0


def tile_by_tile(results: Results, split: str, shard: int) -> pd.DataFrame:
    """Return the validation table computed without blocks: each file is decoded by itself and has a record."""
    index = results.root / "index.parquet"
    files = unzipped(results.root / f"u-{split}-{shard}.tiles", index, split, shard)
    decoder, rows = Decoder(), ValidationRows()
    for row in tables.read_index_of_shard(index, split, shard).to_dict("records"):
        record = {name: row[name] for name in ("id", "split", "shard", "fault", "detail")}
        record |= {"bytes": 0, "width": 0, "height": 0, "mode": "", "md5": "", "crc": 0}
        record |= {"pixels_offset": -1, "pixels_sha1": ""}
        pixels = None
        if row["entry"]:
            data = files[row["id"]]
            decoded = decoder.decode(data)
            pixels = decoded.pixels
            record |= {name: getattr(decoded, name) for name in ("width", "height", "mode")}
            record |= {"bytes": len(data), "md5": hashlib.md5(data).hexdigest(), "crc": zlib.crc32(data)}
            record["pixels_offset"] = decoded.offset
            if pixels is None:
                record |= {"fault": decoded.fault, "detail": decoded.detail}
            else:
                record["pixels_sha1"] = sha1(pixels)
                if sha1(pixels) != row["id"]:
                    record |= {"fault": "sha1_differs", "detail": f"pixels have SHA-1 {sha1(pixels)}"}
        rows.add(record, pixels)
    path = results.root / "tile-by-tile.parquet"
    tables.write(rows.frame(), path, tables.VALIDATION)
    return tables.read(path, tables.VALIDATION)


def test_blocks_of_files_and_single_files_give_the_same_table(random, tmp_path):
    """Several blocks of 32 files, some of them with a fault, some rows without a file."""
    archive = Archive(random, train=150, test=40)
    image = Image.fromarray(archive.pixels[archive.train[0]])
    for number, name in enumerate(archive.train[40:80:4]):
        buffer = io.BytesIO()
        image.save(buffer, "PNG")
        kinds = [b"", b"not an image", buffer.getvalue(), tiff(archive.pixels[name] ^ 1), bytes(27935)]
        archive.files[f"train/{name}.tif"] = kinds[number % len(kinds)]
    for name in archive.train[60:70:3]:
        archive.files.pop(f"train/{name}.tif")
    archive.relabel(archive.train[100], "7")
    results = Results(archive.write(tmp_path / "a.zip"), tmp_path / "results", 1, 1).prepare()
    for split, path in (("train", results.validations("train")[0]), ("test", results.validations("test")[0])):
        pd.testing.assert_frame_equal(tables.read(path, tables.VALIDATION), tile_by_tile(results, split, 0))
    faults = tables.read(results.validations("train")[0], tables.VALIDATION)["fault"]
    assert set(faults) == {"", "empty_file", "unreadable", "sha1_differs", "missing_file", "bad_label"}


def test_original_tiles_in_blocks_and_one_by_one(real_archive, tmp_path):
    results = Results(real_archive, tmp_path / "results", 8, 8)
    results.root.mkdir()
    table, tiles = results.root / "index.parquet", results.root / "u-train-0.tiles"
    index(real_archive, table, results.root / "sample.csv", train_shards=8, test_shards=8)
    unzip(real_archive, table, tiles, split="train", shard=0)
    validate(tiles, table, tmp_path / "v.parquet", split="train", shard=0, id_is_sha1=True)
    found = tables.read(tmp_path / "v.parquet", tables.VALIDATION)
    assert len(found) > 300
    assert (found["fault"] == "").all()
    pd.testing.assert_frame_equal(found, tile_by_tile(results, "train", 0))


def test_a_file_that_changed_after_it_was_unzipped_is_an_error(archive, tmp_path):
    """For instance by a power failure: the tile file is not flushed to the disk."""
    results = Results(archive.write(tmp_path / "a.zip"), tmp_path / "r", 1, 1).prepare()
    tiles = results.root / "u-train-0.tiles"
    data = bytearray(tiles.read_bytes())
    data[27935 : 3 * 27935] = bytes(2 * 27935)
    tiles.write_bytes(data)
    message = rf"expected the files that were unzipped, found 2 with another CRC: {archive.train[1]}, .*Delete the file"
    with pytest.raises(InputError, match=message):
        validate(tiles, results.root / "index.parquet", tmp_path / "v", split="train", shard=0, id_is_sha1=True)
    assert not (tmp_path / "v").exists()


def test_ids_that_are_not_hashes(archive, tmp_path):
    archive.files = {name.replace(archive.train[0], "tile_1"): content for name, content in archive.files.items()}
    archive.tables["train_labels.csv"] = archive.tables["train_labels.csv"].replace(archive.train[0], "tile_1")
    assert validated(archive, tmp_path / "1").loc["tile_1", "fault"] == "sha1_differs"
    assert (validated(archive, tmp_path / "2", id_is_sha1=False)["fault"] == "").all()


def test_a_fault_of_the_file_replaces_a_fault_of_the_label(archive, tmp_path):
    first, second, *_ = archive.train
    archive.relabel(first, "7")
    archive.relabel(second, "7")
    archive.files[f"train/{second}.tif"] = b""
    frame = validated(archive, tmp_path)
    assert frame.loc[[first, second], "fault"].tolist() == ["bad_label", "empty_file"]
