"""Mosaics: regions of a slide stitched from overlapping tiles.

Tiles lie on a grid of 16 pixels. A mosaic can therefore be reduced tile by tile, by averaging squares of up to 16 × 16
pixels, and overlapping tiles still agree in the reduced image.
"""

import base64
import io
from collections.abc import Sequence

import numpy as np
from markupsafe import Markup, escape
from PIL import Image

from histo.geometry import COMPETITION, SIDE, Geometry
from histo.pages.charts import COLOURS

LARGEST = 1200  # pixels of the longer side of a mosaic
SCALES = (1, 2, 4, 8, 16)  # reduction factors, divisors of the grid
QUALITY = 90  # of WebP
MARGIN = 4  # pixels of the slide around the mosaic, room for the outlines


def extent(offsets: np.ndarray, side: int = SIDE) -> tuple[int, int]:
    """Return height and width, in pixels, of tiles of `side` pixels at `offsets`, int [N, 2] as (y, x) from 0."""
    height, width = (offsets.max(0) + side).tolist()
    return height, width


def scale_for(offsets: np.ndarray, side: int = SIDE) -> int | None:
    """Return the smallest reduction factor at which the mosaic of tiles at `offsets` fits; None if none does."""
    return next((scale for scale in SCALES if max(extent(offsets, side)) <= LARGEST * scale), None)


def compose(images: Sequence[np.ndarray], offsets: np.ndarray, scale: int = 1) -> np.ndarray:
    """Stitch tiles, each uint8 [side, side, 3], into a mosaic, uint8 [H, W, 4], transparent where there is no tile.

    offsets: int [N, 2] as (y, x), multiples of 16 pixels; scale: reduction factor, one of `SCALES`.
    """
    height, width = (length // scale for length in extent(offsets, len(images[0])))
    canvas = np.zeros((height, width, 4), np.uint8)
    side = len(images[0]) // scale
    for image, (y, x) in zip(images, (offsets // scale).tolist(), strict=True):
        small = image.reshape(side, scale, side, scale, 3).mean((1, 3)).round().astype(np.uint8)
        canvas[y : y + side, x : x + side, :3] = small
        canvas[y : y + side, x : x + side, 3] = 255
    return canvas


def figure(
    canvas: np.ndarray,
    offsets: np.ndarray,
    labels: np.ndarray,
    scale: int,
    caption: str,
    alternative_text: str,
    geometry: Geometry = COMPETITION,
) -> Markup:
    """Return the mosaic as a <figure> with the outlines of all tiles and the central squares of labelled tiles.

    canvas: from `compose`; labels: int [N], -1 where unknown; geometry: of the tiles.
    """
    buffer = io.BytesIO()
    Image.fromarray(canvas).save(buffer, "WEBP", quality=QUALITY, method=4)
    data = base64.b64encode(buffer.getvalue()).decode()
    side, centre = geometry.tile_side, geometry.centre_side
    height, width = extent(offsets, side)
    start = (side - centre) // 2
    outlines = "".join(f"M{x} {y}h{side}v{side}h-{side}z" for y, x in offsets.tolist())
    centres = ""
    for label in range(geometry.classes):
        squares = "".join(
            f"M{x + start} {y + start}h{centre}v{centre}h-{centre}z" for y, x in offsets[labels == label].tolist()
        )
        centres += (
            f'<path class="under" d="{squares}"/><path class="stroke-{label % COLOURS}" d="{squares}"/>'
            if squares
            else ""
        )
    box = f"{-MARGIN} {-MARGIN} {width + 2 * MARGIN} {height + 2 * MARGIN}"
    # Small mosaics are shown at up to twice their size, so that cells are visible.
    shown = min((width + 2 * MARGIN) * 2 // scale, LARGEST)
    # In a strongly reduced mosaic a tile has few pixels, and its outline is drawn thinner.
    kind = "mosaic small" if scale > 2 else "mosaic"
    return Markup(
        f'<figure class="{kind}" style="max-width: {shown}px"><svg viewBox="{box}" role="img" '
        f'aria-label="{escape(alternative_text)}"><image width="{width}" height="{height}" '
        f'href="data:image/webp;base64,{data}"/><g><path class="under" d="{outlines}"/>'
        f'<path class="outline" d="{outlines}"/>{centres}</g></svg><figcaption>{escape(caption)}</figcaption></figure>'
    )
