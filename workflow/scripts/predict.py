"""Predict with one network: the tiles of its validation fold (out-of-fold), if it has one, and all test tiles.

Writes two tables (id, fold, logit, probability, logit_none, logit_flips; of more than two classes id, fold and one
probability and one logit per class). The weights file contains crop and
normalisation, so test tiles are processed like training tiles. Prediction is a stage of its own, so that a change of
test-time augmentation does not repeat training. The last two columns hold the logits with less augmentation, which show
the gain of test-time augmentation without another run.
"""

import logging

import numpy as np
import pandas as pd

from histo import tables
from histo.errors import InputError
from histo.logits import LOWEST, logit, sigmoid, softmax
from histo.networks.network import Network
from histo.tiles.shards import open_shards
from histo.training import checkpoints
from histo.training.devices import claim_device, reproducible
from histo.training.engine import VIEWS, precision, predict_logits
from histo.training.loader import TileLoader

log = logging.getLogger(__name__)


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


def predict(
    weights: str,
    train_shards: list[str],
    test_shards: list[str],
    folds: str,
    tiles: str,
    oof_out: str | None,
    test_out: str,
    *,
    tta: str,
    average: str,
    threads: int,
) -> None:
    """Write the out-of-fold table (all tiles of the model's validation fold) and the test table (all kept test tiles).

    oof_out: None for a network that was trained on all tiles; its predictions have the fold -1. tta: none, flips or all
    (1, 4 or 8 views); average: logits or probabilities. Raises InputError for unusable input.
    """
    checkpoint = checkpoints.load(weights)
    fold, choice = checkpoint["fold"], checkpoint["settings"]["precision"]
    held_out = tables.read(folds, tables.FOLDS)
    held_out = held_out[held_out["fold"] == fold]
    if held_out.empty and oof_out is not None:
        raise InputError(
            f"{folds}: no tiles of fold {fold}, the validation fold of {weights}. Run the stage `train` again."
        )
    test = tables.read(tiles, tables.TILES, columns=["id", "split", "shard", "row", "label", "kept"])
    test = test[(test["split"] == "test") & test["kept"] & (test["row"] >= 0)]
    with claim_device(threads) as device, reproducible(checkpoint["settings"].get("deterministic", False)):
        network = checkpoints.load_network(checkpoint).to(device)
        for rows, paths, split, out in (
            (held_out, train_shards, "train", oof_out),
            (test, test_shards, "test", test_out),
        ):
            if out is None:
                continue
            loader = TileLoader(open_shards(paths, split), rows.sort_values(["shard", "row"]), device)
            table = predictions(network, loader, choice=choice, tta=tta, average=average, fold=fold)
            tables.write(table, out, tables.predictions(loader.geometry.classes))
            means = " ".join(f"{mean:.3f}" for mean in table.filter(like="probability").mean())
            log.info("%s: %d tiles, mean probability %s.", out, len(table), means)


if __name__ == "__main__":
    from histo import job

    job.start(snakemake)
    predict(
        snakemake.input.weights,
        list(snakemake.input.train_shards),
        list(snakemake.input.test_shards),
        snakemake.input.folds,
        snakemake.input.tiles,
        snakemake.output.get("oof"),
        snakemake.output.test,
        **snakemake.params.settings,
        threads=snakemake.threads,
    )
