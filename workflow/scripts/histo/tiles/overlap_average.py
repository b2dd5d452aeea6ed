"""Average the probabilities of tiles that share pixels: overlapping tiles show the same tissue."""

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.sparse import coo_array

from histo.tiles.overlap_graph import positions

Floats = npt.NDArray[np.float64]


def average_overlaps(
    values: Floats, ids: pd.Series, folds: npt.NDArray[np.integer], pairs: pd.DataFrame, tile_side: int
) -> tuple[Floats, npt.NDArray[np.bool_]]:
    """Return the probabilities averaged over overlapping tiles, and which tiles overlap another one, bool [N].

    Tile i gets Σ s_ij p_j / Σ s_ij, where s_ij is the number of pixels that tiles i and j share, divided by that of a
    tile (s_ii = 1). How many tiles overlap a tile does not enter its probability otherwise: where all p_j are equal,
    nothing changes. Tiles of other folds do not count, since other networks predict them.

    values: [N], of K > 2 classes [N, K]; ids: [N], unique; folds: [N]; pairs: `tables.OVERLAPS`, of which the confirmed
    ones count; tile_side: pixels.
    """
    links, found = positions(ids, pairs[pairs["confirmed"]])
    inside = folds[links[:, 0]] == folds[links[:, 1]]
    a, b = links[inside].T
    share = found["area"].to_numpy(np.float64)[inside] / tile_side**2
    shares = coo_array((np.r_[share, share], (np.r_[a, b], np.r_[b, a])), shape=(len(ids), len(ids))).tocsr()
    rows = values.reshape(len(values), -1)
    averaged = (rows + shares @ rows) / (1 + shares.sum(axis=1))[:, None]
    overlapping = np.zeros(len(ids), bool)
    overlapping[a] = overlapping[b] = True
    # Tiles without overlaps keep their value; rounding may exceed 1.
    return np.minimum(averaged, 1).reshape(values.shape), overlapping
