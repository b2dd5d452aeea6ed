"""Small archives in Kaggle's layout."""

import hashlib
import zipfile
from pathlib import Path

import numpy as np

from histo.synthetic.tiff import tiff


def sha1(pixels: np.ndarray) -> str:
    """The id of a tile: the SHA-1 of its pixels, uint8 [96, 96, 3]."""
    return hashlib.sha1(pixels.tobytes()).hexdigest()


class Archive:
    """A small archive in Kaggle's layout, of random tiles, to be spoilt before it is written."""

    def __init__(self, random: np.random.Generator, train: int = 12, test: int = 6) -> None:
        pixels = random.integers(0, 256, (train + test, 96, 96, 3), dtype=np.uint8)
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

    def write(self, path: Path, method: int = zipfile.ZIP_DEFLATED) -> Path:
        """Write the archive as it is now."""
        with zipfile.ZipFile(path, "w", method) as file:
            for name, content in {**self.tables, **self.files}.items():
                file.writestr(name, content)
        return path
