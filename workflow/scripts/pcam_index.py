"""List the tiles of PatchCamelyon: give each an id and a shard, and set the labels of its valid and test parts aside.

The id of a tile is the SHA-1 of its pixels, as in Kaggle's archive, whose tiles are PatchCamelyon's without copies.
PatchCamelyon was sampled with repetition: the second, third, … occurrence of the same pixels, in the order train,
valid, test, gets the first 33 digits of the SHA-1, a hyphen and its number, so that ids are unique and 40 characters
hold them. No tile is dropped, so that figures on the test part are comparable with published ones. Copies among the
training tiles stay in one fold (`groups`).

The training part is the training split; the valid and test parts together are the test split, and stand for the public
and the private part of a leaderboard. Shards are slices of the files as they are.
"""

import hashlib
import logging
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd

from histo import tables
from histo.errors import InputError
from histo.files import atomic_write
from histo.tiles.geometry import TILE_BYTES
from histo.tiles.pcam import LEADERBOARD, open_tiles, read_labels, read_slices

PREFIX = 33  # digits of the SHA-1 in the id of a copy; the number after the hyphen has up to 6


def hash_tiles(path: Path) -> list[str]:
    """Return the SHA-1 of the pixels of every tile of a part, hexadecimal, in the order of the file."""
    with open_tiles(path) as tiles:
        return [
            hashlib.sha1(tile, usedforsecurity=False).hexdigest()
            for images in read_slices(tiles, 0, len(tiles))
            for tile in images
        ]


def make_ids(hashes: list[str]) -> list[str]:
    """Return an id for each tile: its SHA-1, or for its n-th occurrence (n from 2) `<33 digits>-<n>`."""
    seen: Counter[str] = Counter()
    ids = []
    for text in hashes:
        seen[text] += 1
        ids.append(text if seen[text] == 1 else f"{text[:PREFIX]}-{seen[text]}")
    return ids


def list_tiles(
    found: dict[str, tuple[list[str], np.ndarray]], parts: dict[str, list[str]], shards: dict[str, int]
) -> pd.DataFrame:
    """Return one row per tile in the order train, valid, test: the columns of `tables.INDEX`, `label` known throughout.

    found: by part the SHA-1 of each tile and its label; parts: their names by split; shards: their number by split.
    """
    frames = []
    for split, names in parts.items():
        for name in names:
            hashes, labels = found[name]
            frame = pd.DataFrame({"sha1": hashes, "label": labels, "entry": name, "split": split})
            frames.append(frame.assign(offset=np.arange(len(frame))))
    tiles = pd.concat(frames, ignore_index=True)
    tiles["id"] = make_ids(tiles["sha1"].tolist())
    for split, count in shards.items():
        here = np.flatnonzero(tiles["split"] == split)
        for number, part in enumerate(np.array_split(here, count)):
            tiles.loc[part, "shard"] = number
    return tiles.assign(compressed=TILE_BYTES, size=TILE_BYTES, crc=0, method=0, fault="", detail="")


def pcam_index(
    images: list[Path],
    labels: list[Path],
    output: Path,
    sample: Path,
    truth: Path,
    *,
    parts: dict[str, list[str]],
    shards: dict[str, int],
) -> None:
    """Write the index (`tables.INDEX`), a sample submission and the labels of the test split.

    images, labels: of each part the unpacked HDF5 file of tiles and the gzipped one of labels; parts: their names by
    split, in the same order; shards: their number by split; truth: CSV id,label,part, part is "public" or "private".
    """
    found = {}
    names = [name for split in parts for name in parts[split]]
    for name, tiles_path, labels_path in zip(names, images, labels, strict=True):
        hashes, values = found[name] = hash_tiles(tiles_path), read_labels(labels_path)
        if len(hashes) != len(values):
            raise InputError(
                f"{labels_path}: expected {len(hashes)} labels, as many as there are tiles in {tiles_path}, found "
                f"{len(values)}. Delete what was downloaded and run again."
            )
        logging.info("%s: %d tiles, %d of them positive", name, len(values), int(values.sum()))
    tiles = list_tiles(found, parts, shards)
    copies = tiles[tiles["sha1"].duplicated(keep=False)].groupby("sha1")["split"].nunique()
    logging.info("%d pixels occur more than once, %d in both splits", len(copies), int((copies > 1).sum()))

    test = tiles[tiles["split"] == "test"]
    for path, frame in (
        (sample, test[["id"]].assign(label=0)),
        (truth, test[["id", "label"]].assign(part=test["entry"].map(LEADERBOARD))),
    ):
        with atomic_write(path) as temporary:
            frame.to_csv(temporary, index=False, lineterminator="\n")
    tiles.loc[test.index, "label"] = -1
    # As in the index of an archive: training tiles first, then by id.
    tables.write(tiles.sort_values(["split", "id"], ascending=[False, True]), output, tables.INDEX)


if __name__ == "__main__":
    from histo import job

    job.start(snakemake)
    pcam_index(
        [Path(path) for path in snakemake.input.images],
        [Path(path) for path in snakemake.input.labels],
        Path(snakemake.output.index),
        Path(snakemake.output.sample),
        Path(snakemake.output.truth),
        **snakemake.params.settings,
    )
