"""Probabilities of one trained model of one fold: of the fold's tiles (out-of-fold) and of all test tiles.

Makes two tables (id, fold, logit, probability, logit_none, logit_flips) from the weights alone, which carry crop and
normalisation, so that test tiles are treated as training tiles were. Apart from training, so that test-time
augmentation can change without it. The last two columns say what less augmentation would have given, so that its gain
is known without another run.
"""

import logging

import numpy as np
import pandas as pd

from histo import tables
from histo.errors import InputError
from histo.logits import logit, sigmoid
from histo.networks.network import Network
from histo.tiles.shards import open_shards
from histo.training import checkpoints
from histo.training.devices import claim_device
from histo.training.engine import VIEWS, precision, predict_logits
from histo.training.loader import TileLoader

log = logging.getLogger(__name__)


def combine(views: np.ndarray, average: str) -> tuple[np.ndarray, np.ndarray]:
    """(logit float32 [N], probability float64 [N]) of the logits of several views of each tile, float32 [N, views].

    average: of what the mean is taken, `logits` or `probabilities`, in float64 both. The mean of logits lets one view
    that is very sure outvote others, that of probabilities does not. The logit of one view is left as it is.
    """
    if average == "logits" or views.shape[1] == 1:
        mean = views.mean(axis=1, dtype=np.float64)
        return mean.astype(np.float32), sigmoid(mean)
    mean = sigmoid(views).mean(axis=1)
    return logit(mean), mean


def predictions(network: Network, tiles: TileLoader, *, choice: str, tta: str, average: str, fold: int) -> pd.DataFrame:
    """Table of predictions (`tables.PREDICTIONS`), sorted by id; choice: the setting `precision`."""
    views = predict_logits(network, tiles, precision(choice, tiles.device), tta)
    if not np.isfinite(views).all():
        at, view = np.argwhere(~np.isfinite(views))[0]
        raise InputError(
            f"tile {tiles.ids[at]}: its logit is {views[at, view]}. Train with precision: float32 or a lower "
            "learning_rate."
        )
    chosen, probability = combine(views, average)
    flips = len(VIEWS["flips"])
    frame = pd.DataFrame({"id": tiles.ids, "fold": fold, "logit": chosen, "probability": probability})
    frame["logit_none"] = views[:, 0]
    frame["logit_flips"] = combine(views[:, :flips], average)[0] if views.shape[1] >= flips else np.float32(np.nan)
    return frame.sort_values("id", ignore_index=True)


def predict(
    weights: str,
    train_shards: list[str],
    test_shards: list[str],
    folds: str,
    tiles: str,
    oof_out: str,
    test_out: str,
    *,
    tta: str,
    average: str,
    threads: int,
) -> None:
    """Write the out-of-fold table (exactly the tiles of the weights' fold) and the test table (every kept test tile).

    tta: none, flips or all (1, 4, 8 views); average: logits or probabilities. Raises InputError for unusable input.
    """
    checkpoint = checkpoints.load(weights)
    fold, choice = checkpoint["fold"], checkpoint["settings"]["precision"]
    held_out = tables.read(folds, tables.FOLDS)
    held_out = held_out[held_out["fold"] == fold]
    if held_out.empty:
        raise InputError(f"{folds}: no tiles of fold {fold}, which {weights} was validated on. Train again.")
    test = tables.read(tiles, tables.TILES, columns=["id", "split", "shard", "row", "label", "kept"])
    test = test[(test["split"] == "test") & test["kept"] & (test["row"] >= 0)]
    with claim_device(threads) as device:
        network = checkpoints.network(checkpoint).to(device)
        for rows, paths, split, out in (
            (held_out, train_shards, "train", oof_out),
            (test, test_shards, "test", test_out),
        ):
            chosen = TileLoader(open_shards(paths, split), rows.sort_values(["shard", "row"]), device)
            frame = predictions(network, chosen, choice=choice, tta=tta, average=average, fold=fold)
            tables.write(frame, out, tables.PREDICTIONS)
            log.info("%s: %d tiles, mean probability %.3f.", out, len(frame), frame["probability"].mean())


if __name__ == "__main__":
    from histo import job

    job.start(snakemake)
    predict(
        snakemake.input.weights,
        list(snakemake.input.train_shards),
        list(snakemake.input.test_shards),
        snakemake.input.folds,
        snakemake.input.tiles,
        snakemake.output.oof,
        snakemake.output.test,
        **snakemake.params.settings,
        threads=snakemake.threads,
    )
