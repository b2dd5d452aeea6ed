"""Small synthetic input for the tests of training: shards of random tiles, folds, settings."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from histo import tables
from histo.config.train import TrainSettings
from histo.tiles.shards import write_shard

CODE = {"train.py": "0123456789abcdef"}
NO_AUGMENTATION: dict[str, Any] = {
    "flips": False, "shift": 0, "rotation": 0, "zoom": 0.0, "shear": 0, "brightness": 0.0, "contrast": 0.0,
    "saturation": 0.0, "hue": 0.0, "channel_scale": 0.0, "channel_offset": 0.0, "stain": 0.0, "gamma": 0.0,
    "stain_scale": 0.0, "sharpness": 0.0, "noise": 0.0, "probability": 1.0, "erase": 0.0, "mixup": 0.0, "cutmix": 0.0,
}  # fmt: skip
ALL_AUGMENTATIONS: dict[str, Any] = {
    "flips": True, "shift": 4, "rotation": 15, "zoom": 0.1, "shear": 5, "brightness": 0.1, "contrast": 0.1,
    "saturation": 0.1, "hue": 0.02, "channel_scale": 0.2, "channel_offset": 0.3, "stain": 0.05, "erase": 0.25,
    "mixup": 0.2, "cutmix": 0.2,
}  # fmt: skip

# Also what came later, for some of the tiles; ALL_AUGMENTATIONS stays what the recorded bits were made with.
EVERYTHING = {
    **ALL_AUGMENTATIONS, "gamma": 0.6, "stain_scale": 0.3, "sharpness": 0.5, "noise": 8.0, "probability": 0.5,
}  # fmt: skip


def settings(**changes: Any) -> TrainSettings:
    """Settings of a tiny model; `network` and `augment` as mappings."""
    values = {
        "network": {"name": "residual", "width": 8, "blocks": 1, "dropout": 0.0},
        "center_crop": 32, "normalisation": "tiles", "seed": 3, "epochs": 2, "batch_size": 16, "optimizer": "adamw",
        "learning_rate": 0.004, "weight_decay": 0.05,
        "schedule": "one_cycle", "warmup": 0.25, "gradient_clip": 1.0, "ema": 0.0, "checkpoint": "last",
        "monitor": "auc", "patience": 0,
        "label_smoothing": 0.0, "pos_weight": 1.0, "focal_gamma": 0.0, "precision": "float32", "compile": False,
        "augment": NO_AUGMENTATION,
    }  # fmt: skip
    return TrainSettings(**values | changes)


def images(count: int, seed: int = 0, labels: np.ndarray | None = None) -> np.ndarray:
    """Random tiles, uint8 [count, 96, 96, 3]; with labels, the centre of label 1 is darker."""
    tiles = np.random.default_rng(seed).integers(0, 256, (count, 96, 96, 3), dtype=np.uint8)
    if labels is not None:
        tiles[labels == 1, 32:64, 32:64] //= 2
    return tiles


def make_split(folder: Path, split: str, counts: tuple[int, ...]) -> tuple[list[str], pd.DataFrame]:
    """Write shards with the given numbers of tiles.

    Returns their paths and a frame with id, split, shard, row, label, kept.
    """
    paths, frames = [], []
    for number, count in enumerate(counts):
        labels = np.arange(count, dtype=np.int8) % 2
        ids = np.array([f"{split}-{number}-{row:03d}" for row in range(count)])
        path = folder / f"{split}-{number:05d}.h5"
        tiles = images(count, number + 10 * (split == "test"), labels)
        write_shard(path, split=split, number=number, ids=ids, labels=labels, batches=[tiles], code="test")
        paths.append(str(path))
        frames.append(
            pd.DataFrame(
                {"id": ids, "split": split, "shard": number, "row": np.arange(count), "label": labels, "kept": True}
            )
        )
    return paths, pd.concat(frames, ignore_index=True)


def write_folds(frame: pd.DataFrame, path: Path, folds: int = 3) -> pd.DataFrame:
    """Write folds.parquet of a training frame: pairs of tiles in turn to each fold, so that all have both labels."""
    table = frame.assign(group=frame["id"], fold=np.arange(len(frame)) // 2 % folds)
    tables.write(table, path, tables.FOLDS)
    return table


def make_training_tiles(folder: Path) -> list[str]:
    """Write two training shards of 126 tiles in total and folds.parquet into a folder; return the shards' paths."""
    shards, frame = make_split(folder, "train", (60, 66))
    write_folds(frame, folder / "folds.parquet")
    return shards


def write_tiles(frame: pd.DataFrame, path: Path) -> None:
    """Write tiles.parquet of a frame of either split."""
    empty = {name: "" for name in ("fault", "detail")}
    numbers = {name: 0.0 for name in tables.TILES.names if name not in frame and name not in empty}
    tables.write(frame.assign(**empty, **numbers), path, tables.TILES)
