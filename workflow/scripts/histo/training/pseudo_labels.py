"""Test tiles as training tiles: their labels are the probabilities of other models.

This is transductive: the model is fitted to the test tiles, so its AUC on them says nothing about further slides. The
student learns from augmented tiles what its teachers say of the tiles as they are (noisy student, Xie et al. 2020,
arXiv:1911.04252), with the probabilities as soft labels.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from histo import tables
from histo.errors import InputError
from histo.tiles.shards import Shard


def with_pseudo_labels(
    shards: dict[int, Shard], rows: pd.DataFrame, test_shards: dict[int, Shard], predictions: Sequence[Path]
) -> tuple[dict[int, Shard], pd.DataFrame]:
    """Append the test tiles to the shards and rows of the training tiles.

    rows: id, shard, row, label; predictions: tables of the test tiles by the networks of the teachers, of which the
    probabilities are averaged. Returns all shards, those of the test tiles renumbered, and all rows with float labels.
    Raises InputError unless all networks predict the same tiles and the shards contain them.
    """
    read = pd.concat(tables.read(path, tables.PREDICTIONS, ["id", "probability"]) for path in predictions)
    by_id = read.groupby("id")["probability"]
    if (by_id.size() != len(predictions)).any():
        raise InputError(
            f"{predictions[0].parent}: expected predictions of the same test tiles by all networks of the teachers, "
            "found different tiles. Run the stage `predict` again."
        )
    first = max(shards) + 1
    places = pd.concat(
        pd.DataFrame({"id": shard.ids_ascii.astype("U40"), "shard": first + number, "row": np.arange(len(shard))})
        for number, shard in test_shards.items()
    )
    labels = by_id.mean().rename("label").reset_index()
    labelled = labels.merge(places, on="id", validate="1:1")
    if len(labelled) != len(labels):
        missing = sorted(set(labels["id"]) - set(labelled["id"]))
        raise InputError(
            f"{predictions[0]}: expected tiles of the test shards, found {len(missing)} others, among them "
            f"{missing[0]}. Run the stage `predict` again."
        )
    joined = pd.concat([rows.astype({"label": float}), labelled.sort_values(["shard", "row"])], ignore_index=True)
    return shards | {first + number: shard for number, shard in test_shards.items()}, joined
