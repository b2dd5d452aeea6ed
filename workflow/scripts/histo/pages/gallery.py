"""Tiles on a page: one PNG per gallery inside the page, the central square drawn on each tile."""

import base64
import io
from collections.abc import Sequence

import numpy as np
import pandas as pd
from markupsafe import Markup, escape
from PIL import Image

from histo.tiles.geometry import CENTRE, SIDE
from histo.tiles.shards import Shard

GUTTER = 2  # pixels around each tile of a sprite, so that scaling does not mix neighbours
SLOT = SIDE + 2 * GUTTER


def sprite(images: np.ndarray) -> bytes:
    """Return tiles, uint8 [N, 96, 96, 3], side by side as one PNG, each with a gutter that repeats its edge."""
    slots = np.pad(images, ((0, 0), (GUTTER, GUTTER), (GUTTER, GUTTER), (0, 0)), mode="edge")
    buffer = io.BytesIO()
    Image.fromarray(np.concatenate(list(slots), axis=1)).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def centre_frame() -> str:
    """Return the outline around the central 32 × 32 pixels, in pixels of the tile.

    A white line lies on the pixels just outside the square and a dark one around it; neither covers the square.
    """
    frame = ""
    for style, away in (("outer", 1.5), ("inner", 0.5)):
        start, side = (SIDE - CENTRE) / 2 - away, CENTRE + 2 * away
        frame += f'<rect class="{style}" x="{start}" y="{start}" width="{side}" height="{side}"/>'
    return frame


def gallery(name: str, images: np.ndarray, captions: Sequence[Markup], texts: Sequence[str]) -> Markup:
    """Return tiles, uint8 [N, 96, 96, 3], with the central square drawn.

    name: unique on the page, letters, digits and hyphens; captions: under each tile; texts: for who does not see it.
    """
    if not len(images):
        return Markup("")
    data = base64.b64encode(sprite(images)).decode()
    frame = centre_frame()
    tiles = "".join(
        f'<figure class="tile"><svg viewBox="0 0 {SIDE} {SIDE}" role="img" aria-label="{escape(text)}">'
        f'<use href="#{name}" x="{-k * SLOT - GUTTER}" y="{-GUTTER}"/>{frame}</svg>'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
        for k, (caption, text) in enumerate(zip(captions, texts, strict=True))
    )
    return Markup(
        f'<div class="tiles"><svg class="sprite" aria-hidden="true"><image id="{name}" width="{SLOT * len(images)}" '
        f'height="{SLOT}" href="data:image/png;base64,{data}"/></svg>{tiles}</div>'
    )


def tile_gallery(
    name: str, shards: dict[str, dict[int, Shard]], rows: pd.DataFrame, captions: Sequence[str], text: str
) -> Markup:
    """Return the gallery of `rows` (id, split, shard, row), read from the shards of their split.

    captions: above the short id; text: what all of them show, in words.
    """
    images = [shards[row.split][row.shard].images[row.row] for row in rows.itertuples()]
    under = [
        Markup('<b>{}</b><br><span title="{}">{}…</span>').format(caption, tile, tile[:8])
        for caption, tile in zip(captions, rows["id"], strict=True)
    ]
    texts = [f"{text}, {caption}: tile {tile}" for caption, tile in zip(captions, rows["id"], strict=True)]
    return gallery(name, np.array(images), under, texts)
