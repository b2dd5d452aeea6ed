"""Pictures of tissue put together again from tiles that overlap.

Tiles lie on a grid of 16 pixels, so a picture can be made smaller by averaging squares of up to 16 × 16 pixels tile by
tile, and tiles that fit in full size fit in the small one too.
"""

import base64
import io
from collections.abc import Sequence

import numpy as np
from markupsafe import Markup, escape
from PIL import Image

from histo.tiles.geometry import CENTRE, SIDE

LARGEST = 1200  # pixels of a picture's longer side
SCALES = (1, 2, 4, 8, 16)  # divisors of the grid
QUALITY = 90  # of WebP
AIR = 4  # pixels of the tile around the picture, for the outlines


def extent(places: np.ndarray) -> tuple[int, int]:
    """Return height and width, in pixels, of tiles at `places`, int [N, 2] as (y, x) from 0."""
    height, width = (places.max(0) + SIDE).tolist()
    return height, width


def scale_for(places: np.ndarray) -> int | None:
    """Return by how much a picture of tiles at `places` must be made smaller; None when no scale suffices."""
    return next((scale for scale in SCALES if max(extent(places)) <= LARGEST * scale), None)


def compose(images: Sequence[np.ndarray], places: np.ndarray, scale: int = 1) -> np.ndarray:
    """Return the tiles, each uint8 [96, 96, 3], in their places: uint8 [H, W, 4], transparent where none lies.

    places: int [N, 2] as (y, x), multiples of 16 pixels; scale: one of `SCALES`.
    """
    height, width = (side // scale for side in extent(places))
    canvas = np.zeros((height, width, 4), np.uint8)
    side = SIDE // scale
    for image, (y, x) in zip(images, (places // scale).tolist(), strict=True):
        small = image.reshape(side, scale, side, scale, 3).mean((1, 3)).round().astype(np.uint8)
        canvas[y : y + side, x : x + side, :3] = small
        canvas[y : y + side, x : x + side, 3] = 255
    return canvas


def figure(canvas: np.ndarray, places: np.ndarray, labels: np.ndarray, scale: int, caption: str, text: str) -> Markup:
    """Return the picture with each tile's outline and the central square of tiles with a known label.

    canvas: of `compose`; labels: int [N], 1, 0 or -1 (unknown); caption: under it; text: for who does not see it.
    """
    buffer = io.BytesIO()
    Image.fromarray(canvas).save(buffer, "WEBP", quality=QUALITY, method=4)
    data = base64.b64encode(buffer.getvalue()).decode()
    height, width = extent(places)
    start = (SIDE - CENTRE) // 2
    outlines = "".join(f"M{x} {y}h{SIDE}v{SIDE}h-{SIDE}z" for y, x in places.tolist())
    centres = ""
    for label in (0, 1):
        squares = "".join(
            f"M{x + start} {y + start}h{CENTRE}v{CENTRE}h-{CENTRE}z" for y, x in places[labels == label].tolist()
        )
        centres += f'<path class="under" d="{squares}"/><path class="stroke-{label}" d="{squares}"/>' if squares else ""
    box = f"{-AIR} {-AIR} {width + 2 * AIR} {height + 2 * AIR}"
    # Small pictures are shown at up to twice their size, so that cells can be seen.
    shown = min((width + 2 * AIR) * 2 // scale, LARGEST)
    # Where tiles are a few pixels each, outlines must be thinner than usual.
    kind = "mosaic small" if scale > 2 else "mosaic"
    return Markup(
        f'<figure class="{kind}" style="max-width: {shown}px"><svg viewBox="{box}" role="img" '
        f'aria-label="{escape(text)}"><image width="{width}" height="{height}" '
        f'href="data:image/webp;base64,{data}"/><g><path class="under" d="{outlines}"/>'
        f'<path class="outline" d="{outlines}"/>{centres}</g></svg><figcaption>{escape(caption)}</figcaption></figure>'
    )
