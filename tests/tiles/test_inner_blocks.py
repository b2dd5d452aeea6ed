"""Inner pixels of blocks: equal where two JPEG-compressed tiles share tissue."""

import numpy as np
import pytest

from histo.tiles.inner_blocks import inner_hashes, inner_pixels
from support.jpeg import recompressed


def test_inner_pixels_leave_out_the_edges_of_every_block(random):
    images = random.integers(1, 256, (3, 96, 96, 3), dtype=np.uint8)
    inner = inner_pixels(images)
    blocks = inner.reshape(3, 6, 16, 6, 16, 3)
    np.testing.assert_array_equal(blocks[:, :, 1:-1, :, 1:-1], images.reshape(blocks.shape)[:, :, 1:-1, :, 1:-1])
    assert (inner > 0).sum() == 3 * 36 * 14 * 14 * 3


def test_hashes_depend_on_inner_pixels_alone(random):
    images = random.integers(0, 256, (40, 96, 96, 3), dtype=np.uint8)
    changed = images.copy()
    changed[:, 16:32:15] ^= 1  # first and last line of the second row of blocks
    changed[:, :, 0] ^= 255
    np.testing.assert_array_equal(inner_hashes(changed), inner_hashes(images))
    assert len(np.unique(inner_hashes(images))) == 40 * 36
    changed[:, 17, 20, 2] ^= 1
    differs = np.zeros((40, 36), bool)
    differs[:, 7] = True
    np.testing.assert_array_equal(inner_hashes(changed) != inner_hashes(images), differs)


def test_flat_blocks_have_no_hash(random):
    images = np.full((2, 96, 96, 3), 240, np.uint8)
    images[0, ::2, :48, 1] = 248 - 1  # green alternates by 7: standard deviation 3.5
    images[0, ::2, 48:, 1] = 248 + 1  # by 9: 4.5
    images[1, :, ::16] = 0  # only edges
    assert (inner_hashes(images)[0].reshape(6, 6) != 0).tolist() == [[False] * 3 + [True] * 3] * 6
    assert not inner_hashes(images)[1].any()


def test_blocks_of_tiles_of_another_side_have_the_same_hashes(random):
    images = random.integers(0, 256, (2, 96, 96, 3), dtype=np.uint8)
    small = images[:, 16:80, 32:]
    np.testing.assert_array_equal(inner_pixels(small), inner_pixels(images)[:, 16:80, 32:])
    expected = inner_hashes(images).reshape(2, 6, 6)[:, 1:5, 2:]
    np.testing.assert_array_equal(inner_hashes(small).reshape(2, 4, 4), expected)


def test_no_tiles():
    assert inner_hashes(np.empty((0, 96, 96, 3), np.uint8)).shape == (0, 36)
    assert inner_hashes(np.empty((0, 64, 64, 3), np.uint8)).shape == (0, 16)


@pytest.mark.parametrize("subsampling", ["4:2:0", "4:2:2", "4:4:4"])
@pytest.mark.parametrize("quality", [60, 95])
def test_blocks_shared_by_two_jpegs_have_equal_hashes(random, quality, subsampling):
    slide = random.integers(0, 256, (1, 128, 128, 3), dtype=np.uint8)
    pair = recompressed(np.concatenate([slide[:, :96, :96], slide[:, 32:, 16:112]]), quality, subsampling)
    first, second = inner_hashes(pair).reshape(2, 6, 6)
    np.testing.assert_array_equal(first[2:, 1:], second[:4, :5])
    assert first.all()
