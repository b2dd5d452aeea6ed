"""Report section: out-of-fold probabilities, painted on the mosaics of overlapping tiles."""

import numpy as np
import pandas as pd
from markupsafe import Markup

from histo.pages import mosaics
from histo.pages.gallery import Shards, tile_images
from histo.tiles.overlap_graph import regions
from histo.tiles.shards import geometry_of

SHOWN = 4  # regions


def probability_mosaics(
    shards: Shards, tiles: pd.DataFrame, pairs: pd.DataFrame, oof: pd.DataFrame, *, ranks: bool
) -> list[Markup]:
    """Return the mosaics of the largest regions that hold predicted tiles of both labels; empty if there are none.

    tiles: id, split, shard, row and label of all tiles, row -1 without pixels; pairs: confirmed overlaps; oof: id and
    probability of the training tiles; ranks: whether the probabilities are ranks. Regions whose offsets contradict each
    other, or that are too large, are passed over: the audit page names them.
    """
    frame = tiles[tiles["row"] >= 0].sort_values(["split", "id"], ascending=[False, True]).drop_duplicates("id")
    frame = frame.merge(oof[["id", "probability"]], on="id", how="left")
    values, labels = frame["probability"].to_numpy(), frame["label"].to_numpy()
    known, geometry = ~np.isnan(values), geometry_of(shards["train"])
    figures: list[Markup] = []
    for region in regions(frame["id"], pairs):
        members = region.members
        if len(figures) == SHOWN:
            break
        if len(np.unique(labels[members][known[members]])) < 2:
            continue
        offsets = region.offsets()
        scale = None if offsets is None else mosaics.scale_for(offsets, geometry.tile_side)
        if offsets is None or scale is None:
            continue
        rows = frame.iloc[members]
        caption = _caption(labels[members], values[members], ranks)
        figures.append(
            mosaics.figure(
                mosaics.compose(tile_images(shards, rows), offsets, scale), offsets, labels[members], scale, caption,
                f"Mosaic with out-of-fold {'ranks' if ranks else 'probabilities'}: {caption}, "
                f"including tile {rows['id'].min()}",
                geometry, values[members],
            )
        )  # fmt: skip
    return figures


def _caption(labels: np.ndarray, values: np.ndarray, ranks: bool) -> str:
    """Return the number of tiles of a region and, of its predicted tiles, of those with tumour and misclassified."""
    known = ~np.isnan(values)
    text = f"{len(labels):,} tiles; of {int(known.sum()):,} predicted, {int((labels[known] == 1).sum()):,} with tumour"
    if ranks:
        return text
    wrong = (values[known] >= 0.5) != (labels[known] == 1)
    return f"{text}, {int(wrong.sum()):,} misclassified"
