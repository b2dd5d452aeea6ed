"""Measure what could make scores too optimistic: data leakage between folds and splits, and shortcuts.

Training and validation share pixels when two overlapping tiles are in different folds. Random folds cause this for most
tiles that overlap at all; the folds of this run must not, which this stage verifies by counting. It also measures
shortcuts, which a network could use instead of the tissue: the number of neighbours of a tile, and colour.
"""

import logging
import time
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.model_selection import StratifiedGroupKFold

from histo import tables
from histo.files import read_json, write_json
from histo.metrics import auc
from histo.statistics.clustered_auc import stratified_auc
from histo.tiles.overlap_graph import components, equal_links, positions
from histo.tiles.quality import QUALITY_FLAGS, quality_flags

SPLITS = ("train", "test")
SEEDS = 10  # random assignments to folds, over which the leakage of random folds is averaged
SAMPLE = 10_000  # tiles per split in adversarial validation: takes seconds, gives the AUC to ± 0.01
PARTS = 5  # folds of the cross-validation in adversarial validation
RANDOM_SPLITS = 20  # with which the AUC is compared; by chance it exceeds all of them in 1 of 21 cases

Links = npt.NDArray[np.int64]  # [M, 2], pairs of tiles as row numbers


def leaking_share(fold: npt.NDArray[np.integer], links: Links) -> float:
    """Return the share of tiles that share pixels with a tile of another fold.

    fold: int [N]; links: int64 [M, 2], pairs of tiles that share pixels.
    """
    between_folds = links[fold[links[:, 0]] != fold[links[:, 1]]]
    return len(np.unique(between_folds)) / len(fold)


def leakage(fold: npt.NDArray[np.integer], links: Links) -> dict[str, Any]:
    """Return the leakage of these folds, and of the same number of random folds of equal size."""
    count = len(np.unique(fold))
    equal_folds = np.arange(len(fold)) % count
    shares = [leaking_share(np.random.default_rng(seed).permutation(equal_folds), links) for seed in range(SEEDS)]
    return {
        "tiles": len(fold),
        "folds": count,
        "ours": leaking_share(fold, links),
        "random": float(np.mean(shares)),
        "random_lowest": min(shares),
        "random_highest": max(shares),
    }


def neighbour_counts(count: int, links: Links) -> npt.NDArray[np.int64]:
    """Return the number of other tiles that each of `count` tiles overlaps, int64 [count]; a pair counts once."""
    distinct = np.unique(np.sort(links, axis=1), axis=0)
    return np.bincount(distinct.ravel(), minlength=count)


def neighbours(
    labels: npt.NDArray[np.integer], counts: npt.NDArray[np.int64], groups: npt.NDArray[Any]
) -> dict[str, Any]:
    """Return the AUC of the number of neighbours as a predictor of the label, and tiles and positives by number.

    labels: [N], of which those above 0 count as positive; counts: int64 [N]; groups: of tiles that are correlated, any
    sortable values [N]. The interval of the AUC treats groups as independent.
    """
    labels = (labels > 0).astype(labels.dtype)
    found = stratified_auc(labels, counts.astype(np.float64), np.unique(groups, return_inverse=True)[1])
    low, high = found.interval()
    top = 5
    rows = []
    for number in range(top + 1):
        in_row = counts == number if number < top else counts >= number
        positives = int((labels[in_row] == 1).sum())
        rows.append({"neighbours": number, "tiles": int(in_row.sum()), "positives": positives})
    return {"auc": float(found.values[0]), "auc_low": low, "auc_high": high, "at_least": top, "rows": rows}


def duplicates(tiles: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the sets of tiles with equal pixels, each with its tiles (split, id, label).

    tiles: id, split, label, pixels_sha1 of the tiles that have pixels.
    """
    copies = tiles[tiles["pixels_sha1"].duplicated(keep=False)].sort_values(["pixels_sha1", "split", "id"])
    sets = []
    for sha1, rows in copies.groupby("pixels_sha1"):
        known = rows.loc[rows["split"] == "train", "label"]
        sets.append(
            {
                "pixels_sha1": sha1,
                "conflict": known[known >= 0].nunique() > 1,
                "both_splits": rows["split"].nunique() > 1,
                "tiles": rows[["split", "id", "label"]].to_dict("records"),
            }
        )
    return sets


def overlap_counts(split: npt.NDArray[np.object_], links: Links) -> dict[str, Any]:
    """Return counts of overlapping pairs and of connected components, within and between the splits.

    split: "train" or "test" [N]; links: int64 [M, 2] of overlapping tiles.
    """
    train = split == "train"
    train_tiles = train[links].sum(1)
    component = components(len(split), links)
    sizes = np.bincount(component)
    between = links[train_tiles == 1].ravel()
    crossing = {name: int(np.isin(np.unique(between), np.flatnonzero(split == name)).sum()) for name in SPLITS}
    size, count = np.unique(sizes[sizes > 1], return_counts=True)
    return {
        "pairs": {
            "train": int((train_tiles == 2).sum()),
            "test": int((train_tiles == 0).sum()),
            "between": int((train_tiles == 1).sum()),
        },
        "tiles": len(np.unique(links)),
        "components": int((sizes > 1).sum()),
        "component_sizes": [{"tiles": int(s), "components": int(c)} for s, c in zip(size, count, strict=True)],
        "crossing_tiles": crossing,
        "crossing_share": {name: crossing[name] / max(int((split == name).sum()), 1) for name in SPLITS},
    }


def adversarial_validation(
    split: npt.NDArray[np.object_], colours: npt.NDArray[np.float64], slide: npt.NDArray[np.integer]
) -> dict[str, Any]:
    """Return the AUC at which colour statistics, float [N, F], distinguish train from test (0.5: chance, 1: always).

    Stratified group k-fold cross-validation. The groups are the tiles of one slide as far as known (slide: int [N]), so
    that the model learns differences between the splits and cannot recognise slides. `auc` is None where there are too
    few groups or where a training part would have one split only.
    """
    random = np.random.default_rng(0)
    chosen = []
    for name in SPLITS:
        members = np.flatnonzero(split == name)
        chosen.append(np.sort(random.choice(members, min(SAMPLE, len(members)), replace=False)))
    sample = np.concatenate(chosen)
    is_test, colours, slide = (split[sample] == "test").astype(int), colours[sample], slide[sample]
    parts = min(PARTS, *(len(np.unique(slide[is_test == value])) for value in (0, 1)))
    result = {"tiles": {name: len(rows) for name, rows in zip(SPLITS, chosen, strict=True)}, "parts": parts}
    if parts < 2:
        return result | {"auc": None, "single": {}}
    scores = np.empty(len(sample))
    splitter = StratifiedGroupKFold(parts, shuffle=True, random_state=0)
    for fit, rest in splitter.split(colours, is_test, slide):
        if len(np.unique(is_test[fit])) < 2:
            return result | {"auc": None, "single": {}}
        model = HistGradientBoostingClassifier(max_iter=60, early_stopping=False, random_state=0)
        scores[rest] = model.fit(colours[fit], is_test[fit]).predict_proba(colours[rest])[:, -1]
    single = {name: auc(is_test, colours[:, k]) for k, name in enumerate(tables.COLOUR)}
    return result | {"auc": auc(is_test, scores), "single": single}


def random_splits(
    colours: npt.NDArray[np.float64],
    slide: npt.NDArray[np.integer],
    tissue: npt.NDArray[np.integer],
    share: float,
    count: int = RANDOM_SPLITS,
) -> dict[str, Any] | None:
    """Return what `adversarial_validation` finds for random splits of the training tiles, where nothing differs.

    Each split draws slides at random until they have this share of the tiles; they play the test tiles, whose slides
    are unknown to the classifier, so that it can recognise them as it can those of the real test tiles. The AUC is
    above 0.5 for such splits too, because slides differ and there are few of them.

    colours: float [N, F]; slide: int [N], the slide of each training tile as far as known; tissue: int [N], equal for
    tiles that share tissue; share: of the test tiles. Returns {"splits", "lowest", "median", "highest"}, or None where
    some of `count` splits have no AUC.
    """
    _, slide, sizes = np.unique(slide, return_inverse=True, return_counts=True)
    aucs = []
    for seed in range(count):
        order = np.random.default_rng(seed).permutation(len(sizes))
        before = np.cumsum(sizes[order]) - sizes[order]
        drawn = np.isin(slide, order[before < share * len(slide)])
        split = np.where(drawn, "test", "train").astype(object)
        found = adversarial_validation(split, colours, np.where(drawn, len(sizes) + tissue, slide))["auc"]
        if found is None:
            return None
        aucs.append(found)
    return {"splits": count, "lowest": min(aucs), "median": float(np.median(aucs)), "highest": max(aucs)}


def leaks(
    tiles: Path, validations: list[Path], overlaps: Path, overlap_summary: Path, groups: Path, folds: Path, output: Path
) -> None:
    """Write all results as JSON; overlap_summary: the summary written by `overlaps`."""
    start = time.perf_counter()
    all_tiles = tables.read(tiles, tables.TILES)
    contents = pd.concat(tables.read(path, tables.VALIDATION, ["id", "split", "pixels_sha1"]) for path in validations)
    pairs = tables.read(overlaps, tables.OVERLAPS)
    confirmed = pairs[pairs["confirmed"]]

    # Training tiles first: an id that occurs in both splits counts as a training tile.
    packed = all_tiles[all_tiles["row"] >= 0].sort_values(["split", "id"], ascending=[False, True], ignore_index=True)
    packed = packed.merge(contents, on=["id", "split"], how="left", validate="1:1")
    links, _ = positions(packed["id"], confirmed)
    split = packed["split"].to_numpy(object)

    folds_table = tables.read(folds, tables.FOLDS)
    hashes = packed.loc[packed["split"] == "train", ["id", "pixels_sha1"]]
    copies = equal_links(folds_table[["id"]].merge(hashes, on="id", how="left")["pixels_sha1"])
    fold_links = np.concatenate([positions(folds_table["id"], confirmed)[0], copies])

    counts = pd.Series(neighbour_counts(len(packed), links), index=packed["id"]).groupby(level=0).max()
    known = tables.read(groups, tables.GROUPS).assign(split="train")
    group = packed[["id", "split"]].merge(known, on=["id", "split"], how="left")["group"]
    used = packed["kept"].to_numpy()
    colours = packed[list(tables.COLOUR)].to_numpy(np.float64)
    slide, tissue = components(len(packed), np.concatenate([links, equal_links(group)])), components(len(packed), links)
    train = used & (split == "train")
    adversarial = adversarial_validation(split[used], colours[used], slide[used])
    reference = None
    if adversarial["auc"] is not None:
        reference = random_splits(colours[train], slide[train], tissue[train], 1 - train.sum() / used.sum())

    sets = duplicates(packed)
    flag = quality_flags(all_tiles)
    result = {
        "duplicates": {
            "tiles": sum(len(one["tiles"]) for one in sets),
            "conflicts": sum(one["conflict"] for one in sets),
            "in_both_splits": sum(one["both_splits"] for one in sets),
            "sets": sets,
        },
        "overlaps": overlap_counts(split, links)
        | {"unconfirmed": int((~pairs["confirmed"]).sum()), "search": read_json(overlap_summary)},
        "leak": leakage(folds_table["fold"].to_numpy(), fold_links),
        "neighbours": neighbours(
            folds_table["label"].to_numpy(),
            counts.loc[folds_table["id"]].to_numpy(),
            folds_table["group"].to_numpy(),
        ),
        "adversarial": adversarial
        | {"random_splits": reference, "slides_known": float((known["reason"] == "slide").mean())},
        "remarks": {
            name: {part: all_tiles.loc[(flag == name) & (all_tiles["split"] == part), "id"].tolist() for part in SPLITS}
            for name in QUALITY_FLAGS
        },
    }
    write_json(output, result)
    logging.info(
        "tiles that share pixels across folds: random folds %.1f %%, these folds %.1f %%; "
        "AUC of the number of neighbours %.3f; in %.1f s",
        100 * result["leak"]["random"],
        100 * result["leak"]["ours"],
        result["neighbours"]["auc"],
        time.perf_counter() - start,
    )


if __name__ == "__main__":
    from histo import job

    job.start(snakemake)
    single = ("tiles", "overlaps", "overlap_summary", "groups", "folds")
    leaks(
        **{name: Path(snakemake.input[name]) for name in single},
        validations=[Path(path) for path in snakemake.input.validations],
        output=Path(snakemake.output[0]),
    )
