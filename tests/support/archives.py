"""Small synthetic archives in Kaggle's layout."""

import hashlib
import zipfile
from pathlib import Path

import numpy as np
import numpy.typing as npt

from histo.geometry import SHAPE
from histo.synthetic.tiff import tiff

TABLES = {"train": "train_labels.csv", "test": "sample_submission.csv"}


def sha1(pixels: npt.NDArray[np.uint8]) -> str:
    """Return the id of a tile: the SHA-1 of its pixels, uint8 [96, 96, 3]."""
    return hashlib.sha1(pixels.tobytes()).hexdigest()


class Archive:
    """A small archive of random tiles in Kaggle's layout; change `files` and `tables`, then `write` it.

    Attributes: train, test: sorted ids; pixels: uint8 [96, 96, 3] by id; labels: text by id of the training tiles,
    alternately "0" and "1"; files: content by name; tables: text by name.
    """

    def __init__(self, random: np.random.Generator, train: int = 12, test: int = 6) -> None:
        pixels = random.integers(0, 256, (train + test, *SHAPE), dtype=np.uint8)
        self.pixels = {sha1(tile): tile for tile in pixels}
        ids = list(self.pixels)
        self.train, self.test = sorted(ids[:train]), sorted(ids[train:])
        self.labels = {name: str(i % 2) for i, name in enumerate(self.train)}
        self.files = {f"train/{name}.tif": tiff(self.pixels[name]) for name in self.train}
        self.files |= {f"test/{name}.tif": tiff(self.pixels[name]) for name in self.test}
        self.tables = {
            "train_labels.csv": "id,label\n" + "".join(f"{k},{v}\n" for k, v in self.labels.items()),
            "sample_submission.csv": "id,label\n" + "".join(f"{k},0\n" for k in reversed(self.test)),
        }

    def add(self, split: str, pixels: npt.NDArray[np.uint8], label: int = 0) -> str:
        """Add a tile, uint8 [96, 96, 3], to `files` and `tables`; return its id."""
        name = sha1(pixels)
        self.files[f"{split}/{name}.tif"] = tiff(pixels)
        self.tables[TABLES[split]] += f"{name},{label}\n"
        return name

    def relabel(self, name: str, label: str) -> None:
        """Replace the label of a training tile in its table."""
        table = self.tables["train_labels.csv"]
        self.tables["train_labels.csv"] = table.replace(f"{name},{self.labels[name]}\n", f"{name},{label}\n")

    def write(self, path: Path, method: int = zipfile.ZIP_DEFLATED) -> Path:
        """Write the zip archive and return its path."""
        with zipfile.ZipFile(path, "w", method) as file:
            for name, content in {**self.tables, **self.files}.items():
                file.writestr(name, content)
        return path

    def extract(self, folder: Path) -> Path:
        """Write the files and tables to a folder and return its path."""
        for name, content in {**self.tables, **self.files}.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content.encode() if isinstance(content, str) else content)
        return folder
