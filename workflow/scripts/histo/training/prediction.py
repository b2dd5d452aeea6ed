"""Predictions of one network: the logits of the views of each tile, averaged, as a table."""

import numpy as np
import pandas as pd

from histo import tables
from histo.errors import InputError
from histo.logits import LOWEST, logit, sigmoid, softmax
from histo.networks.network import Network
from histo.training.engine import VIEWS, precision, predict_logits
from histo.training.loader import TileLoader


def combine(views: np.ndarray, average: str) -> tuple[np.ndarray, np.ndarray]:
    """Logit, float32 [N], and probability, float64 [N], of each tile from the logits of its views, float32 [N, views].

    Of more than two classes, logits [N, views, K] give logits and probabilities [N, K].

    average: take the mean of `logits` or of `probabilities`, both in float64. In the mean of logits one very confident
    view can outvote the others, in the mean of probabilities it cannot. The logit of a single view is unchanged.
    """
    if average == "logits" or views.shape[1] == 1:
        mean = views.mean(axis=1, dtype=np.float64)
        return mean.astype(np.float32), sigmoid(mean) if views.ndim == 2 else softmax(mean)
    mean = (sigmoid(views) if views.ndim == 2 else softmax(views)).mean(axis=1)
    # Of more than two classes, the logarithms are logits: softmax returns the probabilities.
    return logit(mean) if views.ndim == 2 else np.log(np.maximum(mean, LOWEST)).astype(np.float32), mean


def predictions(network: Network, tiles: TileLoader, *, choice: str, tta: str, average: str, fold: int) -> pd.DataFrame:
    """Table of predictions (`tables.predictions`), sorted by id; choice: the setting `precision`.

    Raises InputError if a logit is not finite.
    """
    views = predict_logits(network, tiles, precision(choice, tiles.device, network), tta)
    if not np.isfinite(views).all():
        tile, view = np.argwhere(~np.isfinite(views))[0][:2]
        raise InputError(
            f"tile {tiles.ids[tile]}: expected a finite logit, found {views[tile, view]}. Train with precision: "
            "float32 or a lower learning_rate."
        )
    logits, means = combine(views, average)
    if means.ndim == 2:
        columns = tables.probability_columns(means) | {f"logit_{k}": values for k, values in enumerate(logits.T)}
        return pd.DataFrame({"id": tiles.ids, "fold": fold, **columns}).sort_values("id", ignore_index=True)
    flips = len(VIEWS["flips"])
    table = pd.DataFrame({"id": tiles.ids, "fold": fold, "logit": logits, "probability": means})
    table["logit_none"] = views[:, 0]
    table["logit_flips"] = combine(views[:, :flips], average)[0] if views.shape[1] >= flips else np.float32(np.nan)
    return table.sort_values("id", ignore_index=True)
