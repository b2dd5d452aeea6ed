"""The field of view of the documentation: where its mosaics lie, and which network predicts which tiles of them."""

import importlib.util

import numpy as np
import pytest
import torch
from PIL import Image

from support import ROOT


@pytest.fixture(scope="module")
def drawing():
    spec = importlib.util.spec_from_file_location("field_of_view", ROOT / "docs" / "field_of_view.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_mosaic_takes_the_first_free_place(drawing):
    occupied = np.zeros((4, 5), bool)
    occupied[0, :2] = occupied[1, 3] = True
    corner = np.array([[False, True], [True, True]])
    assert drawing.place(occupied, corner) == (0, 1)
    assert drawing.place(occupied, np.ones((2, 2), bool)) == (1, 0)
    assert drawing.place(occupied, np.ones((4, 2), bool)) is None
    assert drawing.place(occupied, np.ones((5, 1), bool)) is None


def test_only_whole_tiles_within_a_mosaic_are_predicted(drawing):
    covered = np.ones((8, 10), bool)
    covered[0, 9] = False
    assert drawing.windows(covered).tolist() == [[0, 0], [0, 2], [2, 0], [2, 2], [2, 4]]
    assert drawing.windows(np.ones((5, 20), bool)).tolist() == []


class Constant(torch.nn.Module):
    """A network with one logit for all tiles."""

    def __init__(self, logit):
        super().__init__()
        self.logit = logit

    def forward(self, tiles):
        assert tiles.shape[1:] == (3, 96, 96) and tiles.dtype == torch.uint8 and int(tiles.min()) == 7
        return torch.full((len(tiles),), self.logit)


def test_each_mosaic_is_predicted_by_the_network_of_its_fold(drawing):
    tile = np.full((96, 96, 4), 255, np.uint8)
    tile[..., :3] = 7
    wide = np.concatenate([tile, tile[:, :32]], axis=1)
    image, values = drawing.field(iter([(wide, 1), (tile, 2), (tile, 0)]), {0: Constant(-1.0), 1: Constant(2.0)})
    assert image.shape == (2048, 2048, 3) and (image == 7).all(axis=2).sum() == 96 * 128 + 96 * 96
    expected = np.full((128, 128), np.nan)
    expected[2:4, 2:6] = 1 / (1 + np.exp(-2))
    expected[2:4, 11:13] = 1 / (1 + np.exp(1))  # one free cell beside the first mosaic
    np.testing.assert_allclose(values, expected, rtol=1e-6)


def test_the_committed_picture_has_two_panels_and_a_scale(drawing):
    picture = drawing.picture(np.full((2048, 2048, 3), 255, np.uint8), np.full((128, 128), 1.0))
    assert Image.open(drawing.PICTURE).size == picture.size
    assert picture.getpixel((10, 10)) == (255, 255, 255)
    expected = [round(255 + (level - 255) * drawing.OPACITY) for level in (213, 94, 0)]
    np.testing.assert_allclose(picture.getpixel((drawing.SHOWN + drawing.GAP + 10, 10)), expected, atol=1)
