"""The part of a finished run that applying and exporting a model need, made without Snakemake."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import yaml

from histo import tables
from histo.apply.flags import measurements
from histo.files import write_json
from histo.networks.network import build
from histo.tiles.shards import Shard, write_shard
from histo.training import checkpoints
from support.training import CODE, settings

TEMPERATURE = 1.5


def stained_tiles(count: int, seed: int = 0) -> np.ndarray:
    """Tiles of tissue-like colours, uint8 [count, 96, 96, 3]."""
    random = np.random.default_rng(seed)
    mean = np.array([180, 130, 180]) + random.normal(0, 8, (count, 1, 1, 3))
    return np.clip(mean + random.normal(0, 30, (count, 96, 96, 3)), 0, 255).astype(np.uint8)


def write_run(
    folder: Path, *, train: int = 200, test: int = 300, full_networks: int = 0, stain: bool = False, tta: str = "flips"
) -> dict[str, Any]:
    """Write weights, shards, tables, evaluation and settings of a run with the model `tiny` of two folds.

    Returns the settings of the run.
    """
    frames = []
    for split, count, seed in (("train", train, 1), ("test", test, 2)):
        images = stained_tiles(count, seed)
        ids = [f"{split}-{k:04d}" for k in range(count)]
        path = folder / "pack" / f"{split}-00000.h5"
        write_shard(path, split=split, number=0, ids=ids, labels=np.arange(count) % 2, batches=[images], code="test")
        rows = pd.DataFrame({"id": ids, "split": split, "shard": 0, "row": range(count), "label": np.arange(count) % 2})
        frames.append(pd.concat([rows, measurements(Shard(path).images)], axis=1))
    tiles = pd.concat(frames, ignore_index=True).assign(kept=True, fault="", detail="")
    tables.write(tiles, folder / "tiles.parquet", tables.TILES)
    folds = tiles[tiles["split"] == "train"].assign(group=lambda part: part["id"])
    folds["fold"] = np.arange(train) // 2 % 2
    tables.write(folds, folder / "folds.parquet", tables.FOLDS)
    chosen = settings(center_crop=64).model_dump() | ({"stain": "macenko"} if stain else {})
    for name in ["fold-0", "fold-1", *(f"full-{k}" for k in range(full_networks))]:
        torch.manual_seed(sum(map(ord, name)))
        network = build(chosen["network"], 64)
        for module in network.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.running_mean.normal_(0, 0.2)
                module.running_var.uniform_(0.5, 2)
        [*network.parameters()][-2].data.mul_(50)  # the last layer, so that logits differ
        checkpoints.save(
            folder / "train" / "tiny" / name / "weights.pt", settings=chosen,
            fold=None if name.startswith("full") else int(name[-1]), auc=0.5, epoch=1, tiles={"training": 30},
            weights={"last": network.state_dict()}, code=CODE,
        )  # fmt: skip
    metrics = {"model": "tiny", "auc": 0.9, "probability": {"temperature": {"temperature": TEMPERATURE}}}
    write_json(folder / "evaluate" / "tiny.json", metrics)
    config = {
        "dataset": {"name": "small", "source": "synthetic"}, "folds": {"count": 2}, "models": {"tiny": {}},
        "predict": {"tta": tta, "average": "logits"}, "submission": {"full_networks": full_networks},
        "stain": {"method": "macenko" if stain else "none"},
    }  # fmt: skip
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    return config
