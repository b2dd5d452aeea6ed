"""Measure what could make scores too good: tissue that tiles share, and how it falls across folds and splits.

Training and validation share pixels when two tiles of one place of a slide lie on either side. Folds drawn at random
do that to most tiles that overlap at all; the folds of this run must not, and here that is counted, not assumed. The
other figures say what a network could use besides tissue: the number of neighbours, and colour.
"""

import logging
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.model_selection import StratifiedGroupKFold

from histo import tables
from histo.files import read_json, write_json
from histo.metrics import auc, auc_interval
from histo.tiles.overlap_graph import components, equal_links, positions
from histo.tiles.quality import REMARKS, remarks

SPLITS = ("train", "test")
SEEDS = 10  # random deals that the leak of random folds is averaged over
SAMPLE = 10_000  # tiles of each split from which train and test are told apart: seconds, and an AUC good to ± 0.01
PARTS = 5  # of the cross-validation that tells train from test


def leaking(fold: np.ndarray, links: np.ndarray) -> float:
    """Return the share of tiles that, when their fold validates, share pixels with a tile of another fold.

    fold: int [N]; links: int64 [M, 2], pairs of tiles that share pixels.
    """
    parted = links[fold[links[:, 0]] != fold[links[:, 1]]]
    return len(np.unique(parted)) / len(fold)


def leak(fold: np.ndarray, links: np.ndarray) -> dict[str, Any]:
    """Return the leak of these folds and of as many folds of equal size drawn at random."""
    count = len(np.unique(fold))
    deal = np.arange(len(fold)) % count
    shares = [leaking(np.random.default_rng(seed).permutation(deal), links) for seed in range(SEEDS)]
    return {
        "tiles": len(fold),
        "folds": count,
        "ours": leaking(fold, links),
        "random": float(np.mean(shares)),
        "random_lowest": min(shares),
        "random_highest": max(shares),
    }


def neighbour_counts(count: int, links: np.ndarray) -> np.ndarray:
    """Return how many other tiles each of `count` tiles overlaps, int64 [count]; a pair counts once."""
    distinct = np.unique(np.sort(links, axis=1), axis=0)
    return np.bincount(distinct.ravel(), minlength=count)


def neighbours(labels: np.ndarray, counts: np.ndarray) -> dict[str, Any]:
    """Return how well the number of neighbours, int64 [N], predicts the label, 0 or 1 [N], and both by number."""
    low, high = auc_interval(labels, counts)
    top = 5
    rows = []
    for number in range(top + 1):
        here = counts == number if number < top else counts >= number
        positives = int((labels[here] == 1).sum())
        rows.append({"neighbours": number, "tiles": int(here.sum()), "positives": positives})
    return {"auc": auc(labels, counts), "auc_low": low, "auc_high": high, "at_least": top, "rows": rows}


def duplicates(tiles: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the sets of tiles with equal pixels, each with its tiles (split, id, label).

    tiles: id, split, label, pixels_sha1 of the tiles with pixels.
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


def sharing(split: np.ndarray, links: np.ndarray) -> dict[str, Any]:
    """Return counts of pairs and components; split: "train" or "test" [N]; links: int64 [M, 2] of overlapping tiles."""
    train = split == "train"
    sides = train[links].sum(1)
    component = components(len(split), links)
    sizes = np.bincount(component)
    between = links[sides == 1].ravel()
    crossing = {name: int(np.isin(np.unique(between), np.flatnonzero(split == name)).sum()) for name in SPLITS}
    size, count = np.unique(sizes[sizes > 1], return_counts=True)
    return {
        "pairs": {
            "train": int((sides == 2).sum()),
            "test": int((sides == 0).sum()),
            "between": int((sides == 1).sum()),
        },
        "tiles": len(np.unique(links)),
        "components": int((sizes > 1).sum()),
        "component_sizes": [{"tiles": int(s), "components": int(c)} for s, c in zip(size, count, strict=True)],
        "crossing_tiles": crossing,
        "crossing_share": {name: crossing[name] / max(int((split == name).sum()), 1) for name in SPLITS},
    }


def adversarial(split: np.ndarray, colours: np.ndarray, bundle: np.ndarray) -> dict[str, Any]:
    """Return how well colour statistics, float [N, F], tell train from test; 0.5: not at all, 1: always.

    Cross-validated; tiles of one bundle (int [N]: tiles of one slide, as far as known) stay in one part, so that they
    are told apart by what their splits have in common, not by having met their neighbours. `auc` is None where the
    bundles are too few or cannot be shared out.
    """
    random = np.random.default_rng(0)
    chosen = []
    for name in SPLITS:
        here = np.flatnonzero(split == name)
        chosen.append(np.sort(random.choice(here, min(SAMPLE, len(here)), replace=False)))
    sample = np.concatenate(chosen)
    is_test, colours, bundle = (split[sample] == "test").astype(int), colours[sample], bundle[sample]
    parts = min(PARTS, *(len(np.unique(bundle[is_test == side])) for side in (0, 1)))
    result = {"tiles": {name: len(rows) for name, rows in zip(SPLITS, chosen, strict=True)}, "parts": parts}
    if parts < 2:
        return result | {"auc": None, "single": {}}
    scores = np.empty(len(sample))
    shuffled = StratifiedGroupKFold(parts, shuffle=True, random_state=0)
    for fit, rest in shuffled.split(colours, is_test, bundle):
        if len(np.unique(is_test[fit])) < 2:
            return result | {"auc": None, "single": {}}
        model = HistGradientBoostingClassifier(max_iter=60, early_stopping=False, random_state=0)
        scores[rest] = model.fit(colours[fit], is_test[fit]).predict_proba(colours[rest])[:, -1]
    single = {name: auc(is_test, colours[:, k]) for k, name in enumerate(tables.COLOUR)}
    return result | {"auc": auc(is_test, scores), "single": single}


def leaks(
    tiles: Path, validations: list[Path], overlaps: Path, passed_over: Path, groups: Path, folds: Path, output: Path
) -> None:
    """Write all figures as JSON; passed_over: the counts of the stage `overlaps`."""
    start = time.perf_counter()
    every = tables.read(tiles, tables.TILES)
    contents = pd.concat(tables.read(path, tables.VALIDATION, ["id", "split", "pixels_sha1"]) for path in validations)
    pairs = tables.read(overlaps, tables.OVERLAPS)
    confirmed = pairs[pairs["confirmed"]]

    # Training tiles come first: an id that stands in both splits counts for training.
    packed = every[every["row"] >= 0].sort_values(["split", "id"], ascending=[False, True], ignore_index=True)
    packed = packed.merge(contents, on=["id", "split"], how="left", validate="1:1")
    links, _ = positions(packed["id"], confirmed)
    split = packed["split"].to_numpy(object)

    deal = tables.read(folds, tables.FOLDS)
    same = deal[["id"]].merge(packed.loc[packed["split"] == "train", ["id", "pixels_sha1"]], on="id", how="left")
    fold_links = np.concatenate([positions(deal["id"], confirmed)[0], equal_links(same["pixels_sha1"])])

    counts = pd.Series(neighbour_counts(len(packed), links), index=packed["id"]).groupby(level=0).max()
    known = tables.read(groups, tables.GROUPS, ["id", "group"]).assign(split="train")
    bundle = packed[["id", "split"]].merge(known, on=["id", "split"], how="left")["group"]
    used = packed["kept"].to_numpy()
    colours = packed[list(tables.COLOUR)].to_numpy(np.float64)
    together = components(len(packed), np.concatenate([links, equal_links(bundle)]))

    sets = duplicates(packed)
    remark = remarks(every)
    result = {
        "duplicates": {
            "tiles": sum(len(one["tiles"]) for one in sets),
            "conflicts": sum(one["conflict"] for one in sets),
            "in_both_splits": sum(one["both_splits"] for one in sets),
            "sets": sets,
        },
        "overlaps": sharing(split, links)
        | {"unconfirmed": int((~pairs["confirmed"]).sum()), "search": read_json(passed_over)},
        "leak": leak(deal["fold"].to_numpy(), fold_links),
        "neighbours": neighbours(deal["label"].to_numpy(), counts.loc[deal["id"]].to_numpy()),
        "adversarial": adversarial(split[used], colours[used], together[used]),
        "remarks": {
            name: {part: every.loc[(remark == name) & (every["split"] == part), "id"].tolist() for part in SPLITS}
            for name in REMARKS
        },
    }
    write_json(output, result)
    logging.info(
        "random folds leak %.1f %% of the tiles, these %.1f %%; AUC of the number of neighbours %.3f; in %.1f s",
        100 * result["leak"]["random"],
        100 * result["leak"]["ours"],
        result["neighbours"]["auc"],
        time.perf_counter() - start,
    )


if __name__ == "__main__":
    from histo import job

    job.start(snakemake)
    single = ("tiles", "overlaps", "passed_over", "groups", "folds")
    leaks(
        **{name: Path(snakemake.input[name]) for name in single},
        validations=[Path(path) for path in snakemake.input.validations],
        output=Path(snakemake.output[0]),
    )
