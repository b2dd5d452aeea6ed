"""Map the features of a model: what its networks compute of all training tiles, in two dimensions.

The features are the input of the last linear layer. Those of a training tile are computed by the network of its fold,
which was not trained on it. Features of different networks are not comparable: each network has its own axes.
Therefore a tile is described by its cosine similarities to the same test tiles, the anchors, in the space of its
network, after the mean of the anchors is subtracted (relative representations, Moschella et al. 2023,
arXiv:2209.15430). The map shows these similarities by their first two principal components, or by UMAP (McInnes, Healy
and Melville 2018, arXiv:1802.03426).
"""

import logging
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from histo import tables
from histo.errors import InputError
from histo.networks.network import Network
from histo.tiles.node_copies import on_this_node
from histo.tiles.shards import Shard, open_shards
from histo.training import checkpoints
from histo.training.devices import claim_device, reproducible
from histo.training.engine import INFERENCE_BATCH
from histo.training.loader import TileLoader, file_order

ANCHORS = 128  # test tiles, at most
BLOCK = 8192  # tiles whose similarities are summed at a time in float64
NEIGHBOURS = 15  # of a tile whose places UMAP preserves, itself included, at most; the default of umap-learn
EXTENT = 1e-5  # cosines, from -1 to 1, that differ by less are equal up to the rounding of float32

log = logging.getLogger(__name__)


def sample(rows: pd.DataFrame, count: int) -> pd.DataFrame:
    """Return `count` random rows, all if there are fewer, in the order of their ids; always the same."""
    rows = rows.sort_values("id", ignore_index=True)
    chosen = np.random.default_rng(0).permutation(len(rows))[:count]
    return rows.iloc[np.sort(chosen)].reset_index(drop=True)


@torch.inference_mode()
def features(network: Network, tiles: TileLoader) -> Iterator[np.ndarray]:
    """Yield the input of the last linear layer (without one, of the last convolution), float64 [n, features].

    All tiles in their order, in batches. Features at several positions are averaged. Of a network without such layers,
    the logits are returned.
    """
    latest: list[Tensor] = []
    layers: list[nn.Module] = [module for module in network.modules() if isinstance(module, nn.Linear)]
    layers = layers or [module for module in network.modules() if isinstance(module, nn.Conv2d)]

    def keep(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        latest[:] = inputs[:1]

    hooks = [layer.register_forward_pre_hook(keep) for layer in layers]
    try:
        for images, _, _ in tiles.batches(file_order(len(tiles), INFERENCE_BATCH)):
            latest.clear()
            logits = network(images.permute(0, 3, 1, 2))
            found = latest[0] if latest else logits.reshape(len(images), -1)
            if found.ndim == 4:
                found = found.mean((2, 3))
            elif found.ndim == 3:  # tokens
                found = found.mean(1)
            yield found.double().cpu().numpy()
    finally:
        for hook in hooks:
            hook.remove()


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
    middle = values.mean(axis=0, dtype=np.float64)
    scatter = np.zeros((len(middle), len(middle)))
    for start in range(0, len(values), BLOCK):
        block = values[start : start + BLOCK] - middle
        scatter += block.T @ block
    # In ascending order.
    variances, directions = np.linalg.eigh(scatter)
    found, shares = np.zeros((len(values), 2)), np.zeros(2)
    count = min(2, len(variances))
    if variances[-1] > 0:
        for start in range(0, len(values), BLOCK):
            block = values[start : start + BLOCK] - middle
            found[start : start + BLOCK, :count] = block @ directions[:, : -count - 1 : -1]
        shares[:count] = np.maximum(variances[: -count - 1 : -1], 0) / variances.sum()
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


def relative_representations(
    weights: list[Path], train: dict[int, Shard], test: dict[int, Shard], tiles: pd.DataFrame, anchors: pd.DataFrame
) -> np.ndarray:
    """Return the similarities of training tiles to anchors in the networks of their folds, float32 [N, anchors].

    weights: one file per fold; tiles: `tables.FOLDS`, [N]; anchors: rows of `tables.TILES`.
    """
    relative = np.zeros((len(tiles), len(anchors)), np.float32)
    with claim_device(checkpoints.load(weights[0])["settings"]["threads"]) as device:
        for path in weights:
            checkpoint = checkpoints.load(path)
            own = np.flatnonzero(tiles["fold"] == checkpoint["fold"])
            if not len(own):
                continue
            own = own[np.lexsort((tiles["row"].iloc[own], tiles["shard"].iloc[own]))]  # read from start to end
            with reproducible(checkpoint["settings"].get("deterministic", False)):
                network = checkpoints.load_network(checkpoint).to(device)
                of_anchors = np.concatenate(list(features(network, TileLoader(test, anchors, device))))
                start = 0
                for found in features(network, TileLoader(train, tiles.iloc[own], device)):
                    relative[own[start : start + len(found)]] = similarities(found, of_anchors)
                    start += len(found)
    return relative


def feature_map(
    weights: list[Path],
    train_shards: list[str],
    test_shards: list[str],
    folds: Path,
    tiles: Path,
    output: Path,
    *,
    method: str,
) -> None:
    """Write the map of all training tiles (`tables.FEATURE_MAP`), without rows if there are no test tiles.

    weights: one file per fold; method: pca, or umap, in the place of which there is pca where the similarities of all
    tiles lie on a line.
    """
    rows = tables.read(folds, tables.FOLDS).sort_values("id", ignore_index=True)
    test = tables.read(tiles, tables.TILES, ["id", "split", "shard", "row", "label", "kept"])
    anchors = sample(test[(test["split"] == "test") & test["kept"] & (test["row"] >= 0)], ANCHORS)
    if anchors.empty:
        log.warning("No test tiles, by which the networks are compared: the map is empty.")
        empty = rows.head(0).assign(x=0.0, y=0.0, explained_x=0.0, explained_y=0.0)
        tables.write(empty, output, tables.FEATURE_MAP)
        return
    train_files, test_files = open_shards(train_shards, "train"), open_shards(test_shards, "test")
    relative = relative_representations(weights, train_files, test_files, rows, anchors)
    axes, shares = principal_components(relative, rows["label"].to_numpy(np.float64))
    log.info(
        "%d tiles by their similarities to %d test tiles; the two components explain %.3f and %.3f of the variance.",
        len(rows), len(anchors), *shares,
    )  # fmt: skip
    if method == "umap":
        found = umap_axes(relative, axes)
        if found is None:
            log.warning("The similarities lie on a line, which PCA shows completely: PCA in the place of UMAP.")
        else:
            axes, shares = found, np.full(2, np.nan)
            log.info("The map is a UMAP, which starts from these components.")
    table = rows.assign(x=axes[:, 0], y=axes[:, 1], explained_x=shares[0], explained_y=shares[1])
    tables.write(table, output, tables.FEATURE_MAP)


if __name__ == "__main__":
    from histo import job

    job.start(snakemake)
    scratch = snakemake.resources.get("scratch", "")
    feature_map(
        [Path(path) for path in snakemake.input.weights],
        on_this_node(snakemake.input.train_shards, scratch),
        on_this_node(snakemake.input.test_shards, scratch),
        Path(snakemake.input.folds),
        Path(snakemake.input.tiles),
        Path(snakemake.output[0]),
        method=snakemake.params.settings["method"],
    )
