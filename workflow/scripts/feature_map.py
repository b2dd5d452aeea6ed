"""Map the features of a model: what its networks compute of tiles, in two dimensions.

The features are the input of the last linear layer. Those of a training tile are computed by the network of its fold,
which was not trained on it. Features of different networks are not comparable: each network has its own axes.
Therefore a tile is described by its cosine similarities to the same test tiles, the anchors, in the space of its
network, after the mean of the anchors is subtracted (relative representations, Moschella et al. 2023,
arXiv:2209.15430). The map shows these similarities by their first two principal components, or by UMAP (McInnes, Healy
and Melville 2018, arXiv:1802.03426).
"""

import logging
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from histo import tables
from histo.errors import InputError
from histo.networks.network import Network
from histo.tiles.shards import Shard, open_shards
from histo.training import checkpoints
from histo.training.devices import claim_device, reproducible

TILES = 1500  # training tiles on the map, at most
ANCHORS = 128  # test tiles, at most
BATCH = 128
NEIGHBOURS = 15  # of a tile whose places UMAP preserves, itself included, at most; the default of umap-learn
EXTENT = 1e-5  # cosines, from -1 to 1, that differ by less are equal up to the rounding of float32

log = logging.getLogger(__name__)


def sample(rows: pd.DataFrame, count: int) -> pd.DataFrame:
    """Return `count` random rows, all if there are fewer, in the order of their ids; always the same."""
    rows = rows.sort_values("id", ignore_index=True)
    chosen = np.random.default_rng(0).permutation(len(rows))[:count]
    return rows.iloc[np.sort(chosen)].reset_index(drop=True)


def features(network: Network, images: np.ndarray, device: torch.device) -> np.ndarray:
    """Return the input of the last linear layer (without one, of the last convolution), float64 [N, features].

    images: uint8 [N, side, side, 3], N > 0. Features at several positions are averaged. Of a network without such
    layers, the logits are returned.
    """
    latest: list[Tensor] = []
    layers: list[nn.Module] = [module for module in network.modules() if isinstance(module, nn.Linear)]
    layers = layers or [module for module in network.modules() if isinstance(module, nn.Conv2d)]

    def keep(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        latest[:] = inputs[:1]

    hooks = [layer.register_forward_pre_hook(keep) for layer in layers]
    parts = []
    with torch.inference_mode():
        for start in range(0, len(images), BATCH):
            batch = torch.from_numpy(images[start : start + BATCH]).to(device).permute(0, 3, 1, 2)
            latest.clear()
            logits = network(batch)
            found = latest[0] if latest else logits.reshape(len(batch), -1)
            if found.ndim == 4:
                found = found.mean((2, 3))
            elif found.ndim == 3:  # tokens
                found = found.mean(1)
            parts.append(found.double().cpu().numpy())
    for hook in hooks:
        hook.remove()
    return np.concatenate(parts)


def similarities(own: np.ndarray, anchors: np.ndarray) -> np.ndarray:
    """Return the cosines between tiles [N, features] and anchors [A, features] around the mean of the anchors, [N, A].

    The cosine with a vector of length 0 is 0.
    """
    middle = anchors.mean(axis=0)
    directions = []
    for values in (own - middle, anchors - middle):
        length = np.linalg.norm(values, axis=1, keepdims=True)
        directions.append(np.divide(values, length, out=np.zeros_like(values), where=length > 1e-12))
    cosines: np.ndarray = directions[0] @ directions[1].T
    return cosines


def principal_components(values: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the first two principal components, [N, 2], and their shares of the variance, [2].

    values: [N, A]; labels: [N], which fix the signs: no component correlates negatively with the label.
    """
    centred = values - values.mean(axis=0)
    left, scales, _ = np.linalg.svd(centred, full_matrices=False)
    found, shares = np.zeros((len(values), 2)), np.zeros(2)
    count = min(2, len(scales))
    found[:, :count] = left[:, :count] * scales[:count]
    if scales[0] > 0:
        shares[:count] = scales[:count] ** 2 / (scales**2).sum()
    return np.where((labels - labels.mean()) @ found < 0, -1, 1) * found, shares


def umap_axes(values: np.ndarray, start: np.ndarray) -> np.ndarray | None:
    """Return the two axes of a UMAP with a fixed seed, [N, 2]; None if there are no three rows that span a plane.

    values: cosines, [N, A], equal rows of which have equal places; start: the places from which UMAP starts, [N, 2].
    With a seed, umap-learn computes on one thread. Raises InputError if it is not installed.
    """
    # Equal rows are given once: more of them than neighbours would be torn from the others.
    _, first, places = np.unique((values / EXTENT).round(), axis=0, return_index=True, return_inverse=True)
    if len(first) < 3 or np.ptp(start[first], axis=0).min() < EXTENT:
        return None
    try:
        from umap import UMAP
    except ImportError:
        raise InputError(
            "feature_map.method: umap: expected the package umap-learn, found none. Install it: pip install umap-learn."
        ) from None
    reducer = UMAP(
        n_neighbors=min(NEIGHBOURS, len(first) - 1), init=start[first].astype(np.float32), random_state=0, n_jobs=1
    )
    found: np.ndarray = reducer.fit_transform(values[first])
    return found[places]


def read_images(shards: dict[int, Shard], rows: pd.DataFrame) -> np.ndarray:
    """Return the tiles `rows` (columns shard and row), uint8 [N, side, side, 3]."""
    return np.array([shards[shard].images[row] for shard, row in zip(rows["shard"], rows["row"], strict=True)])


def feature_map(
    weights: list[Path],
    train_shards: list[Path],
    test_shards: list[Path],
    folds: Path,
    tiles: Path,
    output: Path,
    *,
    method: str,
) -> None:
    """Write the map (`tables.FEATURE_MAP`), without rows if there are no test tiles.

    weights: one file per fold; method: pca, or umap, in the place of which there is pca where the similarities of all
    tiles lie on a line.
    """
    chosen = sample(tables.read(folds, tables.FOLDS), TILES)
    test = tables.read(tiles, tables.TILES, ["id", "split", "shard", "row", "kept"])
    anchors = sample(test[(test["split"] == "test") & test["kept"] & (test["row"] >= 0)], ANCHORS)
    if anchors.empty:
        log.warning("No test tiles, by which the networks are compared: the map is empty.")
        empty = chosen.head(0).assign(x=0.0, y=0.0, explained_x=0.0, explained_y=0.0)
        tables.write(empty, output, tables.FEATURE_MAP)
        return
    train, anchor_images = open_shards(train_shards, "train"), read_images(open_shards(test_shards, "test"), anchors)
    relative = np.zeros((len(chosen), len(anchors)))
    with claim_device(checkpoints.load(weights[0])["settings"]["threads"]) as device:
        for path in weights:
            checkpoint = checkpoints.load(path)
            own = np.flatnonzero(chosen["fold"] == checkpoint["fold"])
            if not len(own):
                continue
            with reproducible(checkpoint["settings"].get("deterministic", False)):
                network = checkpoints.load_network(checkpoint).to(device)
                images = np.concatenate([read_images(train, chosen.iloc[own]), anchor_images])
                found = features(network, images, device)
            relative[own] = similarities(found[: len(own)], found[len(own) :])
    axes, shares = principal_components(relative, chosen["label"].to_numpy(np.float64))
    log.info(
        "%d tiles by their similarities to %d test tiles; the two components explain %.3f and %.3f of the variance.",
        len(chosen), len(anchors), *shares,
    )  # fmt: skip
    if method == "umap":
        found = umap_axes(relative, axes)
        if found is None:
            log.warning("The similarities lie on a line, which PCA shows completely: PCA in the place of UMAP.")
        else:
            axes, shares = found, np.full(2, np.nan)
            log.info("The map is a UMAP, which starts from these components.")
    table = chosen.assign(x=axes[:, 0], y=axes[:, 1], explained_x=shares[0], explained_y=shares[1])
    tables.write(table, output, tables.FEATURE_MAP)


if __name__ == "__main__":
    from histo import job

    job.start(snakemake)
    feature_map(
        [Path(path) for path in snakemake.input.weights],
        [Path(path) for path in snakemake.input.train_shards],
        [Path(path) for path in snakemake.input.test_shards],
        Path(snakemake.input.folds),
        Path(snakemake.input.tiles),
        Path(snakemake.output[0]),
        method=snakemake.params.settings["method"],
    )
