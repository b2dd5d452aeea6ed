"""Decide which tiles are used: join the validation of all tiles and apply the policy `audit.on_fault`.

The policy `fail` ends the run if any tile has a fault; `leave_out` excludes faulty tiles and continues. In both cases
the log lists every fault, and a change of the policy does not require unpacking again.

Training tiles without a fault that are blank, black or blurred are used unless `audit.leave_out` names this quality
flag; test tiles are always used, since each needs a prediction.
"""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from histo import tables
from histo.errors import InputError
from histo.faulty_tiles import describe, refused
from histo.files import write_json
from histo.tiles.quality import quality_flags

MAX_LISTED = 10  # copies named in one message


def join(index: pd.DataFrame, validations: list[pd.DataFrame]) -> pd.DataFrame:
    """Join index and validation to one row per tile in the order of the index: `tables.TILES` except `kept`."""
    validated = pd.concat(validations, ignore_index=True)
    packed = validated["pixels_sha1"] != ""
    # A shard contains the tiles that have pixels, in the order of the validation table.
    validated["row"] = np.where(packed, packed.groupby([validated["split"], validated["shard"]]).cumsum() - 1, -1)
    tiles = index[["id", "split", "label"]].merge(validated, on=["id", "split"], how="left", validate="1:1")
    if tiles["shard"].isna().any():
        raise InputError(f"{int(tiles['shard'].isna().sum())} tiles of the index were not validated. Run again.")
    return tiles


def mark_conflicts(tiles: pd.DataFrame) -> None:
    """Set the fault of training tiles that have the same pixels as a tile with another id and another label."""
    valid = tiles[(tiles["split"] == "train") & (tiles["fault"] == "")]
    labels = valid.groupby("pixels_sha1")["label"].transform("nunique")
    for sha1, copies in valid[labels > 1].groupby("pixels_sha1"):
        tiles.loc[copies.index, "fault"] = "conflicting_copies"
        # The text is stored for every copy: with thousands of copies it must not list all of them.
        more = f" and {len(copies) - MAX_LISTED} more" if len(copies) > MAX_LISTED else ""
        tiles.loc[copies.index, "detail"] = f"pixels {sha1} under {', '.join(copies['id'][:MAX_LISTED])}{more}"


def exclude_flagged(tiles: pd.DataFrame, excluded: Sequence[str]) -> dict[str, int]:
    """Exclude the kept training tiles that have one of the `excluded` quality flags; return their number by flag."""
    flag = np.where(tiles["kept"] & (tiles["split"] == "train"), quality_flags(tiles), "")
    for name in excluded:
        tiles.loc[flag == name, "kept"] = False
        tiles.loc[flag == name, "detail"] = f"{name}: audit.leave_out"
    return {name: int((flag == name).sum()) for name in excluded}


def summarise(tiles: pd.DataFrame, classes: int = 2) -> dict[str, Any]:
    """Return the numbers of tiles, kept tiles and faults by split, the share of positives, the number of copies.

    Positives have a label above 0. With more than two classes, "labels" has the number of training tiles of each.
    """
    split = tiles["split"]
    kept = tiles[tiles["kept"]]
    labels = kept.loc[kept["split"] == "train", "label"]
    contents = tiles.loc[tiles["row"] >= 0, ["pixels_sha1", "split"]]
    faults = {}
    for fault, rows in tiles[tiles["fault"] != ""].groupby("fault"):
        faults[fault] = {name: int((rows["split"] == name).sum()) for name in ("train", "test")}
    return {
        "tiles": {name: int((split == name).sum()) for name in ("train", "test")},
        "kept": {name: int((kept["split"] == name).sum()) for name in ("train", "test")},
        "faults": faults,
        "positives": int((labels > 0).sum()),
        "positive_share": float((labels > 0).mean()) if len(labels) else 0.0,
        **({"labels": np.bincount(labels[labels >= 0], minlength=classes).tolist()} if classes > 2 else {}),
        "copies": int(contents["pixels_sha1"].duplicated().sum()),
        "in_both_splits": int((contents.groupby("pixels_sha1")["split"].nunique() > 1).sum()),
    }


def audit(
    index: Path,
    validations: list[Path],
    output: Path,
    summary: Path,
    *,
    on_fault: str,
    leave_out: Sequence[str] = (),
    classes: int = 2,
) -> None:
    """Write the result for every tile (`tables.TILES`) and a summary (JSON, `summarise`).

    on_fault: "fail" or "leave_out"; leave_out: quality flags (keys of `quality.QUALITY_FLAGS`) whose training tiles are
    excluded; classes: of the labels. Raises InputError for a faulty tile if `on_fault` is "fail", and when too little
    is left for training.
    """
    columns = [name for name in tables.VALIDATION.names if name != "blocks"]
    tiles = join(
        tables.read(index, tables.INDEX), [tables.read(path, tables.VALIDATION, columns) for path in validations]
    )
    valid = tiles[(tiles["row"] >= 0) & (tiles["fault"] == "")]
    contents = valid.groupby("id")["pixels_sha1"].nunique()
    if (contents > 1).any():
        raise InputError(
            f"{index}: expected each id to name one tile, found {int((contents > 1).sum())} ids with different pixels "
            f"in train and in test, such as {contents.idxmax()}. Rename the tiles of one split."
        )
    mark_conflicts(tiles)
    faulty = tiles[tiles["fault"] != ""]
    tiles["kept"] = (tiles["fault"] == "") & (tiles["row"] >= 0)
    for line in describe(faulty):
        logging.warning("%s", line)
    if len(faulty) and on_fault == "fail":
        raise refused(faulty, len(tiles))
    left_out = exclude_flagged(tiles, leave_out)
    result = summarise(tiles, classes) | {"left_out": left_out}
    if not 0 < result["positives"] < result["kept"]["train"]:
        raise InputError(
            f"{index}: expected training tiles of both classes, found {result['positives']} positives among "
            f"{result['kept']['train']} usable tiles. Check the labels and the faults listed above."
        )
    if "labels" in result and not all(result["labels"]):
        raise InputError(
            f"{index}: expected training tiles of each of {classes} classes, found {result['labels']} usable tiles of "
            "the labels from 0 on. Check the labels, dataset.classes and the faults listed above."
        )
    tables.write(tiles, output, tables.TILES)
    write_json(summary, result)
    logging.info("kept %(train)d training and %(test)d test tiles", result["kept"])


if __name__ == "__main__":
    from histo import job

    job.start(snakemake)
    audit(
        Path(snakemake.input.index),
        [Path(path) for path in snakemake.input.validations],
        Path(snakemake.output.tiles),
        Path(snakemake.output.summary),
        **snakemake.params.settings,
    )
