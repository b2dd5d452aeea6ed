"""Attribute the predictions of a model to pixels: where on the tile does the network look?

Integrated gradients (Sundararajan, Taly and Yan 2017, arXiv:1703.01365) of the logit of tumour (of more than two
classes, of the predicted class), along the straight line from a tile of the mean colour to the tile. They add up to
the difference of the two logits. Each tile is explained by the network of its fold, which was not trained on it. The
tiles are those that the model is most confident about, as many for each label, classified correctly and misclassified.
"""

import logging
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from captum.attr import IntegratedGradients
from scipy.ndimage import gaussian_filter

from histo import tables
from histo.errors import InputError
from histo.geometry import Geometry
from histo.networks.network import Network
from histo.predictions import join_folds
from histo.tiles.shards import geometry_of, open_shards
from histo.training import checkpoints
from histo.training.devices import claim_device, reproducible

TILES = 32  # in all; fixed, so that the time does not depend on the number of tiles of the data set
STEPS = 16  # of the integral
BATCH = 64  # tiles in one forward pass
SMOOTHING = 3.0  # standard deviation of the Gaussian that smooths a map, pixels

log = logging.getLogger(__name__)


def confident_tiles(frame: pd.DataFrame, classes: int) -> pd.DataFrame:
    """Return the tiles to explain, the most confident of each label first, classified correctly and then misclassified.

    frame: label and probabilities (`tables.probability_values`). The rows get `guess`, the predicted label, and
    `confidence`, its probability.
    """
    values = tables.probability_values(frame)
    values = np.stack([1 - values, values], axis=1) if values.ndim == 1 else values
    guess = (values[:, 1] >= 0.5).astype(int) if classes == 2 else values.argmax(axis=1)
    frame = frame.assign(guess=guess, confidence=values[np.arange(len(values)), guess])
    frame = frame.sort_values(["confidence", "id"], ascending=[False, True])
    count = max(1, TILES // (2 * classes))
    parts = [
        frame[(frame["label"] == label) & ((frame["guess"] == label) == right)].head(count)
        for right in (True, False)
        for label in range(classes)
    ]
    return pd.concat(parts, ignore_index=True)


def attributions(
    network: Network, images: np.ndarray, guesses: np.ndarray, geometry: Geometry, device: torch.device
) -> tuple[np.ndarray, np.ndarray]:
    """Return the attribution of each pixel, float64 [N, side, side], and the error of each tile, float64 [N].

    images: uint8 [N, side, side, 3]; guesses: the predicted label of each. The attribution is the sum over the
    channels. The error is the difference between the sum of the attributions and that of the logits, which the number
    of steps causes, divided by the sum of the absolute attributions. Raises InputError if the network does not pass
    gradients to its input.
    """
    inputs = torch.from_numpy(images).to(device).permute(0, 3, 1, 2).float() / 255
    if not network(inputs[:1].clone().requires_grad_()).requires_grad:
        raise InputError(
            "network: expected logits with a gradient with respect to the pixels, found none. Freeze layers by "
            "requires_grad_(False) on their parameters, not by torch.no_grad or detach in `forward`."
        )
    target = None if geometry.outputs == 1 else torch.from_numpy(guesses).to(device)
    found, errors = IntegratedGradients(network).attribute(
        inputs, network.mean.expand_as(inputs), target=target, n_steps=STEPS,
        internal_batch_size=max(BATCH, len(inputs)), return_convergence_delta=True,
    )  # fmt: skip
    pixels = found.sum(1).double().cpu().numpy()
    return pixels, np.abs(errors.cpu().numpy()) / np.maximum(np.abs(pixels).sum((1, 2)), np.finfo(float).tiny)


def centre_shares(pixels: np.ndarray, geometry: Geometry) -> np.ndarray:
    """Return the share of the absolute attribution inside the central square, float [N]; NaN where all of it is 0."""
    start, stop = (geometry.tile_side - geometry.centre_side) // 2, (geometry.tile_side + geometry.centre_side) // 2
    size = np.abs(pixels)
    inside, total = size[:, start:stop, start:stop].sum((1, 2)), size.sum((1, 2))
    shares: np.ndarray = np.divide(inside, total, out=np.full(len(total), np.nan), where=total > 0)
    return shares


def maps(pixels: np.ndarray) -> np.ndarray:
    """Return smoothed attributions as int8 [N, side, side]: of each tile, ±127 is the largest absolute value."""
    smooth = gaussian_filter(pixels, SMOOTHING, axes=(1, 2))
    largest = np.abs(smooth).max((1, 2), keepdims=True)
    return np.divide(127 * smooth, largest, out=np.zeros_like(smooth), where=largest > 0).round().astype(np.int8)


def saliency(weights: list[Path], shards: list[Path], folds: Path, predictions: list[Path], output: Path) -> None:
    """Write the table of explained tiles (`tables.saliency`); weights and predictions (out-of-fold): one per fold."""
    opened = open_shards(shards, "train")
    geometry = geometry_of(opened)
    folds_table = tables.read(folds, tables.FOLDS)
    frame = join_folds(predictions, folds_table).merge(folds_table[["id", "shard", "row"]], on="id")
    chosen = confident_tiles(frame, geometry.classes)
    parts = []
    with claim_device(checkpoints.load(weights[0])["settings"]["threads"]) as device:
        for path in weights:
            checkpoint = checkpoints.load(path)
            rows = chosen[chosen["fold"] == checkpoint["fold"]]
            if rows.empty:
                continue
            with reproducible(checkpoint["settings"].get("deterministic", False)):
                network = checkpoints.load_network(checkpoint).to(device).requires_grad_(False)
                images = np.array([opened[row.shard].images[row.row] for row in rows.itertuples()])
                pixels, errors = attributions(network, images, rows["guess"].to_numpy(), geometry, device)
            parts.append(
                rows.assign(
                    share=centre_shares(pixels, geometry), area=(geometry.centre_side / network.crop) ** 2,
                    error=errors, map=list(maps(pixels).reshape(len(rows), -1)),
                )
            )  # fmt: skip
    table = pd.concat(parts).sort_index()  # as in `chosen`
    tables.write(table, output, tables.saliency(geometry.tile_side))
    log.info(
        "%d tiles; %.3f of the attribution is in the central square, which has %.3f of the area. Error of the "
        "integral: median %.3f, largest %.3f.",
        len(table), table["share"].mean(), table["area"].iloc[0], table["error"].median(), table["error"].max(),
    )  # fmt: skip


if __name__ == "__main__":
    from histo import job

    job.start(snakemake)
    saliency(
        [Path(path) for path in snakemake.input.weights],
        [Path(path) for path in snakemake.input.shards],
        Path(snakemake.input.folds),
        [Path(path) for path in snakemake.input.predictions],
        Path(snakemake.output[0]),
    )
