"""Tiles in which there is little to see: sound files, nearly blank, black or blurred pictures.

The thresholds come from 4,122 original tiles, ordered by each measurement and looked at. They are remarks, not faults:
tiles like these are in the test set too, and a network has to answer for them.
"""

import numpy as np
import pandas as pd

# Variance of the Laplacian, whose median is 12,700. Below 300 stand empty glass and what is out of focus; from about
# 350 on come sharp cells and fibres, be there ever so few.
DETAIL = 300.0
# Mean grey level. The darkest tissue has 60; the two tiles of slide edge that are black have 28 and 33.
DARK = 50.0
# A tile without detail is empty glass when it is bright and even. Glass has a mean of 211 to 249; blurred tissue stays
# below 200 or, at the edge of glass, has a standard deviation above 12.
BRIGHT = 200.0
EVEN = 12.0

REMARKS = {
    "black": "a mean grey level below 50",
    "blank": "bright, even and without detail: glass with hardly any tissue on it",
    "blurred": "no detail, though neither black nor blank: out of focus, or dirt",
}


def remarks(tiles: pd.DataFrame) -> np.ndarray:
    """Return the remark on each tile, a key of `REMARKS` or "": objects [N].

    tiles: the measurements of `tables.TILES`; tiles without pixels have NaN there and get no remark.
    """
    spread = tiles[["std_r", "std_g", "std_b"]].mean(axis=1)
    faint = tiles["sharpness"] < DETAIL
    conditions = [tiles["brightness"] < DARK, faint & (tiles["brightness"] >= BRIGHT) & (spread < EVEN), faint]
    return np.select(conditions, list(REMARKS), "").astype(object)
