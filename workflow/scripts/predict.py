"""Predict with one network: the tiles of its validation fold (out-of-fold), all test tiles, or both.

Writes two tables (id, fold, logit, probability, logit_none, logit_flips; of more than two classes id, fold and one
probability and one logit per class). The weights file contains crop and
normalisation, so test tiles are processed like training tiles. Prediction is a stage of its own, so that a change of
test-time augmentation does not repeat training. The last two columns hold the logits with less augmentation, which show
the gain of test-time augmentation without another run.
"""

import logging

from histo import tables
from histo.errors import InputError
from histo.tiles.node_copies import on_this_node
from histo.tiles.shards import open_shards
from histo.training import checkpoints
from histo.training.devices import claim_device, reproducible
from histo.training.loader import TileLoader
from histo.training.prediction import predictions

log = logging.getLogger(__name__)


def predict(
    weights: str,
    train_shards: list[str],
    test_shards: list[str],
    folds: str,
    tiles: str,
    oof_out: str | None,
    test_out: str | None,
    *,
    tta: str,
    average: str,
) -> None:
    """Write the out-of-fold table (all tiles of the model's validation fold) and the test table (all kept test tiles).

    oof_out: None for a network that was trained on all tiles; its predictions have the fold -1. test_out: None for one
    whose predictions of the test tiles nothing uses. tta: none, flips or all (1, 4 or 8 views); average: logits or
    probabilities. Raises InputError for unusable input.
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
    with (
        claim_device(checkpoint["settings"]["threads"]) as device,
        reproducible(checkpoint["settings"].get("deterministic", False)),
    ):
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
    scratch = snakemake.resources.get("scratch", "")
    predict(
        snakemake.input.weights,
        on_this_node(snakemake.input.train_shards, scratch),
        on_this_node(snakemake.input.test_shards, scratch),
        snakemake.input.folds,
        snakemake.input.tiles,
        snakemake.output.get("oof"),
        snakemake.output.get("test"),
        **snakemake.params.settings,
    )
