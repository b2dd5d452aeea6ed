"""One row per tile: verdicts, checksums, measurements, block hashes."""

import hashlib
import io

import numpy as np
import pytest
from PIL import Image

from conftest import sha1
from histo import tables
from histo.measurements import FLAT, block_hashes, measure
from histo.tiff import tiff
from stages import Results


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


def test_block_hashes_are_equal_exactly_where_blocks_are(random):
    big = random.integers(0, 256, (128, 160, 3), dtype=np.uint8)
    a, b = block_hashes(np.stack([big[16:112, 32:128], big[32:128, 64:160]])).reshape(2, 6, 6)
    np.testing.assert_array_equal(a[1:, 2:], b[:-1, :-2])
    assert len(np.unique(np.concatenate([a.ravel(), b.ravel()]))) == 72 - 20
    changed = big.copy()
    changed[16, 32, 0] ^= 1
    c = block_hashes(changed[None, 16:112, 32:128])[0].reshape(6, 6)
    assert (c != a).sum() == 1


def test_block_hashes_stay_what_they_were():
    """Tables on disk hold them: the multipliers are part of the form."""
    ramp = (np.arange(96 * 96 * 3) % 251).astype(np.uint8).reshape(1, 96, 96, 3)
    assert block_hashes(ramp)[0, [0, 35]].tolist() == [7647418798725205228, 5023619515578501302]


def test_measure_agrees_with_the_textbook(random):
    images = random.integers(0, 256, (3, 96, 96, 3), dtype=np.uint8)
    images[1] = images[1] // 64 + 100
    images[2, :, :48] = 200
    found = measure(images)
    values = images.astype(float)
    np.testing.assert_allclose(found["mean"], values.mean((1, 2)), rtol=1e-5)
    np.testing.assert_allclose(found["std"], values.std((1, 2)), rtol=1e-3)
    green = values[..., 1]
    laplacian = (
        4 * green[:, 1:-1, 1:-1] - green[:, :-2, 1:-1] - green[:, 2:, 1:-1] - green[:, 1:-1, :-2] - green[:, 1:-1, 2:]
    )
    np.testing.assert_allclose(found["sharpness"], laplacian.var((1, 2)), rtol=1e-3)
    blocks = green.reshape(3, 6, 16, 6, 16).transpose(0, 1, 3, 2, 4).reshape(3, 36, -1)
    np.testing.assert_array_equal(found["flat"], blocks.std(-1) < FLAT)
    assert found["flat"][0].sum() == 0
    assert found["flat"][1].sum() == 36
    assert found["flat"][2].sum() == 18


def test_black_and_white_tiles_measure_as_such():
    found = measure(np.stack([np.zeros((96, 96, 3), np.uint8), np.full((96, 96, 3), 255, np.uint8)]))
    np.testing.assert_allclose(found["brightness"], [0, 255])
    np.testing.assert_allclose(found["std"], 0)
    np.testing.assert_allclose(found["sharpness"], 0)
    assert found["flat"].all()
