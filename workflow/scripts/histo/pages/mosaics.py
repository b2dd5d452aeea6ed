"""Mosaics: regions of a slide stitched from overlapping tiles.

Tiles lie on a grid of 16 pixels. A mosaic can therefore be reduced tile by tile, by averaging squares of up to 16 × 16
pixels, and overlapping tiles still agree in the reduced image. `STYLE` is part of the style sheet of a page with
mosaics.
"""

import base64
import io
import math
from collections.abc import Sequence

import numpy as np
from markupsafe import Markup, escape
from PIL import Image

from histo.geometry import BLOCK, COMPETITION, SIDE, Geometry
from histo.pages.charts import COLOURS

LARGEST = 1200  # pixels of the longer side of a mosaic
SCALES = (1, 2, 4, 8, 16)  # reduction factors, divisors of the grid
QUALITY = 90  # of WebP
MARGIN = 4  # pixels of the slide around the mosaic, room for the outlines
SCALE = np.array([(0, 114, 178), (247, 247, 247), (213, 94, 0)])  # colours of the probabilities 0, 0.5 and 1

STYLE = f"""
.mosaics {{ display: flex; flex-wrap: wrap; gap: 1.6rem 2rem; align-items: flex-end; margin: 1rem 0 1.5rem; }}
.mosaic {{ margin: 0; width: 100%; break-inside: avoid; }}
.mosaic svg {{ display: block; width: 100%; height: auto; max-height: 80vh; }}
.mosaic path {{ fill: none; vector-effect: non-scaling-stroke; }}
.mosaic .under {{ stroke: #000; stroke-opacity: .35; stroke-width: 2.5; }}
.mosaic .outline {{ stroke: #fff; stroke-opacity: .8; stroke-width: 1; }}
.mosaic [class^=stroke] {{ stroke-width: 1.6; }}
.mosaic .painted {{ image-rendering: pixelated; opacity: .6; }}
.mosaic.small .under {{ display: none; }}
.mosaic.small .outline {{ stroke-opacity: .45; stroke-width: .5; }}
.mosaic.small [class^=stroke] {{ stroke-width: 1; }}
.mosaic:hover g {{ display: none; }}
.mosaic figcaption {{ font-size: .82rem; line-height: 1.4; margin-top: .4rem; color: var(--quiet); max-width: 32rem; }}
.swatch {{ display: inline-block; width: .8em; height: .8em; border: 2px solid; border-radius: 1px;
  vertical-align: -.05em; margin: 0 .15em; }}
.swatch.one {{ border-color: var(--colour-1); }} .swatch.zero {{ border-color: var(--colour-0); }}
.scale {{ display: inline-block; width: 6rem; height: .8em; margin: 0 .4em; border-radius: 1px; vertical-align: -.05em;
  background: linear-gradient(90deg, {", ".join(f"rgb{tuple(colour.tolist())}" for colour in SCALE)});
  print-color-adjust: exact; -webkit-print-color-adjust: exact; }}
@media print {{ .mosaic {{ width: 46%; }} }}
"""


def extent(offsets: np.ndarray, side: int = SIDE) -> tuple[int, int]:
    """Return height and width, in pixels, of tiles of `side` pixels at `offsets`, int [N, 2] as (y, x) from 0."""
    height, width = (offsets.max(0) + side).tolist()
    return height, width


def scale_for(offsets: np.ndarray, side: int = SIDE) -> int | None:
    """Return the smallest reduction factor at which the mosaic of tiles at `offsets` fits; None if none does."""
    return next((scale for scale in SCALES if max(extent(offsets, side)) <= LARGEST * scale), None)


def compose(images: Sequence[np.ndarray] | np.ndarray, offsets: np.ndarray, scale: int = 1) -> np.ndarray:
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


def cell_means(offsets: np.ndarray, values: np.ndarray, geometry: Geometry = COMPETITION) -> np.ndarray:
    """Return the mean value of the central squares over each cell of a region, float [rows, columns].

    values: float [N], of the tiles at `offsets`, NaN where unknown. A cell is the largest square that divides grid and
    central squares, 16 pixels in tiles of the competition. Cells that no central square with a value covers are NaN.
    """
    side, centre = geometry.tile_side, geometry.centre_side
    start = (side - centre) // 2
    cell = math.gcd(BLOCK, start, centre)
    shape = [-(-length // cell) for length in extent(offsets, side)]
    sums, counts = np.zeros(shape), np.zeros(shape)
    span = centre // cell
    for (y, x), value in zip(((offsets + start) // cell).tolist(), values.tolist(), strict=True):
        if not math.isnan(value):
            sums[y : y + span, x : x + span] += value
            counts[y : y + span, x : x + span] += 1
    means: np.ndarray = np.divide(sums, counts, out=np.full(shape, np.nan), where=counts > 0)
    return means


def colours_of(values: np.ndarray) -> np.ndarray:
    """Return the colours of probabilities [H, W], interpolated in `SCALE`, as uint8 [H, W, 4]; NaN is transparent."""
    known = ~np.isnan(values)
    filled = np.where(known, values, 0)
    channels = [np.interp(filled, np.linspace(0, 1, len(SCALE)), channel) for channel in SCALE.T]
    return np.stack([*channels, 255 * known], axis=-1).round().astype(np.uint8)


def _webp(pixels: np.ndarray, **options: bool | int) -> str:
    """Return an image, uint8 [H, W, 4], as the address of an embedded WebP."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "WEBP", method=4, **options)
    return f"data:image/webp;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def figure(
    canvas: np.ndarray,
    offsets: np.ndarray,
    labels: np.ndarray,
    scale: int,
    caption: str,
    alternative_text: str,
    geometry: Geometry = COMPETITION,
    values: np.ndarray | None = None,
) -> Markup:
    """Return the mosaic as a <figure> with the outlines of all tiles and the central squares of labelled tiles.

    canvas: from `compose`; labels: int [N], -1 where unknown; geometry: of the tiles; values: probabilities, float [N],
    NaN where unknown, which are painted over the central squares in the place of the outlines of the tiles.
    """
    side, centre = geometry.tile_side, geometry.centre_side
    height, width = extent(offsets, side)
    start = (side - centre) // 2
    if values is None:
        outlines = "".join(f"M{x} {y}h{side}v{side}h-{side}z" for y, x in offsets.tolist())
        below = f'<path class="under" d="{outlines}"/><path class="outline" d="{outlines}"/>'
    else:
        colours = colours_of(cell_means(offsets, values, geometry))
        below = (
            f'<image class="painted" width="{width}" height="{height}" preserveAspectRatio="none" '
            f'href="{_webp(colours, lossless=True)}"/>'
        )
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
        f'href="{_webp(canvas, quality=QUALITY)}"/><g>{below}{centres}</g></svg>'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )
