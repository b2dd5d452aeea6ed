"""Synthetic slides: nuclei at their stated positions, regions that differ, parts that do what they say."""

import numpy as np
import pytest

from histo.synthetic.slides import (
    COARSE,
    COARSE_POINTS,
    REGION,
    TUMOUR_AREA,
    Painter,
    Region,
    Slide,
    smooth_noise,
    soft_mask,
    upsample,
)


@pytest.fixture(scope="module")
def painter() -> Painter:
    return Painter(np.random.default_rng(1))


@pytest.fixture(scope="module")
def slide(painter) -> Slide:
    return painter.slide(np.random.default_rng(2))


@pytest.fixture(scope="module")
def region(painter, slide) -> Region:
    return painter.region(np.random.default_rng(6), slide)


def test_a_region_has_the_documented_shapes(region):
    assert (region.image.shape, region.image.dtype) == ((REGION, REGION, 3), np.uint8)
    assert region.tissue.shape == (REGION, REGION)
    assert (region.tissue.min(), region.tissue.max()) == (0, 255)
    assert region.tumour.min() >= 0 and region.tumour.max() < REGION


def test_tumour_nuclei_are_dark_at_their_positions(region):
    green = region.image[..., 1].astype(float)
    y, x = region.tumour.T
    assert len(region.tumour) > 500
    assert green[y, x].mean() < green[region.tissue > 128].mean() - 15


def test_tumour_nuclei_lie_in_tissue(region):
    y, x = region.tumour.T
    assert (region.tissue[y, x] > 128).all()


def test_glass_is_bright_and_tissue_is_stained(region):
    grey = region.image.mean(2)
    assert grey[region.tissue == 0].mean() > 215
    assert grey[region.tissue == 255].mean() < grey[region.tissue == 0].mean() - 30


def test_the_same_seeds_give_the_same_region_and_other_seeds_another(painter, slide, region):
    again = painter.region(np.random.default_rng(6), slide)
    np.testing.assert_array_equal(again.image, region.image)
    np.testing.assert_array_equal(again.tumour, region.tumour)
    assert (painter.region(np.random.default_rng(7), slide).image != region.image).mean() > 0.5


def test_slides_have_their_own_stains(painter):
    tables = [painter.slide(np.random.default_rng(seed)).colours.view(np.uint8).reshape(256, 256, 3) for seed in (1, 2)]
    for table in tables:
        assert (np.diff(table.astype(int), axis=0) <= 0).all()  # more haematoxylin is darker
        assert (np.diff(table.astype(int), axis=1) <= 0).all()  # more eosin is darker
    assert (tables[0] != tables[1]).mean() > 0.9


def test_soft_mask_covers_the_given_share():
    field = smooth_noise(np.random.default_rng(3), 9)
    assert field.shape == (COARSE_POINTS, COARSE_POINTS)
    mask = soft_mask(field, TUMOUR_AREA, 0.01)
    assert mask.mean() == pytest.approx(TUMOUR_AREA, abs=0.02)
    assert field[mask == 1].min() > field[mask == 0].max()


def test_upsample_interpolates_linearly():
    rows = np.repeat(np.arange(COARSE_POINTS, dtype=np.float32)[:, None], COARSE_POINTS, axis=1)
    fine = upsample(rows * COARSE)
    assert (fine.shape, fine.dtype) == ((REGION, REGION), np.int16)
    np.testing.assert_array_equal(fine, np.repeat(np.arange(REGION)[:, None], REGION, axis=1))
