"""Run the stages from archive to folds directly, without Snakemake, on small archives."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from audit import audit
from folds import folds
from groups import groups
from histo import tables
from histo.files import read_json
from histo.tiles.source import open_files
from index import index
from leaks import leaks
from overlaps import overlaps
from pack import pack
from stain_vectors import stain_vectors
from unzip import unzip
from validate import validate


def unzipped(tiles: Path, table: Path, split: str, shard: int) -> dict[str, bytes]:
    """Return the files of a shard's tiles by id; tiles: a tile file or a folder; table: the index."""
    rows = tables.read_index_of_shard(table, split, shard)
    rows = rows[rows["entry"] != ""]
    files = [bytes(file) for block in open_files(tiles, rows).blocks(5) for file in block.files()]
    return dict(zip(rows["id"], files, strict=True))


@dataclass
class Results:
    """The files of one archive's results, and methods that run the stages.

    archive: a zip archive or a folder; root: folder of the results.
    """

    archive: Path
    root: Path
    train_shards: int = 2
    test_shards: int = 1

    def shards(self, split: str | None = None) -> list[tuple[str, int]]:
        """Return the shards (split, number) of one split or of both."""
        numbers = {"train": range(self.train_shards), "test": range(self.test_shards)}
        return [(name, k) for name in numbers for k in numbers[name] if split in (None, name)]

    def validations(self, split: str | None = None) -> list[Path]:
        """Return the paths of the validation tables of one split or of both."""
        return [self.root / f"v-{name}-{k}.parquet" for name, k in self.shards(split)]

    def packed(self, split: str) -> list[Path]:
        """Return the paths of the shards of a split."""
        return [self.root / f"{name}-{k}.h5" for name, k in self.shards(split)]

    def prepare(self, *, id_is_sha1: bool = True) -> "Results":
        """Index, unzip, validate and pack."""
        self.root.mkdir(parents=True, exist_ok=True)
        table = self.root / "index.parquet"
        sample = self.root / "sample.csv"
        index(self.archive, table, sample, train_shards=self.train_shards, test_shards=self.test_shards)
        for split, k in self.shards():
            tiles, validation = self.root / f"u-{split}-{k}.tiles", self.root / f"v-{split}-{k}.parquet"
            if self.archive.is_dir():
                tiles = self.archive
            else:
                unzip(self.archive, table, tiles, split=split, shard=k)
            validate(tiles, table, validation, split=split, shard=k, id_is_sha1=id_is_sha1)
            pack(tiles, table, validation, self.root / f"{split}-{k}.h5", split=split, shard=k, code="test")
        return self

    def audit(self, on_fault: str = "leave_out", leave_out: tuple[str, ...] = ()) -> pd.DataFrame:
        """Run `audit` and return the table of tiles."""
        audit(
            self.root / "index.parquet",
            self.validations(),
            self.root / "tiles.parquet",
            self.root / "audit.json",
            on_fault=on_fault,
            leave_out=leave_out,
        )
        return tables.read(self.root / "tiles.parquet", tables.TILES)

    def overlaps(self, pixels: str = "auto") -> pd.DataFrame:
        """Run `overlaps` and return the table of overlaps."""
        output = self.root / "overlaps.parquet"
        shards = self.packed("train"), self.packed("test")
        overlaps(self.validations(), *shards, output, self.root / "overlaps.json", pixels=pixels)
        return tables.read(output, tables.OVERLAPS)

    def groups(self, slides: Path | None = None) -> pd.DataFrame:
        """Run `groups` and return the table of groups."""
        paths = (self.root / "tiles.parquet", self.validations("train"), self.root / "overlaps.parquet")
        groups(*paths, slides, self.root / "groups.parquet")
        return tables.read(self.root / "groups.parquet", tables.GROUPS)

    def folds(self, count: int = 2, seed: int = 1, by: str = "groups") -> pd.DataFrame:
        """Run `folds`, and `stain_vectors` where it is needed, and return the folds table."""
        inputs = [self.root / f"{name}.parquet" for name in ("tiles", "groups", "overlaps")]
        vectors = [self.root / f"s-{name}-{k}.parquet" for name, k in self.shards("train")] if by == "stain" else []
        for shard, output in zip(self.packed("train"), vectors, strict=False):
            stain_vectors(shard, output)
        outputs = self.root / "folds.parquet", self.root / "folds.json"
        folds(*inputs, vectors, *outputs, by=by, count=count, seed=seed)
        return tables.read(self.root / "folds.parquet", tables.FOLDS)

    def leaks(self) -> dict[str, Any]:
        """Run `leaks` and return its results."""
        overlaps, overlap_summary = self.root / "overlaps.parquet", self.root / "overlaps.json"
        groups, folds = self.root / "groups.parquet", self.root / "folds.parquet"
        output = self.root / "leaks.json"
        leaks(self.root / "tiles.parquet", self.validations(), overlaps, overlap_summary, groups, folds, output)
        return read_json(output)
