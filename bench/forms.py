"""The same random tiles in every file format that the benchmarks read."""

import io
import tarfile
from pathlib import Path

import h5py
import measure  # noqa: F401  puts the stages on sys.path
import numpy as np
import pandas as pd
import torch

from histo.geometry import SHAPE
from histo.synthetic.tiff import tiff
from histo.tiles.shards import open_shards, write_shard
from histo.training.loader import TileLoader

BATCH = 256  # tiles per batch when loading is measured
SHARDS = 4


class Forms:
    """The same random tiles on disk: shards, TIFFs, a pair of HDF5 files as in PatchCamelyon, tar files."""

    def __init__(self, folder: Path, tiles: int, others: bool = True) -> None:
        """others: also write the formats other than shards."""
        self.folder, self.count = folder, tiles
        random = np.random.default_rng(1)
        frames = []
        for number, rows in enumerate(np.array_split(np.arange(tiles), SHARDS)):
            images = random.integers(0, 256, (len(rows), *SHAPE), dtype=np.uint8)
            ids = np.array([f"{row:040x}" for row in rows])
            labels = (rows % 2).astype(np.int8)
            path = folder / f"train-{number}.h5"
            write_shard(path, split="train", number=number, ids=ids, labels=labels, batches=[images], code="bench")
            frames.append(pd.DataFrame({"id": ids, "shard": number, "row": np.arange(len(rows)), "label": labels}))
            if others:
                self._write_tiffs(ids, images)
                self._write_tar(number, ids, labels, images)
                self._write_pair(rows, labels, images)
        self.rows = pd.concat(frames, ignore_index=True)

    def _write_tiffs(self, ids: np.ndarray, images: np.ndarray) -> None:
        (self.folder / "tiff").mkdir(exist_ok=True)
        for name, image in zip(ids, images, strict=True):
            (self.folder / "tiff" / f"{name}.tif").write_bytes(tiff(image, "2018:11:15 17:21:32"))

    def _write_tar(self, number: int, ids: np.ndarray, labels: np.ndarray, images: np.ndarray) -> None:
        with tarfile.open(self.folder / f"train-{number}.tar", "w") as tar:
            for name, label, image in zip(ids, labels, images, strict=True):
                for ending, data in (("pixels", image.tobytes()), ("cls", str(label).encode())):
                    entry = tarfile.TarInfo(f"{name}.{ending}")
                    entry.size = len(data)
                    tar.addfile(entry, io.BytesIO(data))

    def _write_pair(self, rows: np.ndarray, labels: np.ndarray, images: np.ndarray) -> None:
        for key, values in (("x", images), ("y", labels.astype(np.uint8).reshape(-1, 1, 1, 1))):
            with h5py.File(self.folder / f"pcam_{key}.h5", "a") as file:
                # Contiguous, the layout that h5py reads fastest.
                data = file.require_dataset(key, (self.count, *values.shape[1:]), np.uint8)
                data[rows[0] : rows[-1] + 1] = values

    def files(self, pattern: str) -> list[Path]:
        """Return the files that match a pattern, sorted."""
        return sorted(self.folder.glob(pattern))

    def tiles(self, device: torch.device, storage: str) -> TileLoader:
        """Return a loader of the shards in a storage mode: device, cache or stream."""
        return TileLoader(open_shards(self.files("train-*.h5"), "train"), self.rows, device, storage)
