"""Validation: one row per tile with fault, checksums, measurements and block hashes."""

import hashlib
import io
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from histo import tables
from histo.synthetic.tiff import tiff
from support.archives import Archive, sha1
from support.stages import Results


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
