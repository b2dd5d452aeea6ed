"""Assign the training tiles to folds: stratified group k-fold.

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

from histo import tables
from histo.errors import InputError
from histo.files import write_json


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


def folds(tiles: Path, groups: Path, overlaps: Path, output: Path, summary: Path, *, count: int, seed: int) -> None:
    """Write the fold of every kept training tile (`tables.FOLDS`) and a summary (JSON) with one row per fold."""
    kept = tables.read(tiles, tables.TILES, ["id", "split", "shard", "row", "label", "kept"])
    kept = kept[(kept["split"] == "train") & kept["kept"]]
    folds_table = kept.merge(tables.read(groups, tables.GROUPS), on="id", how="left", validate="1:1").sort_values("id")
    if folds_table["group"].isna().any():
        missing = int(folds_table["group"].isna().sum())
        raise InputError(f"{groups}: expected a group for each training tile, found {missing} without one. Run again.")
    found = folds_table["group"].nunique()
    if found < count:
        raise InputError(
            f"folds.count: expected at least {count} groups of tiles for {count} folds, found {found}. "
            "Set `folds.count` lower."
        )
    folds_table["fold"] = stratified_group_folds(folds_table["group"], folds_table["label"], count, seed)
    pairs = tables.read(overlaps, tables.OVERLAPS)
    check(folds_table, pairs[pairs["confirmed"]], count)
    tables.write(folds_table, output, tables.FOLDS)
    rows = summarise(folds_table)
    write_json(summary, {"folds": rows})
    for row in rows:
        logging.info("fold %(fold)d: %(tiles)d tiles, %(positives)d positive, %(groups)d groups", row)


if __name__ == "__main__":
    from histo import job

    job.start(snakemake)
    folds(
        Path(snakemake.input.tiles),
        Path(snakemake.input.groups),
        Path(snakemake.input.overlaps),
        Path(snakemake.output.folds),
        Path(snakemake.output.summary),
        **snakemake.params.settings,
    )
