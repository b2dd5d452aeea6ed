"""Quality flags: nearly blank, black or blurred pictures in files that are otherwise valid.

The thresholds were chosen on 4,122 original tiles, sorted by each measurement and inspected by eye. A quality flag is
not a fault: the test set has such tiles too, and each needs a prediction.
"""

import numpy as np
import numpy.typing as npt
import pandas as pd

# Variance of the Laplacian; its median is 12,700. Tiles below 300 show empty glass or are out of focus; from about 350
# on they show sharp cells or fibres, if only a few.
MIN_SHARPNESS = 300.0
# Mean grey level. The darkest tissue has 60; the two black tiles, from the edge of a slide, have 28 and 33.
MIN_BRIGHTNESS = 50.0
# A tile without sharp detail is empty glass when it is bright and uniform. Glass has a mean of 211 to 249; blurred
# tissue has a mean below 200 or, at the border to glass, a standard deviation above 12.
BLANK_BRIGHTNESS = 200.0
BLANK_MAX_STD = 12.0

QUALITY_FLAGS = {
    "black": "mean grey level below 50",
    "blank": "bright, uniform and without sharp detail: glass with almost no tissue",
    "blurred": "without sharp detail, but neither black nor blank: out of focus, or dirt",
}


def quality_flags(tiles: pd.DataFrame) -> npt.NDArray[np.object_]:
    """Return the quality flag of each tile, a key of `QUALITY_FLAGS` or "": objects [N].

    tiles: the measurements of `tables.TILES`; tiles without pixels have NaN there and get no flag.
    """
    std = tiles[["std_r", "std_g", "std_b"]].mean(axis=1)
    unsharp = tiles["sharpness"] < MIN_SHARPNESS
    conditions = [
        tiles["brightness"] < MIN_BRIGHTNESS,
        unsharp & (tiles["brightness"] >= BLANK_BRIGHTNESS) & (std < BLANK_MAX_STD),
        unsharp,
    ]
    return np.select(conditions, list(QUALITY_FLAGS), "").astype(object)
