"""Write field_of_view.webp: mosaics of overlapping training tiles on 2,048 × 2,048 pixels, and their probability map.

`make field-of-view RESULTS=results/kaggle MODEL=lite0` runs this script on a finished run.

Each mosaic is predicted by the network of its fold, which was not trained on any of its tiles, at a stride of the
central square and without test-time augmentation, only where a whole tile lies within the mosaic. Mosaics of folds
without a trained network are left out.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from PIL import Image, ImageDraw, ImageFont

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "workflow" / "scripts"))

from histo import tables  # noqa: E402
from histo.geometry import BLOCK, COMPETITION  # noqa: E402
from histo.pages import mosaics  # noqa: E402
from histo.pages.gallery import tile_images  # noqa: E402
from histo.tiles.overlap_graph import regions  # noqa: E402
from histo.tiles.shards import open_shards  # noqa: E402
from histo.training import checkpoints  # noqa: E402

PICTURE = Path(__file__).with_suffix(".webp")
SIDE = 2048  # of the field, pixels
CELLS = SIDE // BLOCK
TILE, CENTRE = COMPETITION.tile_side // BLOCK, COMPETITION.centre_side // BLOCK  # cells
SHOWN = SIDE // 2  # side of a panel of the picture, pixels
SMALLEST = 6  # tiles of a mosaic
BATCH = 64
GAP, BAR, QUALITY, OPACITY = 16, 24, 70, 0.65


def place(occupied: np.ndarray, mosaic: np.ndarray) -> tuple[int, int] | None:
    """Return the first position (row, column), in cells, at which a mosaic covers free cells alone, or None.

    occupied: bool [rows, columns]; mosaic: cells that it covers, bool [height, width].
    """
    height, width = mosaic.shape
    if height > occupied.shape[0] or width > occupied.shape[1]:
        return None
    windows = np.lib.stride_tricks.sliding_window_view(occupied, mosaic.shape)
    for row in range(windows.shape[0]):
        free = np.flatnonzero(~(windows[row] & mosaic).any((1, 2)))
        if len(free):
            return row, int(free[0])
    return None


def windows(covered: np.ndarray) -> np.ndarray:
    """Return the corners of whole tiles within a mosaic, int [N, 2] as (row, column), in cells; covered: bool."""
    if min(covered.shape) < TILE:
        return np.empty((0, 2), int)
    complete = np.lib.stride_tricks.sliding_window_view(covered, (TILE, TILE))[::CENTRE, ::CENTRE].all((2, 3))
    return np.argwhere(complete) * CENTRE


def mosaics_of(results: Path) -> Iterator[tuple[np.ndarray, int]]:
    """Yield the largest mosaics of a run's training tiles, uint8 [H, W, 4], and their folds."""
    folds = tables.read(results / "folds.parquet", tables.FOLDS, columns=["id", "shard", "row", "fold"])
    folds = folds.assign(split="train")
    shards = {"train": open_shards((results / "pack").glob("train-*.h5"), "train")}
    pairs = tables.read(results / "overlaps.parquet", tables.OVERLAPS)
    for region in regions(folds["id"], pairs[pairs["confirmed"]]):
        rows, offsets = folds.iloc[region.members], region.offsets()
        if len(rows) < SMALLEST:
            return
        if offsets is not None and rows["fold"].nunique() == 1:
            yield mosaics.compose(tile_images(shards, rows), offsets), int(rows["fold"].iloc[0])


@torch.inference_mode()
def probabilities(network: torch.nn.Module, image: np.ndarray, corners: np.ndarray) -> np.ndarray:
    """Return the probability of each tile of an image, uint8 [H, W, 3]; corners: in cells, int [N, 2]."""
    side, found = TILE * BLOCK, [np.empty(0)]
    for start in range(0, len(corners), BATCH):
        tiles = [image[y : y + side, x : x + side] for y, x in (corners[start : start + BATCH] * BLOCK).tolist()]
        found.append(torch.sigmoid(network(torch.from_numpy(np.stack(tiles)).permute(0, 3, 1, 2))).numpy())
    return np.concatenate(found)


def field(
    found: Iterator[tuple[np.ndarray, int]], networks: dict[int, torch.nn.Module]
) -> tuple[np.ndarray, np.ndarray]:
    """Return the field, uint8 [SIDE, SIDE, 3], white without a mosaic, and its map, float cells, NaN where unknown.

    found: mosaics and their folds; networks: by fold.
    """
    image, values = np.full((SIDE, SIDE, 3), 255, np.uint8), np.full((CELLS, CELLS), np.nan)
    occupied = np.zeros((CELLS, CELLS), bool)
    for mosaic, fold in found:
        covered = mosaic[::BLOCK, ::BLOCK, 3] > 0
        corner = place(occupied, covered) if fold in networks else None
        if corner is None:
            continue
        row, column = corner
        height, width = covered.shape
        # A cell around it stays free, so that mosaics that are no neighbours do not touch.
        for y, x in np.argwhere(covered) + corner:
            occupied[max(y - 1, 0) : y + 2, max(x - 1, 0) : x + 2] = True
        part = image[row * BLOCK : (row + height) * BLOCK, column * BLOCK : (column + width) * BLOCK]
        part[mosaic[..., 3] > 0] = mosaic[mosaic[..., 3] > 0, :3]
        corners, margin = windows(covered), (TILE - CENTRE) // 2
        for (y, x), value in zip(corners + corner + margin, probabilities(networks[fold], part, corners), strict=True):
            values[y : y + CENTRE, x : x + CENTRE] = value
    return image, values


def colours(values: np.ndarray) -> np.ndarray:
    """Return the colours of probabilities, those of the report: uint8 [..., 3]."""
    levels = [np.interp(values, (0, 0.5, 1), mosaics.SCALE[:, channel]) for channel in range(3)]
    return np.stack(levels, axis=-1).round().astype(np.uint8)


def picture(image: np.ndarray, values: np.ndarray) -> Image.Image:
    """Return the field, the same under its map, and the scale of the colours, side by side."""
    left = Image.fromarray(image).resize((SHOWN, SHOWN), Image.Resampling.LANCZOS)
    known = np.isfinite(values)
    painted = Image.fromarray(colours(np.where(known, values, 0))).resize((SHOWN, SHOWN), Image.Resampling.NEAREST)
    mask = Image.fromarray((known * OPACITY * 255).astype(np.uint8)).resize((SHOWN, SHOWN), Image.Resampling.NEAREST)
    canvas = Image.new("RGB", (2 * SHOWN + 2 * GAP + 3 * BAR, SHOWN), "white")
    canvas.paste(left, (0, 0))
    canvas.paste(left, (SHOWN + GAP, 0))
    canvas.paste(painted, (SHOWN + GAP, 0), mask)
    bar = colours(np.linspace(1, 0, SHOWN)[:, None].repeat(BAR, 1))
    canvas.paste(Image.fromarray(bar), (2 * SHOWN + 2 * GAP, 0))
    pen, font = ImageDraw.Draw(canvas), ImageFont.load_default(18)
    for text, y in (("1", 0), ("0.5", SHOWN // 2 - 12), ("0", SHOWN - 24)):
        pen.text((2 * SHOWN + 2 * GAP + BAR + 8, y), text, (31, 41, 51), font)
    return canvas


def main(results: Path, model: str, output: Path = PICTURE) -> None:
    """Draw the field of the tiles of a run, predicted by a model of it."""
    paths = list((results / "train" / model).glob("fold-*/weights.pt"))
    if not paths:
        sys.exit(f"{results / 'train' / model}: expected trained networks, found none. Run the submission first.")
    networks = {int(path.parent.name[5:]): checkpoints.load_network(checkpoints.load(path)) for path in paths}
    image, values = field(mosaics_of(results), networks)
    picture(image, values).save(output, quality=QUALITY, method=6)
    covered, known = (image < 255).any(axis=2).mean(), pd.Series(values.ravel()).dropna()
    print(f"{output}: {covered:.0%} of the field covered, {len(known) // CENTRE**2:,} tiles predicted")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("Usage: python docs/field_of_view.py results/<name> <model>")
    main(Path(sys.argv[1]), sys.argv[2])
