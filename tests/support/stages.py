"""Running the stages from archive to folds by hand, as the rules would, on small archives."""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from audit import audit
from folds import folds
from groups import groups
from histo import tables
from histo.files import read_json
from index import index
from leaks import leaks
from overlaps import overlaps
from pack import pack
from unzip import unzip
from validate import validate


@dataclass
class Results:
    """Where the stages of one archive put their results; methods run them."""

    archive: Path
    root: Path
    train_shards: int = 2
    test_shards: int = 1

    def shards(self, split: str) -> list[tuple[str, int]]:
        return [(split, k) for k in range(getattr(self, f"{split}_shards"))]

    def all_shards(self) -> list[tuple[str, int]]:
        return self.shards("train") + self.shards("test")

    def validations(self, split: str | None = None) -> list[Path]:
        return [self.root / f"v-{s}-{k}.parquet" for s, k in self.all_shards() if split in (None, s)]

    def packed(self, split: str) -> list[Path]:
        return [self.root / f"{s}-{k}.h5" for s, k in self.shards(split)]

    def prepare(self, *, id_is_sha1: bool = True) -> "Results":
        """Index, unzip, validate and pack."""
        self.root.mkdir(parents=True, exist_ok=True)
        table = self.root / "index.parquet"
        counts = {"train_shards": self.train_shards, "test_shards": self.test_shards}
        index(self.archive, table, self.root / "sample.csv", **counts)
        for split, k in self.all_shards():
            part = {"split": split, "shard": k}
            folder, checked = self.root / f"u-{split}-{k}", self.root / f"v-{split}-{k}.parquet"
            unzip(self.archive, table, folder, **part)
            validate(folder, table, checked, **part, id_is_sha1=id_is_sha1)
            pack(folder, table, checked, self.root / f"{split}-{k}.h5", **part, code="test")
        return self

    def audit(self, on_fault: str = "leave_out", leave_out: tuple[str, ...] = ()) -> pd.DataFrame:
        audit(
            self.root / "index.parquet",
            self.validations(),
            self.root / "tiles.parquet",
            self.root / "audit.json",
            on_fault=on_fault,
            leave_out=leave_out,
        )
        return tables.read(self.root / "tiles.parquet", tables.TILES)

    def overlaps(self) -> pd.DataFrame:
        output = self.root / "overlaps.parquet"
        overlaps(self.validations(), self.packed("train"), self.packed("test"), output, self.root / "overlaps.json")
        return tables.read(output, tables.OVERLAPS)

    def groups(self, slides: Path | None = None) -> pd.DataFrame:
        paths = (self.root / "tiles.parquet", self.validations("train"), self.root / "overlaps.parquet")
        groups(*paths, slides, self.root / "groups.parquet")
        return tables.read(self.root / "groups.parquet", tables.GROUPS)

    def folds(self, count: int = 2, seed: int = 1) -> pd.DataFrame:
        inputs = [self.root / f"{name}.parquet" for name in ("tiles", "groups", "overlaps")]
        folds(*inputs, self.root / "folds.parquet", self.root / "folds.json", count=count, seed=seed)
        return tables.read(self.root / "folds.parquet", tables.FOLDS)

    def leaks(self) -> dict:
        overlaps, counts = self.root / "overlaps.parquet", self.root / "overlaps.json"
        rest = [self.root / f"{name}.parquet" for name in ("groups", "folds")]
        output = self.root / "leaks.json"
        leaks(self.root / "tiles.parquet", self.validations(), overlaps, counts, *rest, output)
        return read_json(output)
