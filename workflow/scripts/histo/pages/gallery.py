"""Galleries of tiles: one WebP image per gallery, embedded in the page; the central square of each tile is outlined."""

import base64
import io
from collections.abc import Sequence

import numpy as np
import pandas as pd
from markupsafe import Markup, escape
from PIL import Image

from histo.geometry import CENTRE, SIDE
from histo.tiles.shards import Shard, geometry_of

Shards = dict[str, dict[int, Shard]]  # split → shard number → shard

GUTTER = 2  # pixels around each tile of a sprite sheet, so that scaling does not mix neighbouring tiles


def sprite(images: np.ndarray, quality: int | None = None) -> bytes:
    """Return images, uint8 [N, height, width, 3], as one WebP, each with a gutter that repeats its edge.

    quality: of lossy compression, 0 to 100; None: lossless.
    """
    slots = np.pad(images, ((0, 0), (GUTTER, GUTTER), (GUTTER, GUTTER), (0, 0)), mode="edge")
    buffer = io.BytesIO()
    options = {"lossless": True, "quality": 60} if quality is None else {"quality": quality}
    Image.fromarray(np.concatenate(list(slots), axis=1)).save(buffer, "WEBP", method=4, **options)
    return buffer.getvalue()


def centre_frame(tile_side: int = SIDE, centre_side: int = CENTRE) -> str:
    """Return the outline of the central square as SVG, in pixels of the tile.

    A white line runs along the pixels just outside the square and a dark line around it; neither covers the square.
    """
    frame = ""
    for style, away in (("outer", 1.5), ("inner", 0.5)):
        start, side = (tile_side - centre_side) / 2 - away, centre_side + 2 * away
        frame += f'<rect class="{style}" x="{start}" y="{start}" width="{side}" height="{side}"/>'
    return frame


def gallery(
    name: str,
    images: np.ndarray,
    captions: Sequence[str],
    alternative_texts: Sequence[str],
    centre_side: int = CENTRE,
    quality: int | None = None,
) -> Markup:
    """Return a gallery of tiles, uint8 [N, side, side, 3], with the central square outlined; empty for no tiles.

    Images of k times this width, [N, side, k · side, 3], show k pictures of each tile side by side. name: unique on the
    page; letters, digits and hyphens. captions: shown below each tile. alternative_texts: for screen readers, one per
    tile. centre_side: of the central square, pixels. quality: see `sprite`.
    """
    if not len(images):
        return Markup("")
    data = base64.b64encode(sprite(images, quality)).decode()
    side, width = images.shape[1:3]
    frame, slot = centre_frame(side, centre_side), width + 2 * GUTTER
    frame += "".join(f'<g transform="translate({start})">{frame}</g>' for start in range(side, width, side))
    kind = "tile" if width == side else "tile broad"
    tiles = "".join(
        f'<figure class="{kind}"><svg viewBox="0 0 {width} {side}" role="img" aria-label="{escape(text)}">'
        f'<use href="#{name}" x="{-k * slot - GUTTER}" y="{-GUTTER}"/>{frame}</svg>'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
        for k, (caption, text) in enumerate(zip(captions, alternative_texts, strict=True))
    )
    return Markup(
        f'<div class="tiles"><svg class="sprite" aria-hidden="true"><image id="{name}" width="{slot * len(images)}" '
        f'height="{side + 2 * GUTTER}" href="data:image/webp;base64,{data}"/></svg>{tiles}</div>'
    )


def tile_images(shards: Shards, rows: pd.DataFrame) -> np.ndarray:
    """Return the tiles `rows` (columns split, shard, row) from the shards, uint8 [N, side, side, 3]."""
    locations = zip(rows["split"], rows["shard"], rows["row"], strict=True)
    return np.array([shards[split][shard].images[row] for split, shard, row in locations])


def tile_gallery(name: str, shards: Shards, rows: pd.DataFrame, captions: Sequence[str], description: str) -> Markup:
    """Return the gallery of the tiles `rows` (columns id, split, shard, row), read from the shards.

    captions: one per tile, shown above its id; text or markup. description: start of all alternative texts, what
    the tiles have in common.
    """
    captions_with_id = [
        Markup("<b>{}</b><br><code>{}</code>").format(caption, tile)
        for caption, tile in zip(captions, rows["id"], strict=True)
    ]
    alternative_texts = [
        f"{description}, {escape(caption).striptags()}: tile {tile}"
        for caption, tile in zip(captions, rows["id"], strict=True)
    ]
    centre_side = next((geometry_of(opened).centre_side for opened in shards.values()), CENTRE)
    return gallery(name, tile_images(shards, rows), captions_with_id, alternative_texts, centre_side)
