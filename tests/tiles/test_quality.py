"""Blank, black and blurred tiles."""

import numpy as np
import pandas as pd
import pytest

from histo import tables
from histo.tiles.measurements import measure
from histo.tiles.quality import REMARKS, remarks


def measured(images):
    found = measure(images)
    columns = {"brightness": found["brightness"], "sharpness": found["sharpness"]}
    columns |= {f"std_{letter}": found["std"][:, k] for k, letter in enumerate("rgb")}
    return pd.DataFrame(columns)


def test_made_tiles_of_each_kind(random):
    noise = random.integers(0, 256, (96, 96, 3))
    ramp = np.broadcast_to(np.linspace(60, 200, 96)[:, None, None], (96, 96, 3))
    glass = 240 + random.integers(-1, 2, (96, 96, 3))
    images = np.stack([noise, ramp, glass, np.zeros_like(noise), np.full_like(noise, 255), noise // 4])
    assert remarks(measured(images.astype(np.uint8))).tolist() == ["", "blurred", "blank", "black", "blank", "black"]


def test_tiles_without_pixels_have_no_remark():
    assert remarks(pd.DataFrame({name: [np.nan] for name in tables.COLOUR})).tolist() == [""]


@pytest.mark.parametrize(
    ("brightness", "spread", "sharpness", "remark"),
    [
        (49.9, 40, 9000, "black"),
        (50.1, 40, 9000, ""),
        (200, 11.9, 299, "blank"),
        (199, 11.9, 299, "blurred"),
        (200, 12, 299, "blurred"),
        (240, 1, 300, ""),
    ],
)
def test_thresholds(brightness, spread, sharpness, remark):
    frame = pd.DataFrame({"brightness": [brightness], "sharpness": [sharpness], "std_r": [spread], "std_g": [spread]})
    assert remarks(frame.assign(std_b=spread)).tolist() == [remark]
    assert remark in (*REMARKS, "")
