"""The picture of overlaps and folds: its tiles are what it says of them, and the committed picture is current."""

import importlib.util
import io

import numpy as np
import pytest
from PIL import Image

from histo.tiles.overlap_graph import components
from support import ROOT


@pytest.fixture(scope="module")
def overlaps():
    spec = importlib.util.spec_from_file_location("overlaps_picture", ROOT / "docs" / "overlaps.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_groups_are_the_tiles_that_overlaps_connect(overlaps):
    count = len(overlaps.TILES)
    links = [(one, other) for one in range(count) for other in range(one) if overlaps.shared(one, other)]
    found = components(count, np.array(links))
    assert len(links) == 4 and [group for _, _, group in overlaps.TILES] == found.tolist()


def test_only_random_folds_leak(overlaps):
    assert len(overlaps.leaks(overlaps.RANDOM)) == 4
    assert overlaps.leaks([overlaps.OF_GROUPS[group] for _, _, group in overlaps.TILES]) == []


def test_committed_picture_is_current(overlaps):
    pictures = [Image.open(io.BytesIO(data)) for data in (overlaps.PICTURE.read_bytes(), overlaps.picture())]
    committed, drawn = (np.asarray(picture.convert("RGB")).astype(int) for picture in pictures)
    assert committed.shape == drawn.shape
    # Another libwebp compresses differently.
    assert np.abs(committed - drawn).mean() < 3, "docs/overlaps.webp is out of date: run `make pictures`"
