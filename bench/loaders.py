"""Methods of loading tiles in batches of random order: ours in each storage mode, and common alternatives.

All yield batches of uint8 pixels and labels as separate tensors. Conversion to float is excluded everywhere, which
favours the alternatives: they usually convert tile by tile, whereas here it is part of the network.

The fast loader in the comparison is WebDataset: of the well-known ones (with MosaicML streaming and FFCV) it is the one
that installs with pip without a compiler or a cloud client. It reads tar files sequentially and shuffles within a
buffer, so its order is less random than that of the other methods, and it gets raw pixels, so that it decodes nothing.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

import h5py
import numpy as np
import torch
import webdataset
from forms import BATCH, SHARDS, Forms
from PIL import Image
from torch.utils.data import DataLoader, Dataset, default_collate

from histo.geometry import SHAPE
from histo.training.loader import TileLoader, epoch_order

SHUFFLE_BUFFER = 1024  # samples in WebDataset's shuffle buffer


class TiffFolder(Dataset):
    """One TIFF per tile, read with Pillow."""

    def __init__(self, paths: list[Path], labels: np.ndarray) -> None:
        self.paths, self.labels = paths, labels

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, row: int) -> tuple[torch.Tensor, float]:
        with Image.open(self.paths[row]) as image:
            return torch.from_numpy(np.array(image)), float(self.labels[row])


class OpenedPerTile(Dataset):
    """The method of torchvision.datasets.PCAM: opens both files for every tile."""

    def __init__(self, folder: Path, count: int) -> None:
        self.x, self.y, self.count = folder / "pcam_x.h5", folder / "pcam_y.h5", count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, row: int) -> tuple[torch.Tensor, float]:
        with h5py.File(self.x) as file:
            image = Image.fromarray(file["x"][row]).convert("RGB")
        with h5py.File(self.y) as file:
            label = int(file["y"][row, 0, 0, 0])
        return torch.from_numpy(np.array(image)), float(label)


def unpack(sample: tuple[bytes, bytes]) -> tuple[torch.Tensor, float]:
    """Decode a sample of the tar files."""
    return torch.from_numpy(np.frombuffer(sample[0], np.uint8).reshape(SHAPE).copy()), float(sample[1])


Batches = Callable[[int], Iterator[tuple[torch.Tensor, torch.Tensor]]]


def data_loader(dataset: Dataset, workers: int, pinned: bool) -> Batches:
    """Return a DataLoader with persistent workers."""
    loader = DataLoader(
        dataset, BATCH, shuffle=True, drop_last=True, num_workers=workers, pin_memory=pinned, persistent_workers=True
    )
    return lambda epoch: iter(loader)


def tar_loader(forms: Forms, workers: int, pinned: bool) -> Batches:
    """Return WebDataset over the tar files, batched in its workers."""
    dataset = (
        webdataset.WebDataset(
            [str(path) for path in forms.files("train-*.tar")], shardshuffle=SHARDS, empty_check=False
        )
        .shuffle(SHUFFLE_BUFFER)
        .to_tuple("pixels", "cls")
        .map(unpack)
        .batched(BATCH, collation_fn=default_collate, partial=False)
    )
    loader = webdataset.WebLoader(
        dataset, batch_size=None, num_workers=min(workers, SHARDS), pin_memory=pinned, persistent_workers=True
    )
    return lambda epoch: iter(loader)


def fancy(path: Path, labels: np.ndarray) -> Batches:
    """Return h5py's fancy indexing, one call per batch, in this process. Positions must ascend, as in epoch_order."""

    def batches(epoch: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        with h5py.File(path) as file:
            for positions in epoch_order(len(labels), BATCH, 1, epoch):
                yield torch.from_numpy(file["x"][positions]), torch.from_numpy(labels[positions].astype(np.float32))

    return batches


def ours(tiles: TileLoader) -> Batches:
    """Return our batches, as in training."""

    def batches(epoch: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        for images, labels, _ in tiles.batches(epoch_order(len(tiles), BATCH, 1, epoch)):
            yield images, labels

    return batches


def others(forms: Forms, workers: int, pinned: bool) -> dict[str, tuple[Batches, list[Path]]]:
    """Return the alternatives by name: their batches and the files that these read."""
    labels = forms.rows["label"].to_numpy()
    pair = forms.files("pcam_*.h5")
    tiffs = forms.files("tiff/*.tif")
    return {
        f"TIFFs, Pillow, DataLoader, {workers} workers": (
            data_loader(TiffFolder(tiffs, labels), workers, pinned),
            tiffs,
        ),
        f"HDF5 opened per tile, DataLoader, {workers} workers": (
            data_loader(OpenedPerTile(forms.folder, forms.count), workers, pinned),
            pair,
        ),
        "h5py, fancy indexing": (fancy(pair[0], labels), pair),
        f"WebDataset, raw pixels, {min(workers, SHARDS)} workers": (
            tar_loader(forms, workers, pinned),
            forms.files("train-*.tar"),
        ),
    }
