"""PatchCamelyon in miniature: six gzipped HDF5 files of the same format, with repeated tiles as in the original."""

import gzip
import hashlib
import io
from pathlib import Path

import h5py
import numpy as np
import pandas as pd

from histo import tables
from pcam_gunzip import pcam_gunzip
from pcam_index import pcam_index

PARTS = ("train", "valid", "test")
SPLITS = {"train": ["train"], "test": ["valid", "test"]}


def gzipped(**datasets: np.ndarray) -> bytes:
    """Return a gzipped HDF5 file with chunked datasets, as in the original files."""
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        for name, values in datasets.items():
            file.create_dataset(name, data=values, chunks=(min(7, len(values)), *values.shape[1:]))
    return gzip.compress(buffer.getvalue(), 1, mtime=0)


class Pcam:
    """Synthetic tiles and labels by part. A positive tile has a bright centre; tiles 3 and 5 of a part equal tile 0."""

    def __init__(self, random: np.random.Generator, train: int = 40, valid: int = 12, test: int = 14) -> None:
        self.tiles, self.labels = {}, {}
        for part, count in zip(PARTS, (train, valid, test), strict=True):
            self.labels[part] = np.arange(count, dtype=np.uint8) % 2
            self.labels[part][[3, 5]] = 0
            self.tiles[part] = random.integers(0, 200, (count, 96, 96, 3), dtype=np.uint8)
            self.tiles[part][self.labels[part] == 1, 32:64, 32:64] += 55
            self.tiles[part][[3, 5]] = self.tiles[part][0]

    def files(self) -> dict[str, bytes]:
        """Return the six files by name."""
        files = {}
        for part in PARTS:
            name = f"camelyonpatch_level_2_split_{part}"
            files[f"{name}_x.h5.gz"] = gzipped(x=self.tiles[part])
            files[f"{name}_y.h5.gz"] = gzipped(y=self.labels[part].reshape(-1, 1, 1, 1))
        return files

    def indexed(self, folder: Path) -> tuple[pd.DataFrame, dict[str, Path]]:
        """Unpack and index the files with 3 and 2 shards; return the index and the unpacked files of tiles by part."""
        images, labels = {}, {}
        for name, content in self.files().items():
            (folder / name).write_bytes(content)
            part, kind = name.removesuffix(".h5.gz").split("_")[-2:]
            if kind == "x":
                images[part] = folder / f"{part}.h5"
                pcam_gunzip(folder / name, images[part])
            else:
                labels[part] = folder / name
        outputs = [folder / name for name in ("index.parquet", "sample.csv", "truth.csv")]
        ordered = [[paths[part] for part in PARTS] for paths in (images, labels)]
        pcam_index(*ordered, *outputs, parts=SPLITS, shards={"train": 3, "test": 2})
        return tables.read(outputs[0], tables.INDEX), images


def md5s(files: dict[str, bytes]) -> dict[str, str]:
    """Return the setting pcam_download.md5 for the given files: MD5 by part and kind, such as train_x."""
    prefix = "camelyonpatch_level_2_split_"
    return {
        name.removeprefix(prefix).removesuffix(".h5.gz"): hashlib.md5(content).hexdigest()
        for name, content in files.items()
    }
