"""Decide which tiles are used: join the verdicts on all tiles and apply the policy `audit.on_fault`.

`fail` ends the run at the first look at a faulty tile, `leave_out` goes on without it. Either way the log lists every
fault, and nothing has to be unpacked again after a change of mind.

Sound training tiles that are blank, black or blurred are used unless `audit.leave_out` names them; test tiles always
are, since each needs an answer.
"""

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from histo import tables
from histo.errors import InputError
from histo.files import write_json
from histo.tiles.quality import remarks

SHOWN = 10  # faults that an error names


def join(index: pd.DataFrame, validations: list[pd.DataFrame]) -> pd.DataFrame:
    """Join index and validation rows to one row per tile (`tables.TILES`), sorted by split and id, `kept` unset."""
    checked = pd.concat(validations, ignore_index=True)
    packed = checked["pixels_sha1"] != ""
    # A shard holds the tiles that have pixels, in the order of the validation table.
    checked["row"] = np.where(packed, packed.groupby([checked["split"], checked["shard"]]).cumsum() - 1, -1)
    tiles = index[["id", "split", "label"]].merge(checked, on=["id", "split"], how="left", validate="1:1")
    if tiles["shard"].isna().any():
        raise InputError(f"{int(tiles['shard'].isna().sum())} tiles of the index were never validated. Run again.")
    return tiles


def mark_conflicts(tiles: pd.DataFrame) -> None:
    """Mark sound training tiles whose pixels occur under another id with another label."""
    sound = tiles[(tiles["split"] == "train") & (tiles["fault"] == "")]
    labels = sound.groupby("pixels_sha1")["label"].transform("nunique")
    for sha1, copies in sound[labels > 1].groupby("pixels_sha1"):
        tiles.loc[copies.index, "fault"] = "conflicting_copies"
        # Every copy carries this text, so it must not name all of thousands.
        more = f" and {len(copies) - SHOWN} more" if len(copies) > SHOWN else ""
        tiles.loc[copies.index, "detail"] = f"pixels {sha1} under {', '.join(copies['id'][:SHOWN])}{more}"


def leave_out_faint(tiles: pd.DataFrame, unwanted: Sequence[str]) -> dict[str, int]:
    """Take the kept training tiles with one of the `unwanted` remarks out; return how many that are by remark."""
    remark = np.where(tiles["kept"] & (tiles["split"] == "train"), remarks(tiles), "")
    for name in unwanted:
        tiles.loc[remark == name, "kept"] = False
        tiles.loc[remark == name, "detail"] = f"{name}: audit.leave_out"
    return {name: int((remark == name).sum()) for name in unwanted}


def count(tiles: pd.DataFrame) -> dict:
    """Return the figures of the audit: tiles, kept tiles and faults by split, share of positives, copies."""
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
        "positives": int((labels == 1).sum()),
        "positive_share": float((labels == 1).mean()) if len(labels) else 0.0,
        "copies": int(contents["pixels_sha1"].duplicated().sum()),
        "in_both_splits": int((contents.groupby("pixels_sha1")["split"].nunique() > 1).sum()),
    }


def describe(faulty: pd.DataFrame) -> list[str]:
    """Return one line per faulty tile."""
    return [f"{row.split}/{row.id}: {row.fault}: {row.detail}" for row in faulty.itertuples()]


def audit(
    index: Path, validations: list[Path], output: Path, figures: Path, *, on_fault: str, leave_out: Sequence[str] = ()
) -> None:
    """Write the verdict on every tile (`tables.TILES`) and the audit's figures; InputError when the policy says so.

    on_fault: "fail" or "leave_out"; leave_out: keys of `remarks.REMARKS`, whose training tiles are not used.
    """
    columns = [name for name in tables.VALIDATION.names if name != "blocks"]
    tiles = join(
        tables.read(index, tables.INDEX), [tables.read(path, tables.VALIDATION, columns) for path in validations]
    )
    sound = tiles[(tiles["row"] >= 0) & (tiles["fault"] == "")]
    contents = sound.groupby("id")["pixels_sha1"].nunique()
    if (contents > 1).any():
        raise InputError(
            f"{index}: expected an id to name one picture, found {int((contents > 1).sum())} ids with different pixels "
            f"in train and in test, such as {contents.idxmax()}. Rename the tiles of one split."
        )
    mark_conflicts(tiles)
    faulty = tiles[tiles["fault"] != ""]
    tiles["kept"] = (tiles["fault"] == "") & (tiles["row"] >= 0)
    for line in describe(faulty):
        logging.warning("%s", line)
    if len(faulty) and on_fault == "fail":
        lines = describe(faulty)
        listed = "\n".join(["", *lines[:SHOWN]]) + (f"\n… and {len(lines) - SHOWN} more" if len(lines) > SHOWN else "")
        raise InputError(
            f"{len(faulty)} of {len(tiles)} tiles have a fault (this log lists all):{listed}\n"
            "Mend the archive, or set `audit: {on_fault: leave_out}` to go on without these tiles."
        )
    left_out = leave_out_faint(tiles, leave_out)
    result = count(tiles) | {"left_out": left_out}
    if not 0 < result["positives"] < result["kept"]["train"]:
        raise InputError(
            f"{index}: expected training tiles of both classes, found {result['positives']} positives among "
            f"{result['kept']['train']} usable tiles. Check the labels and the faults above."
        )
    tables.write(tiles, output, tables.TILES)
    write_json(figures, result)
    logging.info("kept %(train)d training and %(test)d test tiles", result["kept"])


if __name__ == "__main__":
    from histo import job

    job.start(snakemake)
    audit(
        Path(snakemake.input.index),
        [Path(path) for path in snakemake.input.validations],
        Path(snakemake.output.tiles),
        Path(snakemake.output.figures),
        **snakemake.params.settings,
    )
