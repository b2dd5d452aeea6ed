"""Write augmentations.webp: a synthetic tile under each random change, at the default's strength and at the largest.

Every row is a setting of `augment`, its other settings are off. The default's strengths are those of the model `lite0`.
A cell shows an end of what is drawn: all random numbers of the setting at 0 or at 1. Of three values (channels or
stains), the second is at the opposite end, so that the colour changes too. `make augmentations` runs this script;
tests/test_augmentations.py compares the committed picture with the drawn one.
"""

import io
import sys
from pathlib import Path

import numpy as np
import torch
from annotated_types import Le
from PIL import Image, ImageDraw, ImageFont

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "workflow" / "scripts"))

from histo.augmentation.changes import apply  # noqa: E402
from histo.augmentation.plans import DRAWS, draw, from_draws  # noqa: E402
from histo.config.configuration import default_settings  # noqa: E402
from histo.config.train import Augmentation  # noqa: E402
from histo.geometry import BLOCK, SIDE  # noqa: E402
from histo.synthetic.slides import REGION, Painter  # noqa: E402

PICTURE = Path(__file__).with_suffix(".webp")
QUALITY = 75  # of WebP
SEED = 4
MEAN, STD = np.array([0.70, 0.55, 0.70]), np.array([0.24, 0.28, 0.22])  # of the competition's tiles, channels in 0..1

# Columns of the random numbers of each setting, see histo.augmentation.plans.from_draws.
COLUMNS = {
    "shift": (4, 5), "rotation": (1,), "zoom": (2,), "shear": (3,),
    "brightness": (12,), "contrast": (13,), "saturation": (14,), "hue": (15,), "channel_scale": (16, 17, 18),
    "channel_offset": (19, 20, 21), "stain": (6, 7, 8, 9, 10, 11), "gamma": (40, 41, 42), "stain_scale": (43, 44, 45),
    "sharpness": (46,), "noise": (47,),
}  # fmt: skip
SHARES = ("flips", "erase", "mixup", "cutmix")  # settings without a strength: four examples
WITH_OPPOSITES = ("channel_scale", "channel_offset", "stain", "gamma", "stain_scale")
HEADS = ("unchanged", "default: one end", "other end", "largest: one end", "other end")

GAP, HEAD, LABEL, TEXT = 6, 24, 118, 12  # pixels between cells, above them, left of them; height of the text
INK, PAPER, BLANK = (31, 41, 51), (255, 255, 255), (244, 246, 248)


def synthetic_tiles() -> np.ndarray:
    """Return two tiles of a synthetic slide, uint8 [2, 96, 96, 3]: tumour beside glass or fat, and another."""
    rng = np.random.default_rng(SEED)
    painter = Painter(rng)
    region = painter.region(rng, painter.slide(rng))
    tiles = []
    for y in range(0, REGION - SIDE + 1, BLOCK):
        for x in range(0, REGION - SIDE + 1, BLOCK):
            inside = ((region.tumour >= (y, x)) & (region.tumour < (y + SIDE, x + SIDE))).all(axis=1).sum()
            tissue = region.tissue[y : y + SIDE, x : x + SIDE].mean() / 255
            tiles.append((inside if 0.75 < tissue < 0.9 else 0, y, x))
    _, y, x = max(tiles)
    other = region.image[-SIDE:, -SIDE:]
    return np.stack([region.image[y : y + SIDE, x : x + SIDE], other])


def largest(name: str) -> float:
    """Return the largest strength that a setting allows."""
    return float(next(rule.le for rule in Augmentation.model_fields[name].metadata if isinstance(rule, Le)))  # type: ignore[arg-type]


def changed(tiles: np.ndarray, settings: dict[str, float], u: np.ndarray) -> np.ndarray:
    """Return the first tile, uint8 [96, 96, 3], after these changes with the random numbers u [2, sum(DRAWS)]."""
    off = {name: type(value)(0) for name, value in Augmentation().model_dump().items()}
    plan = from_draws(u, Augmentation(**off | {"probability": 1} | settings), side=SIDE, mean=MEAN, std=STD)
    images, _ = apply(plan, torch.from_numpy(tiles), torch.zeros(len(tiles)))
    if images.dtype == torch.float32:
        images = images.mul(255).round().clip(0, 255).to(torch.uint8)
    return images[0].permute(1, 2, 0).numpy()


def ends(name: str, strength: float, tiles: np.ndarray) -> list[np.ndarray]:
    """Return the tile at both ends of what is drawn for a setting of this strength."""
    cells = []
    for end in (0.0, 1 - 1e-9):
        u = np.full((2, sum(DRAWS)), 0.5)
        u[:, list(COLUMNS[name])] = end
        if name in WITH_OPPOSITES:
            u[:, list(COLUMNS[name])[1::3]] = 1 - 1e-9 - end
        cells.append(changed(tiles, {name: strength}, u))
    return cells


def examples(name: str, tiles: np.ndarray) -> list[np.ndarray]:
    """Return four tiles with a change that concerns a share of the tiles, drawn at random."""
    return [changed(tiles, {name: name == "flips" or 1.0}, draw(SEED, 1, 2 * number, 2)) for number in range(4)]


def rows(tiles: np.ndarray) -> list[tuple[str, str, list[np.ndarray | None]]]:
    """Return name, strengths and cells of all settings in their order."""
    found: list[tuple[str, str, list[np.ndarray | None]]] = []
    for name, default in default_settings("lite0")["augment"].items():
        if name in SHARES:
            found.append((name, "examples", [tiles[0], *examples(name, tiles)]))
        elif name in COLUMNS:
            most = largest(name)
            usual: list[np.ndarray | None] = [*ends(name, default, tiles)] if default else [None, None]
            text = f"{f'{default:g}' if default else 'off'}; {most:g}"
            found.append((name, text, [tiles[0], *usual, *ends(name, most, tiles)]))
    return found


def picture() -> bytes:
    """Return the picture as WebP."""
    table = rows(synthetic_tiles())
    size = LABEL + len(HEADS) * (SIDE + GAP), HEAD + len(table) * (SIDE + GAP)
    canvas = Image.new("RGB", size, PAPER)
    pen, font = ImageDraw.Draw(canvas), ImageFont.load_default(TEXT)
    for column, head in enumerate(HEADS):
        pen.text((LABEL + column * (SIDE + GAP), GAP), head, INK, font)
    for row, (name, strengths, cells) in enumerate(table):
        y = HEAD + row * (SIDE + GAP)
        pen.text((GAP, y + SIDE // 2 - TEXT - 2), name, INK, font)
        pen.text((GAP, y + SIDE // 2 + 2), strengths, INK, font)
        for column, cell in enumerate(cells):
            x = LABEL + column * (SIDE + GAP)
            if cell is None:
                pen.rectangle((x, y, x + SIDE - 1, y + SIDE - 1), BLANK)
            else:
                canvas.paste(Image.fromarray(cell), (x, y))
    buffer = io.BytesIO()
    # The test reads the strengths here, since a small change of one may hardly be visible.
    drawn = "; ".join(f"{name}: {strengths}" for name, strengths, _ in table)
    canvas.save(buffer, "WEBP", quality=QUALITY, method=6, xmp=drawn.encode())
    return buffer.getvalue()


if __name__ == "__main__":
    PICTURE.write_bytes(picture())
    print(PICTURE.relative_to(ROOT))
