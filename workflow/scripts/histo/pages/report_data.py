"""Report section on the data: tiles, faults, groups, folds, overlaps."""

from typing import Any

import pandas as pd

from histo.faults import FAULTS
from histo.pages.gallery import Shards, tile_gallery
from histo.pages.layout import evenly_spaced

LISTED = 50  # faulty tiles in the list
REASONS = {
    "slide": "same slide in the table of slides, or tissue shared with a tile of that slide",
    "overlap": "tissue shared with another tile",
    "content": "pixels identical to those of another tile",
    "alone": "no known relation to another tile",
}


def data_section(
    shards: Shards,
    audit: dict[str, Any],
    tiles: pd.DataFrame,
    folds_table: pd.DataFrame,
    folds: dict[str, Any],
    groups: pd.DataFrame,
    pairs: pd.DataFrame,
    overlaps: dict[str, Any],
    names: dict[int, str],
) -> dict[str, Any]:
    """Return counts, faults, groups, folds, overlaps and galleries of tiles.

    audit, folds, overlaps: the summaries of these stages; tiles: `tables.TILES`; folds_table: `tables.FOLDS`; groups:
    `tables.GROUPS`; pairs: the confirmed ones of `tables.OVERLAPS`; names: of the labels.
    """
    faulty = tiles[tiles["fault"] != ""]
    faulty_shown = evenly_spaced(faulty[faulty["row"] >= 0].sort_values(["fault", "id"]))
    kept = folds_table.assign(split="train").sort_values("id")
    samples = {}
    for label, name in names.items():
        rows = evenly_spaced(kept[kept["label"] == label])
        captions = [f"fold {fold}" for fold in rows["fold"]]
        samples[name] = tile_gallery(f"label-{label}", shards, rows, captions, f"label {label}, {name}")

    by_reason = groups.groupby("reason").agg(tiles=("id", "size"), groups=("group", "nunique"))
    # An id may occur in both splits; it then counts as a training tile.
    train = set(tiles.loc[tiles["split"] == "train", "id"])
    train_tiles = pairs["id_a"].isin(train).astype(int) + pairs["id_b"].isin(train)  # of each pair: 0, 1 or 2
    return {
        "audit": audit,
        "faults": [(code, FAULTS.get(code, code), counts) for code, counts in audit["faults"].items()],
        "faulty": list(faulty.head(LISTED)[["split", "id", "fault", "detail"]].itertuples(index=False)),
        "faulty_more": max(len(faulty) - LISTED, 0),
        "faulty_tiles": tile_gallery("faulty", shards, faulty_shown, faulty_shown["fault"].tolist(), "faulty tile"),
        "samples": samples,
        "reasons": [(name, text, by_reason.loc[name]) for name, text in REASONS.items() if name in by_reason.index],
        "unknown_slides": int((groups["reason"] != "slide").sum()),
        "groups": {"count": groups["group"].nunique(), "largest": int(groups["group"].value_counts().max())},
        "folds": folds["folds"],
        "overlaps": {
            "train": int((train_tiles == 2).sum()),
            "between": int((train_tiles == 1).sum()),
            "test": int((train_tiles == 0).sum()),
            "tiles": len(set(pairs["id_a"]) | set(pairs["id_b"])),
            "lossy": overlaps["lossy"],
        },
    }
