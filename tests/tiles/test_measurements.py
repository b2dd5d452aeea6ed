"""Measurements of tiles, hashes of their blocks, and the rows of the validation table."""

import numpy as np

from histo import tables
from histo.tiles.measurements import BATCH, FLAT_STD, RECORD_COLUMNS, ValidationRows, block_hashes, measure


def test_block_hashes_are_equal_if_and_only_if_blocks_are(random):
    slide = random.integers(0, 256, (128, 160, 3), dtype=np.uint8)
    a, b = block_hashes(np.stack([slide[16:112, 32:128], slide[32:128, 64:160]])).reshape(2, 6, 6)
    np.testing.assert_array_equal(a[1:, 2:], b[:-1, :-2])
    assert len(np.unique(np.concatenate([a.ravel(), b.ravel()]))) == 72 - 20
    changed = slide.copy()
    changed[16, 32, 0] ^= 1
    # Blocks of tiles of another side have the same hashes.
    small = block_hashes(slide[None, 32:96, 64:128])[0].reshape(4, 4)
    np.testing.assert_array_equal(small, b[:4, :4])
    c = block_hashes(changed[None, 16:112, 32:128])[0].reshape(6, 6)
    assert (c != a).sum() == 1


def test_block_hashes_never_change():
    """They are stored in tables: the multipliers are part of the format."""
    ramp = (np.arange(96 * 96 * 3) % 251).astype(np.uint8).reshape(1, 96, 96, 3)
    assert block_hashes(ramp)[0, [0, 35]].tolist() == [7647418798725205228, 5023619515578501302]


def test_measurements_agree_with_their_definitions(random):
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
    np.testing.assert_array_equal(found["flat"], blocks.std(-1) < FLAT_STD)
    assert found["flat"][0].sum() == 0
    assert found["flat"][1].sum() == 36
    assert found["flat"][2].sum() == 18
    np.testing.assert_allclose(found["blank_share"], (green > 200).mean((1, 2)))


def test_black_and_white_tiles():
    found = measure(np.stack([np.zeros((96, 96, 3), np.uint8), np.full((96, 96, 3), 255, np.uint8)]))
    np.testing.assert_allclose(found["brightness"], [0, 255])
    np.testing.assert_allclose(found["std"], 0)
    np.testing.assert_allclose(found["sharpness"], 0)
    np.testing.assert_array_equal(found["blank_share"], [0, 1])
    assert found["flat"].all()


def test_rows_of_the_validation_table(random):
    """More tiles than are measured at a time, some of them without pixels."""
    count = BATCH + 3
    images = random.integers(0, 256, (count, 96, 96, 3), dtype=np.uint8)
    images[1, :16, :16] = 200  # a flat block
    without_pixels = {0, 5, count - 1}
    rows = ValidationRows()
    for k, image in enumerate(images):
        record = dict.fromkeys(RECORD_COLUMNS, "") | {"id": f"{k:02d}", "shard": 3}
        rows.add(record, None if k in without_pixels else image)
    frame = rows.frame()
    assert frame["id"].tolist() == [f"{k:02d}" for k in range(count)]
    assert (frame["shard"] == 3).all()
    missing = [k in without_pixels for k in range(count)]
    assert frame["sharpness"].isna().tolist() == frame["mean_g"].isna().tolist() == missing
    valid = ~np.array(missing)
    np.testing.assert_allclose(frame["mean_g"][valid], images[valid][..., 1].mean((1, 2)), rtol=1e-5)
    np.testing.assert_allclose(frame["std_b"][valid], images[valid][..., 2].std((1, 2)), rtol=1e-3)
    np.testing.assert_allclose(frame["blank_share"][valid], (images[valid][..., 1] > 200).mean((1, 2)), rtol=1e-6)
    blocks, expected = np.stack(frame["blocks"].tolist()), block_hashes(images)
    assert (blocks[missing] == 0).all()
    assert blocks[1, 0] == 0
    np.testing.assert_array_equal(blocks[1, 1:], expected[1, 1:])
    np.testing.assert_array_equal(blocks[2:5], expected[2:5])


def test_a_shard_without_tiles_has_an_empty_table(tmp_path):
    tables.write(ValidationRows().frame(), tmp_path / "t", tables.VALIDATION)
    assert len(tables.read(tmp_path / "t", tables.VALIDATION)) == 0
