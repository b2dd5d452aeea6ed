"""Maps of attribution beside their tiles, and the shares inside the centre."""

import base64
import io

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from histo.pages.gallery import GUTTER
from histo.pages.mosaics import SCALE
from histo.pages.saliency_maps import SHOWN, overlay, saliency_section
from histo.statistics.clustered_means import clustered_mean
from histo.tiles.shards import open_shards, write_shard
from support.html_page import parse_fragment

NAMES = {0: "no tumour", 1: "tumour"}


def test_positive_attribution_is_orange_and_negative_blue():
    tiles = np.full((1, 1, 4, 3), 100, np.uint8)
    found = overlay(tiles, np.array([[[127, -127, 0, 64]]], np.int8))[0, 0]
    np.testing.assert_array_equal(found[:3], [SCALE[2], SCALE[0], [178, 178, 178]])
    np.testing.assert_allclose(found[3], 178 * (1 - 64 / 127) + SCALE[2] * 64 / 127, atol=0.5)


@pytest.fixture
def shards(tmp_path):
    images = np.repeat(np.arange(10, 190, 9, dtype=np.uint8), 96 * 96 * 3).reshape(20, 96, 96, 3)
    path, ids = tmp_path / "train-00000.h5", [f"t{k:02d}" for k in range(20)]
    write_shard(path, split="train", number=0, ids=ids, labels=[0] * 20, batches=[images], code="test")
    return {"train": open_shards([path], "train")}


def test_the_section_has_shares_and_pairs_of_pictures(shards, random):
    count = 8
    table = pd.DataFrame({"id": [f"t{k:02d}" for k in range(count)][::-1], "fold": 1, "label": 1, "area": 0.25})
    table["guess"] = [1] * 6 + [0] * 2
    table = table.assign(group=list("aabbccdd"), confidence=0.9, error=0.01, share=random.random(count))
    table["map"] = [np.full(96 * 96, 127 * (-1) ** k, np.int8) for k in range(count)]
    table.loc[7, "share"] = np.nan
    folds = pd.DataFrame({"id": [f"t{k:02d}" for k in range(20)], "shard": 0, "row": range(20)})
    (section,) = saliency_section({"m": table}, folds, shards, NAMES)
    assert (section["model"], section["area"], section["error"]) == ("m", 0.25, 0.01)
    names = ["all", "tumour, classified correctly", "tumour, misclassified"]
    assert [(row["name"], row["tiles"], row["groups"]) for row in section["rows"]] == [
        (name, *numbers) for name, numbers in zip(names, [(7, 4), (6, 3), (1, 1)], strict=True)
    ]
    assert section["rows"][1]["share"] == clustered_mean(table["share"].to_numpy()[:6], np.array(list("aabbcc")))
    root = parse_fragment(section["galleries"][0]["tiles"].replace("<br>", "<br/>"))
    assert len(root.findall(".//figure")) == SHOWN
    assert [code.text for code in root.iter("code")] == ["t07", "t06", "t05", "t04"]
    image = root.find(".//image")
    picture = np.asarray(Image.open(io.BytesIO(base64.b64decode(image.get("href").partition(",")[2])))).astype(int)
    slot = 2 * 96 + 2 * GUTTER
    assert picture.shape == (96 + 2 * GUTTER, SHOWN * slot, 3)
    assert np.abs(picture[50, [48, slot + 48]] - [[73] * 3, [64] * 3]).max() <= 3  # t07 and t06
    assert np.abs(picture[50, [48 + 96, slot + 48 + 96]] - SCALE[[2, 0]]).max() <= 3  # their maps
    # Both pictures of a tile have a frame.
    view = root.find(".//svg[@role='img']")
    assert view.get("viewBox") == "0 0 192 96"
    assert [group.get("transform") for group in view.findall("g")] == ["translate(96)"]
    assert len(view.findall(".//rect")) == 4
