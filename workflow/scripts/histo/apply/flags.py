"""Flags of tiles that are unlike the training tiles, whose predictions may be unreliable."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from histo import tables
from histo.errors import InputError
from histo.tiles.measurements import measure
from histo.tiles.quality import quality_flags

STATISTICS = ["mean_r", "mean_g", "mean_b", "std_r", "std_g", "std_b"]
RARE = 0.001  # share of the training tiles that are as far from the others as a tile flagged `colour`


class ColourReference:
    """Colour statistics of the training tiles: per channel, mean and standard deviation over a tile.

    A tile is flagged if its Mahalanobis distance from their mean exceeds that of all but `RARE` of the training tiles.
    """

    def __init__(self, statistics: npt.NDArray[np.floating]) -> None:
        """statistics: `STATISTICS` of the training tiles, [N, 6], grey levels."""
        values = statistics.astype(np.float64)
        self._mean = values.mean(axis=0)
        # The pseudo-inverse, since a statistic may be constant or depend on the others.
        self._inverse = np.linalg.pinv(np.cov(values, rowvar=False), hermitian=True)
        self._limit = float(np.quantile(self.distances(values), 1 - RARE))

    def distances(self, statistics: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
        """Return the distance of each tile from the mean of the training tiles, [N]; statistics: [N, 6]."""
        offsets = statistics.astype(np.float64) - self._mean
        return np.asarray(np.sqrt(np.einsum("ni,ij,nj->n", offsets, self._inverse, offsets)))

    def far(self, statistics: npt.NDArray[np.floating]) -> npt.NDArray[np.bool_]:
        """Return which tiles are far from the training tiles, [N]; statistics: [N, 6]."""
        return np.asarray(self.distances(statistics) > self._limit)


def read_reference(path: str | Path) -> ColourReference:
    """Return the colour statistics of the kept training tiles of `tables.TILES`.

    Raises InputError if there are fewer than two.
    """
    tiles = tables.read(path, tables.TILES, ["split", "kept", *STATISTICS])
    kept = tiles[(tiles["split"] == "train") & tiles["kept"]]
    if len(kept) < 2:
        raise InputError(f"{path}: expected training tiles, found {len(kept)}. Run the stage `audit` again.")
    return ColourReference(kept[STATISTICS].to_numpy())


def measurements(images: npt.NDArray[np.uint8]) -> pd.DataFrame:
    """Return the columns `tables.MEASUREMENTS` of tiles, uint8 [N, side, side, 3]."""
    found = measure(images)
    columns = {name: found[name] for name in ("brightness", "sharpness", "blank_share")}
    for channel, letter in enumerate("rgb"):
        columns |= {f"mean_{letter}": found["mean"][:, channel], f"std_{letter}": found["std"][:, channel]}
    return pd.DataFrame(columns)[list(tables.MEASUREMENTS)]


def flags(tiles: pd.DataFrame, reference: ColourReference) -> list[str]:
    """Return the flags of each tile, separated by semicolons: a quality flag, and `colour` if it is far in colour.

    tiles: `measurements`.
    """
    far = reference.far(tiles[STATISTICS].to_numpy())
    return [
        ";".join([*([quality] if quality else []), *(["colour"] if colour else [])])
        for quality, colour in zip(quality_flags(tiles), far, strict=True)
    ]
