"""Write overlaps.webp: tiles of a synthetic slide in random folds and in folds of whole groups.

Frames are tiles in the colours of their folds; an area that tiles of different folds share is shaded. `make pictures`
runs this script; tests/test_overlaps_picture.py compares the committed picture with the drawn one.
"""

import io
import sys
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "workflow" / "scripts"))

from histo.geometry import SIDE  # noqa: E402
from histo.synthetic.slides import Painter  # noqa: E402

PICTURE = Path(__file__).with_suffix(".webp")
QUALITY = 80  # of WebP
SEED = 6
# Upper left corner of each tile (y, x), pixels, and its group.
TILES = ((0, 0, 0), (32, 48, 0), (80, 16, 0), (16, 176, 1), (64, 208, 1), (160, 128, 2), (176, 224, 3), (192, 16, 4))
RANDOM = (0, 1, 2, 2, 0, 1, 2, 1)  # fold of each tile if tiles are assigned at random
OF_GROUPS = (0, 1, 2, 2, 1)  # fold of each group

HEIGHT, WIDTH = 288, 320  # of the slide, pixels
SCALE, GAP, TEXT, LINE = 2, 16, 20, 3
COLOURS = ((0, 90, 181), (0, 0, 0), (150, 75, 0))  # of the folds, told apart with any colour vision
INK, PAPER, LEAK = (31, 41, 51), (255, 255, 255), (220, 30, 30)


def shared(one: int, other: int) -> tuple[int, int, int, int] | None:
    """Return the area of the slide that two tiles share: left, top, right, bottom; None if they share none."""
    (top, left, _), (y, x, _) = TILES[one], TILES[other]
    box = max(left, x), max(top, y), min(left, x) + SIDE, min(top, y) + SIDE
    return box if box[0] < box[2] and box[1] < box[3] else None


def leaks(folds: list[int]) -> list[tuple[int, int, int, int]]:
    """Return the areas that tiles of different folds share. folds: of each tile."""
    pairs = [(one, other) for one in range(len(TILES)) for other in range(one) if folds[one] != folds[other]]
    return [box for box in (shared(*pair) for pair in pairs) if box]


def panel(slide: Image.Image, folds: list[int]) -> Image.Image:
    """Return the slide, enlarged, with the tiles in the colours of their folds and the leaks shaded."""
    canvas = slide.resize((WIDTH * SCALE, HEIGHT * SCALE), Image.Resampling.LANCZOS)
    shade = Image.new("RGB", canvas.size, LEAK)
    for box in leaks(folds):
        corner = tuple(SCALE * side for side in box)
        canvas.paste(Image.blend(canvas.crop(corner), shade.crop(corner), 0.5), corner[:2])
    pen = ImageDraw.Draw(canvas)
    for (y, x, _), fold in zip(TILES, folds, strict=True):
        corners = [SCALE * x, SCALE * y, SCALE * (x + SIDE) - 1, SCALE * (y + SIDE) - 1]
        pen.rectangle(corners, outline=COLOURS[fold], width=LINE)
    return canvas


def picture() -> bytes:
    """Return the picture as WebP."""
    rng = np.random.default_rng(SEED)
    painter = Painter(rng)
    slide = Image.fromarray(painter.region(rng, painter.slide(rng)).image[:HEIGHT, :WIDTH])
    of_groups = [OF_GROUPS[group] for _, _, group in TILES]
    panels = (("random folds", panel(slide, list(RANDOM))), ("folds of whole groups", panel(slide, of_groups)))
    canvas = Image.new("RGB", (2 * WIDTH * SCALE + GAP, HEIGHT * SCALE + TEXT + GAP), PAPER)
    pen, font = ImageDraw.Draw(canvas), ImageFont.load_default(TEXT)
    for column, (text, image) in enumerate(panels):
        x = column * (image.width + GAP)
        pen.text((x, 0), text, INK, font)
        canvas.paste(image, (x, TEXT + GAP))
    buffer = io.BytesIO()
    canvas.save(buffer, "WEBP", quality=QUALITY, method=6)
    return buffer.getvalue()


if __name__ == "__main__":
    PICTURE.write_bytes(picture())
    print(PICTURE.relative_to(ROOT))
