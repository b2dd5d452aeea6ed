"""The picture of the augmentations shows every setting, and the committed one is current."""

import importlib.util
import io

import numpy as np
import pytest
from PIL import Image

from histo.augmentation.plans import DRAWS
from histo.config.train import Augmentation
from support import ROOT


@pytest.fixture(scope="module")
def augmentations():
    spec = importlib.util.spec_from_file_location("augmentations", ROOT / "docs" / "augmentations.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_setting_has_a_row(augmentations):
    shown = {*augmentations.COLUMNS, *augmentations.SHARES}
    assert shown == Augmentation.model_fields.keys() - {"probability"}
    columns = [column for columns in augmentations.COLUMNS.values() for column in columns]
    assert len(columns) == len(set(columns)) and max(columns) < sum(DRAWS)


def test_the_ends_of_a_setting(augmentations):
    random = np.random.default_rng(1)
    tiles = random.integers(0, 256, (2, 96, 96, 3), dtype=np.uint8)
    tile = tiles[0].astype(int)
    dark, light = augmentations.ends("brightness", 0.5, tiles)
    assert np.abs(dark - tile * 0.5).max() <= 1 and np.abs(light - np.minimum(tile * 1.5, 255)).max() <= 1
    one, other = augmentations.ends("gamma", 0.4, tiles)
    # Red and blue at one end, green at the other.
    for found, exponents in ((one, np.exp([-0.4, 0.4, -0.4])), (other, np.exp([0.4, -0.4, 0.4]))):
        assert np.abs(found - 255 * (tile / 255) ** exponents).max() <= 1
    silent, noisy = augmentations.ends("noise", 20, tiles // 4 + 96)
    assert np.array_equal(silent, tiles[0] // 4 + 96)
    assert (noisy - silent.astype(int)).std() == pytest.approx(20, rel=0.03)
    for name in augmentations.COLUMNS:
        assert any((cell != tiles[0]).any() for cell in augmentations.ends(name, augmentations.largest(name), tiles))


def test_committed_picture_is_current(augmentations):
    pictures = [Image.open(io.BytesIO(data)) for data in (augmentations.PICTURE.read_bytes(), augmentations.picture())]
    message = "docs/augmentations.webp is out of date: run `make augmentations`"
    assert pictures[0].info["xmp"] == pictures[1].info["xmp"], message
    assert b"; channel_scale: 0.3; 1; " in pictures[0].info["xmp"]
    committed, drawn = (np.asarray(picture.convert("RGB")).astype(int) for picture in pictures)
    # Another processor rounds differently, another libwebp compresses differently.
    assert committed.shape == drawn.shape, message
    assert (np.abs(committed - drawn).max(axis=2) > 48).mean() < 0.001, message
