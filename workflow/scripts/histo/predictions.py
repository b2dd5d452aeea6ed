"""Join the predictions of all folds and networks; each tile must be predicted exactly once."""

from pathlib import Path

import numpy as np
import pandas as pd

from histo import tables
from histo.errors import InputError


def join_folds(predictions: list[Path], folds: pd.DataFrame) -> pd.DataFrame:
    """Join out-of-fold predictions with the folds table: `tables.predictions`, label and group, sorted by id.

    Raises InputError unless every tile of `folds` is predicted exactly once, by the model of its own fold.
    """
    schema = tables.predictions(tables.classes_of(predictions[0]))
    frame = pd.concat([tables.read(path, schema) for path in predictions], ignore_index=True)
    joined = folds[["id", "label", "group", "fold"]].merge(frame, on="id", how="outer", suffixes=("", "_predicted"))
    unpredicted = joined[[name for name in schema.names if name.startswith("probability")]].isna().any(axis=1)
    wrong = joined[joined["label"].isna() | unpredicted | (joined["fold"] != joined["fold_predicted"])]
    if len(wrong) or len(joined) != len(folds):
        name = wrong["id"].iloc[0] if len(wrong) else joined.loc[joined["id"].duplicated(), "id"].iloc[0]
        raise InputError(
            f"{predictions[0].parent.parent}: expected one out-of-fold prediction for each of {len(folds)} training "
            f"tiles, found {len(frame)}; the first wrong tile is {name}. Run `predict` again."
        )
    return joined.sort_values("id", ignore_index=True)[["label", "group", *schema.names]]


def join_models(predictions: dict[str, list[Path]], folds: pd.DataFrame) -> tuple[pd.DataFrame, np.ndarray]:
    """Join the out-of-fold predictions of several models, one file per fold each.

    Returns the table of the first model (`join_folds`), and the probabilities of all, float64 [N, models], of K > 2
    classes [N, models, K], in the same order of tiles.
    """
    joined = [join_folds(paths, folds) for paths in predictions.values()]
    return joined[0], np.stack([tables.probability_values(frame) for frame in joined], axis=1)


def stack_networks(predictions: list[Path]) -> tuple[np.ndarray, np.ndarray]:
    """Return the sorted ids of the test tiles [N] and their probabilities by each network, float64 [networks, N, …].

    predictions: one file per network. Raises InputError unless all of them predict the same tiles, each once.
    """
    schema = tables.predictions(tables.classes_of(predictions[0]))
    frames = [tables.read(path, schema).sort_values("id") for path in predictions]
    ids = frames[0]["id"].to_numpy()
    for path, frame in zip(predictions, frames, strict=True):
        if not np.array_equal(frame["id"].to_numpy(), ids) or not frame["id"].is_unique:
            raise InputError(
                f"{path}: expected the {len(ids)} test tiles of {predictions[0]}, found other tiles. Run again."
            )
    return ids, np.stack([tables.probability_values(frame) for frame in frames])
