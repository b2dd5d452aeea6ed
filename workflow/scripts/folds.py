"""Deal the training tiles out to folds: whole groups, with both classes shared out evenly.

The result depends on the tiles, their groups and the seed, not on the order of any file. It is checked here, at every
run: no group in two folds, no two tiles that share tissue in different folds.
"""

import hashlib
import logging
from pathlib import Path

import numpy as np
import pandas as pd

from histo import tables
from histo.errors import InputError
from histo.files import write_json


def deal(groups: pd.Series, labels: pd.Series, count: int, seed: int) -> np.ndarray:
    """Return the fold of each tile, int64 [N] in 0 … count - 1.

    Greedy, as for scheduling (Graham, SIAM J. Appl. Math. 17(2), 1969): groups from the largest down, each to the
    fold where it adds least to the squared sizes of both classes. Groups of one size come in an order drawn from the
    seed and their names.
    """
    sizes = pd.DataFrame({"negative": labels == 0, "positive": labels == 1}).groupby(groups).sum()
    draw = [hashlib.sha256(f"{seed} {name}".encode()).hexdigest() for name in sizes.index]
    sizes = sizes.assign(size=-sizes.sum(axis=1), draw=draw).sort_values(["size", "draw"])
    tiles = sizes[["negative", "positive"]].to_numpy(float)
    weight = 1 / np.maximum(tiles.sum(0), 1) ** 2
    held = np.zeros((count, 2))
    fold_of = np.empty(len(tiles), np.int64)
    for i, added in enumerate(tiles):
        fold = int(np.argmin((2 * held + added) @ (added * weight)))
        held[fold] += added
        fold_of[i] = fold
    return pd.Series(fold_of, index=sizes.index)[groups].to_numpy()


def check(frame: pd.DataFrame, pairs: pd.DataFrame, count: int) -> None:
    """InputError unless each fold has both classes; AssertionError when a group or an overlap is parted.

    frame: id, label, group, fold; pairs: id_a, id_b of tiles that share tissue.
    """
    spread = frame.groupby("group")["fold"].nunique()
    if (spread > 1).any():
        raise AssertionError(f"groups in more than one fold: {list(spread[spread > 1].index[:5])}")
    fold = frame.set_index("id")["fold"]
    fold_a, fold_b = pairs["id_a"].map(fold), pairs["id_b"].map(fold)
    parted = pairs[fold_a.notna() & fold_b.notna() & (fold_a != fold_b)]
    if len(parted):
        raise AssertionError(f"tiles that share tissue in different folds: {parted.head().to_dict('records')}")
    classes = frame.groupby("fold")["label"].nunique().reindex(range(count), fill_value=0)
    if (classes < 2).any():
        raise InputError(
            f"Fold {int(classes.idxmin())} of {count} has no tiles of one class: {frame['group'].nunique()} groups of "
            "tiles cannot be shared out better. Set `folds.count` lower."
        )


def summary(frame: pd.DataFrame) -> list[dict]:
    """Return one row per fold: tiles, positives, their share, groups."""
    rows = []
    for fold, part in frame.groupby("fold"):
        positives = int((part["label"] == 1).sum())
        row = {"fold": int(fold), "tiles": len(part), "positives": positives}
        rows.append(row | {"positive_share": positives / len(part), "groups": int(part["group"].nunique())})
    return rows


def folds(tiles: Path, groups: Path, overlaps: Path, output: Path, figures: Path, *, count: int, seed: int) -> None:
    """Write the fold of every kept training tile (`tables.FOLDS`) and one row of figures per fold."""
    frame = tables.read(tiles, tables.TILES, ["id", "split", "shard", "row", "label", "kept"])
    frame = frame[(frame["split"] == "train") & frame["kept"]]
    frame = frame.merge(tables.read(groups, tables.GROUPS), on="id", how="left", validate="1:1").sort_values("id")
    if frame["group"].isna().any():
        raise InputError(f"{groups}: {int(frame['group'].isna().sum())} training tiles have no group. Run again.")
    if frame["group"].nunique() < count:
        raise InputError(
            f"{frame['group'].nunique()} groups of tiles cannot make {count} folds. Set `folds.count` lower."
        )
    frame["fold"] = deal(frame["group"], frame["label"], count, seed)
    pairs = tables.read(overlaps, tables.OVERLAPS)
    check(frame, pairs[pairs["confirmed"]], count)
    tables.write(frame, output, tables.FOLDS)
    rows = summary(frame)
    write_json(figures, {"folds": rows})
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
        Path(snakemake.output.figures),
        **snakemake.params.settings,
    )
