"""List the tiles of PatchCamelyon: assign ids and shards, and separate the labels of the valid and test parts.

The id of a tile is the SHA-1 of its pixels, as in Kaggle's archive, which has PatchCamelyon's tiles without duplicates.
PatchCamelyon was sampled with replacement. The n-th occurrence (n from 2) of the same pixels, in the order train,
valid, test, gets the first 33 digits of the SHA-1, a hyphen and n as its id, so that ids are unique and have at most 40
characters. All tiles are kept, so that metrics on the test part are comparable with published ones. Copies among the
training tiles are in one fold (`groups`).

The training part is the training split. The valid and test parts together are the test split; they stand for the public
and the private part of a leaderboard. Each shard is a slice of the files in their original order.
"""

import hashlib
import logging
from collections import Counter
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from histo import tables
from histo.errors import InputError
from histo.files import atomic_write
from histo.geometry import TILE_BYTES
from histo.tiles.pcam import LEADERBOARD, open_tiles, read_labels, read_slices

PREFIX = 33  # digits of the SHA-1 in the id of a copy; a hyphen and up to 6 digits follow


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
    contents: dict[str, tuple[list[str], npt.NDArray[np.int8]]], parts: dict[str, list[str]], shards: dict[str, int]
) -> pd.DataFrame:
    """Return one row per tile in the order train, valid, test: the columns of `tables.INDEX`, all labels included.

    contents: by part, the SHA-1 of each tile and its label; parts: names of the parts by split; shards: number of
    shards by split.
    """
    frames = []
    for split, names in parts.items():
        for name in names:
            hashes, labels = contents[name]
            frame = pd.DataFrame({"sha1": hashes, "label": labels, "entry": name, "split": split})
            frames.append(frame.assign(offset=np.arange(len(frame))))
    tiles = pd.concat(frames, ignore_index=True)
    tiles["id"] = make_ids(tiles["sha1"].tolist())
    for split, count in shards.items():
        rows = np.flatnonzero(tiles["split"] == split)
        for number, part in enumerate(np.array_split(rows, count)):
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

    images, labels: for each part, the unpacked HDF5 file of tiles and the gzipped HDF5 file of labels; parts: names of
    the parts by split, in the same order; shards: number of shards by split; truth: CSV id,label,part of the test
    split, where part is "public" or "private". Raises InputError for a file that is not as published.
    """
    contents = {}
    names = [name for split in parts for name in parts[split]]
    for name, tiles_path, labels_path in zip(names, images, labels, strict=True):
        hashes, values = contents[name] = hash_tiles(tiles_path), read_labels(labels_path)
        if len(hashes) != len(values):
            raise InputError(
                f"{labels_path}: expected {len(hashes)} labels, one for each tile in {tiles_path}, found "
                f"{len(values)}. Delete the downloaded files and run again."
            )
        logging.info("%s: %d tiles, %d positive", name, len(values), int(values.sum()))
    tiles = list_tiles(contents, parts, shards)
    copies = tiles[tiles["sha1"].duplicated(keep=False)].groupby("sha1")["split"].nunique()
    logging.info("%d sets of tiles with equal pixels, %d of them in both splits", len(copies), int((copies > 1).sum()))

    test = tiles[tiles["split"] == "test"]
    for path, frame in (
        (sample, test[["id"]].assign(label=0)),
        (truth, test[["id", "label"]].assign(part=test["entry"].map(LEADERBOARD))),
    ):
        with atomic_write(path) as temporary:
            frame.to_csv(temporary, index=False, lineterminator="\n")
    tiles.loc[test.index, "label"] = -1
    # Sorted as the index of an archive: training tiles first, then by id.
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
