"""Quality flags: blank, black and blurred tiles."""

import numpy as np
import pandas as pd
import pytest

from histo import tables
from histo.tiles.measurements import measure
from histo.tiles.quality import QUALITY_FLAGS, quality_flags


def measured(images: np.ndarray) -> pd.DataFrame:
    values = measure(images)
    columns = {"brightness": values["brightness"], "sharpness": values["sharpness"]}
    columns |= {f"std_{letter}": values["std"][:, k] for k, letter in enumerate("rgb")}
    return pd.DataFrame(columns)


def test_synthetic_tiles_of_each_kind(random):
    noise = random.integers(0, 256, (96, 96, 3))
    ramp = np.broadcast_to(np.linspace(60, 200, 96)[:, None, None], (96, 96, 3))
    glass = 240 + random.integers(-1, 2, (96, 96, 3))
    images = np.stack([noise, ramp, glass, np.zeros_like(noise), np.full_like(noise, 255), noise // 4])
    expected = ["", "blurred", "blank", "black", "blank", "black"]
    assert quality_flags(measured(images.astype(np.uint8))).tolist() == expected


def test_tiles_without_pixels_have_no_flag():
    assert quality_flags(pd.DataFrame({name: [np.nan] for name in tables.COLOUR})).tolist() == [""]


@pytest.mark.parametrize(
    ("brightness", "std", "sharpness", "flag"),
    [
        (49.9, 40, 9000, "black"),
        (50.1, 40, 9000, ""),
        (200, 11.9, 299, "blank"),
        (199, 11.9, 299, "blurred"),
        (200, 12, 299, "blurred"),
        (240, 1, 300, ""),
    ],
)
def test_thresholds(brightness, std, sharpness, flag):
    frame = pd.DataFrame({"brightness": [brightness], "sharpness": [sharpness]}).assign(std_r=std, std_g=std, std_b=std)
    assert quality_flags(frame).tolist() == [flag]
    assert flag in (*QUALITY_FLAGS, "")
