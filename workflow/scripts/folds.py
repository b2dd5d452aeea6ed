"""Assign the training tiles to folds: stratified group k-fold, or by stain.

Folds by groups are random, so that all folds show the same laboratories. Folds by stain have groups of similar stain
in one fold: what a model reaches there is an estimate for a laboratory whose colours it has not seen.

The result depends on the tiles, their groups and the seed, not on the order of rows in any file. Every run checks that
no group is split across folds and that tiles that share tissue are in the same fold.
"""

import hashlib
import logging
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.spatial import cKDTree

from histo import tables
from histo.errors import InputError
from histo.files import write_json
from histo.tiles.stain_vectors import BANDS, SCHEMA, stain_vectors

ROUNDS = 20  # of moving the centres of folds by stain
STEPS = 40  # of adjusting the prices of the folds, in each round
NEIGHBOURS = 10  # groups of most similar stain that `same_fold_neighbours` looks at
SAMPLE = 2000  # groups for which it does


def stratified_group_folds(groups: pd.Series, labels: pd.Series, count: int, seed: int) -> npt.NDArray[np.int64]:
    """Return the fold of each tile, int64 [N] in 0 … count - 1.

    Greedy, as in scheduling (Graham, SIAM J. Appl. Math. 17(2), 1969): in descending order of size, each group goes to
    the fold where it increases the squared sizes of the classes least. Groups of equal size are in an order that is
    random, determined by the seed and their names.
    """
    classes = list(range(max(2, int(labels.max()) + 1)))
    sizes = pd.DataFrame({k: labels == k for k in classes}).groupby(groups).sum()
    draw = [hashlib.sha256(f"{seed} {name}".encode()).hexdigest() for name in sizes.index]
    sizes = sizes.assign(size=-sizes.sum(axis=1), draw=draw).sort_values(["size", "draw"])
    group_sizes = sizes[classes].to_numpy(float)
    weight = 1 / np.maximum(group_sizes.sum(0), 1) ** 2
    fold_sizes = np.zeros((count, len(classes)))
    fold_of = np.empty(len(group_sizes), np.int64)
    for i, added in enumerate(group_sizes):
        fold = int(np.argmin((2 * fold_sizes + added) @ (added * weight)))
        fold_sizes[fold] += added
        fold_of[i] = fold
    return pd.Series(fold_of, index=sizes.index)[groups].to_numpy()


def sampled_groups(groups: pd.Series, labels: pd.Series, fraction: float, seed: int) -> npt.NDArray[np.bool_]:
    """Return which tiles are in a sample of whole groups, bool [N]: about `fraction` of the tiles of each class.

    Groups are stratified by their commonest label and taken in an order that is random, determined by the seed and
    their names, until the share is reached. A smaller fraction is therefore a subset of a larger one.
    """
    sizes = pd.DataFrame({k: labels == k for k in sorted(set(labels))}).groupby(groups).sum()
    draw = [hashlib.sha256(f"sample {seed} {name}".encode()).hexdigest() for name in sizes.index]
    tiles = sizes.sum(axis=1)
    ordered = pd.DataFrame({"stratum": sizes.idxmax(axis=1), "tiles": tiles, "draw": draw}).sort_values("draw")
    by_stratum = ordered.groupby("stratum")["tiles"]
    before = by_stratum.cumsum() - ordered["tiles"]
    taken = before < fraction * by_stratum.transform("sum")
    return taken[groups].to_numpy()


def stain_folds(
    groups: pd.Series, labels: pd.Series, sums: npt.NDArray[np.float32], count: int, seed: int
) -> tuple[npt.NDArray[np.int64], float]:
    """Return the fold of each tile, int64 [N] in 0 … count - 1, with groups of similar stain in one fold.

    sums: `band_sums` of each tile, float32 [N, BANDS, 3]. Also returns `same_fold_neighbours`.
    """
    names, group = np.unique(groups.to_numpy(object).astype(str), return_inverse=True)
    found = range(int(labels.max()) + 1)
    sizes = np.stack([np.bincount(group[labels == label], minlength=len(names)) for label in found], axis=1)
    tiles = sizes.sum(1).astype(float)
    flat = sums.reshape(len(sums), -1).astype(np.float64)
    means = np.stack([np.bincount(group, column, len(names)) for column in flat.T], axis=1) / tiles[:, np.newaxis]
    vectors = stain_vectors(means.reshape(len(names), BANDS, 3), tiles)
    fold = balanced_clusters(vectors, sizes, count, seed)
    return fold[group], same_fold_neighbours(vectors, fold)


def balanced_clusters(
    vectors: npt.NDArray[np.float64], sizes: npt.NDArray[np.int64], count: int, seed: int
) -> npt.NDArray[np.int64]:
    """Cluster groups by their vectors such that all clusters have about as many tiles of each class: int64 [G].

    vectors: float [G, F]; sizes: tiles of each class, int64 [G, classes]. k-means whose clusters charge a price per
    tile of each class; prices rise where a cluster is too full (subgradient ascent on the dual of the transport
    problem). The first centres are those of k-means++ (Arthur & Vassilvitskii, SODA 2007).
    """
    random = np.random.default_rng(seed)
    tiles = sizes.sum(1)
    centres = vectors[[random.choice(len(vectors), p=tiles / tiles.sum())]]
    while len(centres) < count:
        nearest = ((vectors[:, np.newaxis] - centres) ** 2).sum(2).min(1) * tiles
        total = nearest.sum()
        chance = nearest / total if total > 0 else tiles / tiles.sum()
        centres = np.concatenate([centres, vectors[[random.choice(len(vectors), p=chance)]]])
    classes = np.maximum(sizes.sum(0), 1)
    mixture = sizes / tiles[:, np.newaxis]
    prices = np.zeros((sizes.shape[1], count))
    for number in range(ROUNDS):
        distance = ((vectors**2).sum(1)[:, np.newaxis] - 2 * vectors @ centres.T) + (centres**2).sum(1)
        scale = distance.mean()
        best = np.inf
        for step in range(STEPS):
            fold = np.argmin(distance + mixture @ prices, axis=1)
            filled = np.stack([np.bincount(fold, column, count) for column in sizes.T]) / classes[:, np.newaxis]
            excess = filled * count - 1
            if np.abs(excess).max() < best:
                best, fold_of = float(np.abs(excess).max()), fold
            prices += scale * excess / (2 + number + step)
        weights = np.bincount(fold_of, tiles, count)
        sums = np.stack([np.bincount(fold_of, column * tiles, count) for column in vectors.T], axis=1)
        centres = np.where(weights[:, np.newaxis] > 0, sums / np.maximum(weights, 1)[:, np.newaxis], centres)
    return fold_of


def same_fold_neighbours(vectors: npt.NDArray[np.float64], fold: npt.NDArray[np.int64]) -> float:
    """Return the share of the `NEIGHBOURS` groups of most similar stain that are in a group's own fold.

    vectors: float [G, F]; fold: int [G]. The mean over up to `SAMPLE` groups; random folds have 1 / count.
    """
    sample = np.random.default_rng(0).permutation(len(vectors))[:SAMPLE]
    _, nearest = cKDTree(vectors).query(vectors[sample], min(NEIGHBOURS + 1, len(vectors)))
    return float((fold[nearest[:, 1:]] == fold[sample][:, np.newaxis]).mean())


def check(folds_table: pd.DataFrame, pairs: pd.DataFrame, count: int) -> None:
    """Check that no group and no overlap is split across folds, and that each fold has all classes.

    folds_table: id, label, group, fold; pairs: id_a, id_b of tiles that share tissue. Raises AssertionError for a group
    or an overlap that is split (a bug), InputError for a fold without one of the classes (too few groups).
    """
    folds_per_group = folds_table.groupby("group")["fold"].nunique()
    if (folds_per_group > 1).any():
        names = list(folds_per_group[folds_per_group > 1].index[:5])
        raise AssertionError(f"Bug: do not train on these folds: groups in more than one fold: {names}")
    fold = folds_table.set_index("id")["fold"]
    fold_a, fold_b = pairs["id_a"].map(fold), pairs["id_b"].map(fold)
    split = pairs[fold_a.notna() & fold_b.notna() & (fold_a != fold_b)]
    if len(split):
        records = split.head().to_dict("records")
        raise AssertionError(f"Bug: do not train on these folds: tiles that share tissue in different folds: {records}")
    classes = folds_table.groupby("fold")["label"].nunique().reindex(range(count), fill_value=0)
    expected = max(2, folds_table["label"].nunique())
    if (classes < expected).any():
        wrong, group_count = classes.to_numpy().argmin(), folds_table["group"].nunique()
        wanted = "both" if expected == 2 else f"all {expected}"
        raise InputError(
            f"folds.count: expected {wanted} classes in each of {count} folds, found fold {wrong} without one of them: "
            f"{group_count} groups of tiles are too few. Set `folds.count` lower."
        )


def summarise(folds_table: pd.DataFrame) -> list[dict[str, Any]]:
    """Return one row per fold: tiles, positives, share of positives, groups."""
    rows = []
    for fold, part in folds_table.groupby("fold"):
        positives = int((part["label"] > 0).sum())
        row = {"fold": int(fold), "tiles": len(part), "positives": positives}
        rows.append(row | {"positive_share": positives / len(part), "groups": int(part["group"].nunique())})
    return rows


def read_sums(vectors: list[Path], ids: pd.Series) -> npt.NDArray[np.float32]:
    """Return the `band_sums` of tiles, float32 [N, BANDS, 3]; vectors: paths of `stain_vectors.SCHEMA`."""
    measured = pd.concat([tables.read(path, SCHEMA) for path in vectors], ignore_index=True).set_index("id")["sums"]
    return np.stack(measured.loc[ids].tolist()).reshape(len(ids), BANDS, 3)


def folds(
    tiles: Path,
    groups: Path,
    overlaps: Path,
    vectors: list[Path],
    output: Path,
    summary: Path,
    *,
    by: str,
    count: int,
    seed: int,
    fraction: float = 1.0,
) -> None:
    """Write the fold of every kept training tile (`tables.FOLDS`) and a summary (JSON) with one row per fold.

    by: "groups" or "stain", which needs the tables `vectors` of the stage `stain_vectors`; fraction: see
    `sampled_groups`; the other tiles are not in the table.
    """
    kept = tables.read(tiles, tables.TILES, ["id", "split", "shard", "row", "label", "kept"])
    kept = kept[(kept["split"] == "train") & kept["kept"]]
    folds_table = kept.merge(tables.read(groups, tables.GROUPS), on="id", how="left", validate="1:1").sort_values("id")
    if folds_table["group"].isna().any():
        missing = int(folds_table["group"].isna().sum())
        raise InputError(f"{groups}: expected a group for each training tile, found {missing} without one. Run again.")
    total = len(folds_table)
    if fraction < 1:
        folds_table = folds_table[sampled_groups(folds_table["group"], folds_table["label"], fraction, seed)]
        logging.info("%d of %d training tiles, by folds.fraction", len(folds_table), total)
    found = folds_table["group"].nunique()
    if found < count:
        raise InputError(
            f"folds.count: expected at least {count} groups of tiles for {count} folds, found {found}. "
            "Set `folds.count` lower."
        )
    result: dict[str, Any] = {"by": by, "tiles": len(folds_table), "of": total}
    if by == "stain":
        sums = read_sums(vectors, folds_table["id"])
        fold, similar = stain_folds(folds_table["group"], folds_table["label"], sums, count, seed)
        result["same_fold_neighbours"] = similar
        logging.info("by stain: %.0f %% of the groups of most similar stain are in one fold", 100 * similar)
    else:
        fold = stratified_group_folds(folds_table["group"], folds_table["label"], count, seed)
    folds_table["fold"] = fold
    pairs = tables.read(overlaps, tables.OVERLAPS)
    check(folds_table, pairs[pairs["confirmed"]], count)
    tables.write(folds_table, output, tables.FOLDS)
    rows = summarise(folds_table)
    write_json(summary, result | {"folds": rows})
    for row in rows:
        logging.info("fold %(fold)d: %(tiles)d tiles, %(positives)d positive, %(groups)d groups", row)


if __name__ == "__main__":
    from histo import job

    job.start(snakemake)
    folds(
        Path(snakemake.input.tiles),
        Path(snakemake.input.groups),
        Path(snakemake.input.overlaps),
        [Path(path) for path in snakemake.input.vectors],
        Path(snakemake.output.folds),
        Path(snakemake.output.summary),
        **snakemake.params.settings,
    )
