"""The pictures of the README: taken from the pages of the demo."""

import sys

import numpy as np
import pytest
from PIL import Image

from support import ROOT
from support.browser import CHROMIUM

sys.path.insert(0, str(ROOT / "docs"))

from pictures import HEIGHT, PICTURES, SCALE, WIDTH, pictures


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
def test_the_pictures_show_the_pages_of_the_demo(demo, tmp_path):
    folder, _ = demo
    pictures(folder / "results/demo", tmp_path)
    for name, columns in PICTURES.items():
        picture = Image.open(tmp_path / f"{name}.webp").convert("RGB")
        committed = Image.open(ROOT / f"docs/{name}.webp")
        assert picture.size == committed.size == (len(columns) * int(SCALE * WIDTH), int(SCALE * HEIGHT))
        for part in np.array_split(np.asarray(picture), len(columns), axis=1):
            assert part[2, 2].min() > 250  # the page, in light colours
            assert (part < 200).any(axis=2).mean() > 0.02  # text, charts or tiles
    tiles = np.asarray(Image.open(tmp_path / "tiles.webp").convert("RGB"))
    assert len(np.unique(tiles.reshape(-1, 3), axis=0)) > 5000
