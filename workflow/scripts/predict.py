"""Probabilities of one trained model of one fold: of the fold's tiles (out-of-fold) and of all test tiles.

Makes two tables (id, fold, logit, probability) from the weights alone, which carry crop and normalisation, so that test
tiles are treated as training tiles were. Apart from training, so that test-time augmentation can change without it.
"""

import logging

import numpy as np
import pandas as pd

from histo import checkpoints, tables
from histo.batches import Tiles
from histo.devices import device as claim_device
from histo.engine import infer, precision
from histo.errors import InputError
from histo.networks import Network
from histo.shards import open_shards

log = logging.getLogger(__name__)


def sigmoid(logits: np.ndarray) -> np.ndarray:
    """Probabilities in float64, without overflow, so that the order of extreme logits survives as far as it can."""
    logits = logits.astype(np.float64)
    small = np.exp(-np.abs(logits))
    return np.where(logits >= 0, 1 / (1 + small), small / (1 + small))


def probabilities(network: Network, tiles: Tiles, *, choice: str, tta: str, fold: int) -> pd.DataFrame:
    """Table of predictions, sorted by id; choice: the setting `precision`."""
    logits = infer(network, tiles, precision(choice, tiles.device), tta)
    if not np.isfinite(logits).all():
        at = int(np.flatnonzero(~np.isfinite(logits))[0])
        raise InputError(
            f"tile {tiles.ids[at]}: its logit is {logits[at]}. Train with precision: float32 or a lower learning_rate."
        )
    frame = pd.DataFrame({"id": tiles.ids, "fold": fold, "logit": logits, "probability": sigmoid(logits)})
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
    threads: int,
) -> None:
    """Write the out-of-fold table (exactly the tiles of the weights' fold) and the test table (every kept test tile).

    tta: none, flips or all (1, 4, 8 views, logits averaged). Raises InputError for unusable input.
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
            chosen = Tiles(open_shards(paths, split), rows.sort_values(["shard", "row"]), device)
            frame = probabilities(network, chosen, choice=choice, tta=tta, fold=fold)
            tables.write(frame, out, tables.PREDICTIONS)
            log.info("%s: %d tiles, mean probability %.3f.", out, len(frame), frame["probability"].mean())


if __name__ == "__main__":
    from histo import run

    run.start(snakemake)  # noqa: F821
    predict(
        snakemake.input.weights,  # noqa: F821
        list(snakemake.input.train_shards),  # noqa: F821
        list(snakemake.input.test_shards),  # noqa: F821
        snakemake.input.folds,  # noqa: F821
        snakemake.input.tiles,  # noqa: F821
        snakemake.output.oof,  # noqa: F821
        snakemake.output.test,  # noqa: F821
        tta=snakemake.params.settings["tta"],  # noqa: F821
        threads=snakemake.threads,  # noqa: F821
    )
