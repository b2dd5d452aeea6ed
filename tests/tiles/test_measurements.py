"""Measuring tiles and hashing their blocks."""

import numpy as np

from histo.tiles.measurements import FLAT, block_hashes, measure


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
