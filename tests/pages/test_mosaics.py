"""Mosaics: the pixels of the slide at their positions, at every scale."""

import base64
import io
import re

import numpy as np
import pytest
from PIL import Image

from histo.geometry import Geometry
from histo.pages.mosaics import LARGEST, MARGIN, SCALE, cell_means, colours_of, compose, extent, figure, scale_for

OFFSETS = np.array([(0, 32), (16, 0), (64, 80), (96, 16)])


@pytest.fixture
def slide(random):
    return random.integers(0, 256, (192, 176, 3), dtype=np.uint8)


def cut(slide):
    return [slide[y : y + 96, x : x + 96] for y, x in OFFSETS]


def covered():
    mask = np.zeros((192, 176), bool)
    for y, x in OFFSETS:
        mask[y : y + 96, x : x + 96] = True
    return mask


def test_the_mosaic_has_the_pixels_of_the_slide(slide):
    mask = covered()
    canvas = compose(cut(slide), OFFSETS)
    assert canvas.shape == (192, 176, 4)
    assert extent(OFFSETS) == (192, 176)
    np.testing.assert_array_equal(canvas[..., :3][mask], slide[mask])
    np.testing.assert_array_equal(canvas[..., 3], 255 * mask)
    assert not mask.all()
    assert not canvas[~mask].any()


@pytest.mark.parametrize("scale", [2, 4, 8, 16])
def test_a_reduced_mosaic_is_the_averaged_slide(slide, scale):
    small = slide.reshape(192 // scale, scale, 176 // scale, scale, 3).mean((1, 3)).round()
    mask = covered()[::scale, ::scale]
    canvas = compose(cut(slide), OFFSETS, scale)
    np.testing.assert_array_equal(canvas[..., :3][mask], small[mask])
    np.testing.assert_array_equal(canvas[..., 3], 255 * mask)


def test_the_scale_is_the_smallest_that_fits():
    def of(side):
        return scale_for(np.array([(0, 0), (0, side - 96)]))

    sides = [LARGEST, LARGEST + 16, 4 * LARGEST, 16 * LARGEST, 16 * LARGEST + 16]
    assert [of(side) for side in sides] == [1, 2, 4, 16, None]


def test_outlines_and_central_squares_are_at_the_offsets_of_the_tiles(slide):
    markup = figure(compose(cut(slide), OFFSETS), OFFSETS, np.array([1, 0, -1, 1]), 1, "a <caption>", 'what "it" is')
    assert f'viewBox="-{MARGIN} -{MARGIN} {176 + 2 * MARGIN} {192 + 2 * MARGIN}"' in markup
    assert '<path class="outline" d="M32 0h96v96h-96zM0 16h96v96h-96zM80 64h96v96h-96zM16 96h96v96h-96z"/>' in markup
    assert '<path class="stroke-1" d="M64 32h32v32h-32zM48 128h32v32h-32z"/>' in markup
    assert '<path class="stroke-0" d="M32 48h32v32h-32z"/>' in markup
    assert "a &lt;caption&gt;" in markup
    assert 'aria-label="what &#34;it&#34; is"' in markup
    picture = Image.open(io.BytesIO(base64.b64decode(re.search(r"webp;base64,([^\"]+)", markup)[1])))
    assert picture.size == (176, 192)
    np.testing.assert_array_equal(np.asarray(picture)[..., 3], 255 * covered())


def test_a_cell_has_the_mean_of_the_central_squares_that_cover_it():
    offsets = np.array([(0, 0), (16, 16), (0, 64)])
    expected = np.full((7, 10), np.nan)
    expected[2:4, 2:4] = 0.2
    expected[3:5, 3:5] = 0.6
    expected[3, 3] = 0.4
    np.testing.assert_allclose(cell_means(offsets, np.array([0.2, 0.6, np.nan])), expected)


def test_cells_fit_central_squares_that_the_grid_does_not_divide():
    found = cell_means(np.array([(0, 16)]), np.array([0.7]), Geometry(tile_side=64, centre_side=24))
    assert found.shape == (16, 20)  # cells of 4 pixels: the square starts at pixel 20
    rows, columns = np.nonzero(found == 0.7)
    assert (rows.min(), rows.max(), columns.min(), columns.max(), len(rows)) == (5, 10, 9, 14, 36)


def test_colours_run_from_label_0_to_label_1():
    found = colours_of(np.array([[0, 0.25, 0.5, 1, np.nan]]))[0]
    np.testing.assert_array_equal(found[[0, 2, 3], :3], SCALE)
    np.testing.assert_array_equal(found[1, :3], np.round((SCALE[0] + SCALE[1]) / 2))
    np.testing.assert_array_equal(found[:, 3], [255, 255, 255, 255, 0])


def test_probabilities_are_painted_in_the_place_of_the_outlines(slide):
    values = np.array([0.1, 0.9, np.nan, 0.5])
    markup = figure(compose(cut(slide), OFFSETS), OFFSETS, np.array([1, 0, -1, 1]), 1, "a", "b", values=values)
    data = re.findall(r"webp;base64,([^\"]+)", markup)[1]
    painted = np.asarray(Image.open(io.BytesIO(base64.b64decode(data))))
    expected = colours_of(cell_means(OFFSETS, values))
    np.testing.assert_array_equal(painted[expected[..., 3] > 0], expected[expected[..., 3] > 0])
    np.testing.assert_array_equal(painted[..., 3], expected[..., 3])
    assert painted.shape == (12, 11, 4)
    assert 'class="outline"' not in markup
    assert '<path class="stroke-0" d="M32 48h32v32h-32z"/>' in markup
