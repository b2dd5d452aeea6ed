"""Galleries: the pixels of every tile, its frame, and escaped texts."""

import base64
import io
import re
from xml.etree import ElementTree

import numpy as np
import pandas as pd
from markupsafe import Markup
from PIL import Image

from histo.geometry import SIDE
from histo.pages.charts import STYLE
from histo.pages.gallery import GUTTER, centre_frame, gallery, sprite, tile_gallery
from histo.tiles.shards import open_shards, write_shard
from support.html_page import HOSTILE, parse_fragment

SLOT = SIDE + 2 * GUTTER


def tiles(count: int) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (count, 96, 96, 3), np.uint8)


def test_the_frame_lies_just_outside_pixels_32_to_63():
    inner, outer = sorted(ElementTree.fromstring(f"<g>{centre_frame()}</g>"), key=lambda rect: rect.get("class"))
    for rect, near, far in ((inner, 31, 64), (outer, 30, 65)):
        for start, side in (("x", "width"), ("y", "height")):
            first, last = float(rect.get(start)), float(rect.get(start)) + float(rect.get(side))
            # A stroke of one pixel reaches half a pixel to either side.
            assert (first - 0.5, first + 0.5) == (near, near + 1)
            assert (last - 0.5, last + 0.5) == (far, far + 1)
        # The width of a stroke is 1 unless the style says otherwise.
        assert "stroke-width" not in re.search(rf"\.tile \.{rect.get('class')} {{(.*?)}}", STYLE)[1]


def test_a_sprite_holds_every_pixel_of_every_tile():
    images = tiles(3)
    picture = np.asarray(Image.open(io.BytesIO(sprite(images))))
    assert picture.shape == (SLOT, 3 * SLOT, 3)
    for k, image in enumerate(images):
        left = k * SLOT + GUTTER
        assert (picture[GUTTER : GUTTER + 96, left : left + 96] == image).all()
        assert (picture[GUTTER : GUTTER + 96, left - 1] == image[:, 0]).all()


def test_a_gallery_shows_each_tile_from_its_position_in_the_sprite():
    images = tiles(2)
    root = parse_fragment(gallery("wrong", images, ["a", "b"], ["tile a", "tile b"]))
    picture = root.find(".//image")
    data = base64.b64decode(picture.get("href").removeprefix("data:image/webp;base64,"))
    assert data == sprite(images)
    assert (picture.get("width"), picture.get("height")) == (str(2 * SLOT), str(SLOT))
    views = root.findall(".//svg[@role='img']")
    assert [view.get("viewBox") for view in views] == ["0 0 96 96"] * 2
    assert [view.get("aria-label") for view in views] == ["tile a", "tile b"]
    uses = root.findall(".//use")
    assert [(use.get("href"), use.get("x"), use.get("y")) for use in uses] == [
        ("#wrong", str(-GUTTER), str(-GUTTER)),
        ("#wrong", str(-SLOT - GUTTER), str(-GUTTER)),
    ]


def test_a_gallery_without_tiles_is_empty():
    assert gallery("none", tiles(0), [], []) == ""


def test_captions_and_alternative_texts_are_escaped():
    markup = gallery("g", tiles(1), [HOSTILE], [HOSTILE])
    assert isinstance(markup, Markup)
    root = parse_fragment(markup)
    assert not list(root.iter("script"))
    assert HOSTILE in [element.text for element in root.iter("figcaption")]
    assert HOSTILE in [element.get("aria-label") for element in root.iter("svg")]


def test_tiles_are_read_from_their_shard_and_row(tmp_path):
    images = tiles(3)
    shards = {}
    for split, rows in (("train", [0, 1]), ("test", [2])):
        path = tmp_path / f"{split}-00000.h5"
        ids = [f"{k:040x}" for k in rows]
        write_shard(path, split=split, number=0, ids=ids, labels=[-1] * len(rows), batches=[images[rows]], code="test")
        shards[split] = open_shards([path], split)
    rows = pd.DataFrame({"id": [f"{k:040x}" for k in (2, 1)], "split": ["test", "train"], "shard": 0, "row": [0, 1]})
    markup = tile_gallery("g", shards, rows, ["first", "second"], "faulty tile")
    root = parse_fragment(markup.replace("<br>", "<br/>"))
    data = base64.b64decode(root.find(".//image").get("href").removeprefix("data:image/webp;base64,"))
    assert data == sprite(images[[2, 1]])
    assert [text.text for text in root.findall(".//figcaption/b")] == ["first", "second"]
    labels = [view.get("aria-label") for view in root.findall(".//svg[@role='img']")]
    assert labels == [f"faulty tile, first: tile {2:040x}", f"faulty tile, second: tile {1:040x}"]
