"""One row per tile: verdicts, checksums, measurements, block hashes."""

import hashlib
import io

import numpy as np
import pytest
from PIL import Image

from histo import tables
from histo.synthetic.tiff import tiff
from support.archives import sha1
from support.stages import Results


def rows(made, folder, **options):
    folder.mkdir(exist_ok=True)
    results = Results(made.write(folder / "a.zip"), folder / "results", 1, 1).prepare(**options)
    frame = tables.read(results.validations("train")[0], tables.VALIDATION)
    return frame.set_index("id")


def test_sound_tiles(made, tmp_path):
    frame = rows(made, tmp_path)
    assert frame.index.tolist() == made.train
    assert (frame["fault"] == "").all()
    assert (frame["bytes"] == 27935).all()
    for name in made.train:
        tile, row = made.pixels[name].astype(float), frame.loc[name]
        assert row["md5"] == hashlib.md5(made.files[f"train/{name}.tif"]).hexdigest()
        assert row["pixels_sha1"] == name
        assert row["brightness"] == pytest.approx(tile.mean(), rel=1e-4)
        for channel, letter in enumerate("rgb"):
            assert row[f"mean_{letter}"] == pytest.approx(tile[..., channel].mean(), rel=1e-4)
            assert row[f"std_{letter}"] == pytest.approx(tile[..., channel].std(), rel=1e-4)


def test_each_fault_has_its_verdict(made, tmp_path):
    names = made.train
    image = Image.fromarray(made.pixels[names[0]])

    def saved(picture):
        buffer = io.BytesIO()
        picture.save(buffer, "TIFF")
        return buffer.getvalue()

    altered = made.pixels[names[5]].copy()
    altered[3, 4, 1] ^= 1
    spoilt = {
        names[0]: b"",
        names[1]: b"not an image",
        names[2]: made.files[f"train/{names[2]}.tif"][:9000],
        names[3]: saved(image.resize((95, 96))),
        names[4]: saved(image.convert("L")),
        names[5]: tiff(altered),
        names[6]: tiff(made.pixels[names[6]][..., ::-1].copy()),
    }
    made.files |= {f"train/{name}.tif": content for name, content in spoilt.items()}
    frame = rows(made, tmp_path)
    expected = ["empty_file", "unreadable", "unreadable", "wrong_size", "wrong_mode", "sha1_differs", "sha1_differs"]
    assert frame.loc[names, "fault"].tolist() == expected + [""] * 5
    assert frame.loc[names[5], "detail"] == f"pixels have SHA-1 {sha1(altered)}"
    assert frame.loc[names[:5], "brightness"].isna().all()
    assert np.stack(frame.loc[names[:5], "blocks"]).max() == 0


def test_ids_that_are_no_hashes(made, tmp_path):
    made.files = {name.replace(made.train[0], "tile_1"): content for name, content in made.files.items()}
    made.tables["train_labels.csv"] = made.tables["train_labels.csv"].replace(made.train[0], "tile_1")
    assert rows(made, tmp_path / "1").loc["tile_1", "fault"] == "sha1_differs"
    assert (rows(made, tmp_path / "2", id_is_sha1=False)["fault"] == "").all()


def test_what_the_tables_say_stays_unless_the_tile_is_worse(made, tmp_path):
    first, second, *_ = made.train
    made.tables["train_labels.csv"] = (
        made.tables["train_labels.csv"].replace(f"{first},0", f"{first},7").replace(f"{second},1", f"{second},7")
    )
    made.files[f"train/{second}.tif"] = b""
    frame = rows(made, tmp_path)
    assert frame.loc[[first, second], "fault"].tolist() == ["bad_label", "empty_file"]
