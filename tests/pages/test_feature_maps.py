"""Maps of features: series of points, explained variance, and which groups have a colour."""

import json

import numpy as np
import pandas as pd
import pytest

from histo.pages.feature_maps import DOT, OTHERS, SMALLEST, drawn_tiles, explained, feature_section, scatter
from support.html_page import HOSTILE, parse_fragment

NAMES = {0: "no tumour", 1: "tumour"}


def table(random, count=60):
    frame = pd.DataFrame(random.normal(size=(count, 2)), columns=["x", "y"])
    return frame.assign(
        id=[f"{k:03d}" for k in range(count)], label=np.arange(count) % 2, fold=np.arange(count) // 20,
        explained_x=0.5, explained_y=0.25, group=["a"] * 9 + ["b"] * 12 + ["c"] * 30 + list("defghijkl"),
    )  # fmt: skip


def test_every_point_is_in_the_series_of_its_code(random):
    frame = table(random)
    codes = np.where(frame["x"] > 0, 1, OTHERS)
    drawn = np.arange(len(frame)) % 7 > 0
    root = parse_fragment(scatter("t", frame, codes, {OTHERS: HOSTILE, 1: "right"}, "words", drawn))
    series = root.findall(".//g[@class='series']")
    assert [one.get("data-name") for one in series] == [HOSTILE, "right"]
    for one, code in zip(series, (OTHERS, 1), strict=True):
        points = np.array(json.loads(one.get("data-points")))
        np.testing.assert_allclose(points, frame.loc[(codes == code) & drawn, ["x", "y"]], rtol=5e-3)
        places = [place.split(",") for place in one.get("data-at").split()]
        path = one.find("path")
        assert path.get("d") == "".join(f"M{x} {y}h0" for x, y in places)
        assert path.get("class") == ("points others" if code == OTHERS else "points stroke-1")
        # On the chart, y points down.
        assert np.corrcoef(points.T, np.array(places, float).T)[[0, 1], [2, 3]] == pytest.approx([1, -1], abs=1e-4)
    texts = [text.text for text in root.iter("text")]
    assert "PCA 1, 50 % of the variance" in texts and "PCA 2, 25 % of the variance" in texts


def test_of_tiles_within_a_dot_one_at_random_is_drawn(random):
    frame = table(random).iloc[np.arange(60_000) % 60].reset_index(drop=True)
    frame[["x", "y"]] = random.normal(size=(60_000, 2))
    frame["label"] = (random.random(60_000) < 0.2).astype(int)
    drawn = drawn_tiles(frame)
    root = parse_fragment(scatter("t", frame, np.zeros(60_000, int), {0: "all"}, "words", drawn))
    places = [place.split(",") for place in root.find(".//g[@class='series']").get("data-at").split()]
    cells = {(float(x) // DOT, float(y) // DOT) for x, y in places}
    assert len(cells) == len(places) == drawn.sum() and 1000 < drawn.sum() < 6100
    everything = parse_fragment(scatter("t", frame, np.zeros(60_000, int), {0: "all"}, "words", np.ones(60_000, bool)))
    places = [place.split(",") for place in everything.find(".//g[@class='series']").get("data-at").split()]
    assert cells == {(float(x) // DOT, float(y) // DOT) for x, y in places}  # no part of the map is empty
    assert frame["label"][drawn].mean() == pytest.approx(0.2, abs=0.03)  # not the one drawn last
    assert np.array_equal(drawn, drawn_tiles(frame))


def test_explained_variance(random):
    frame = table(random, 60)
    codes = np.arange(60) % 3
    assert explained(frame.assign(x=codes, y=2.0), codes) == 1
    assert explained(frame.assign(x=1.0, y=1.0), codes) == 0
    mixed = frame.assign(x=codes + frame["x"], y=0.0)
    groups = mixed.groupby(codes)["x"]
    within = (groups.var(ddof=1) * (groups.size() - 1)).sum() / 57
    assert explained(mixed, codes) == pytest.approx(1 - within / mixed["x"].var(ddof=1), rel=1e-3)
    assert explained(frame, np.arange(60)) == 0  # no degrees of freedom
    found = [explained(frame, random.permutation(60) // 2) for _ in range(200)]
    assert np.mean(found) < 0.06  # by chance; without the adjustment 0.49


def test_the_section_of_a_model(random):
    frame = table(random)
    frame[["x", "y"]] = np.stack([np.arange(60) % 8, np.arange(60) // 8], axis=1)  # no two within a dot
    guesses = pd.Series(1, frame["id"].sample(frac=1, random_state=1))
    maps = {"m": frame, "empty": frame.head(0)}
    (section,) = feature_section(maps, {"m": guesses, "empty": guesses}, NAMES)
    assert (section["model"], section["tiles"]) == ("m", 60)
    assert (section["method"], section["drawn"]) == ("PCA", 60)
    assert section["explained"] == {name: explained(frame, frame[name].to_numpy()) for name in ("label", "fold")}
    series = [
        {one.get("data-name"): len(json.loads(one.get("data-points"))) for one in parse_fragment(chart).iter("g")}
        for chart in section["charts"]
    ]
    assert series == [
        {"no tumour": 30, "tumour": 30},
        {"classified correctly": 30, "no tumour, misclassified": 30},
        {"fold 0": 20, "fold 1": 20, "fold 2": 20},
        {"other groups": 18, "c": 30, "b": 12},
    ]
    assert SMALLEST == 10  # group a has 9 tiles
    assert "30 of 60 tiles are misclassified." in section["charts"][1]
    captions = [parse_fragment(chart).find(".//figcaption").text for chart in section["charts"]]
    assert captions == ["PCA by label", "PCA by error", "PCA by fold", "PCA by group of tiles, the largest"]
    small = frame.assign(group=frame["id"])
    assert len(feature_section({"m": small}, {"m": guesses}, NAMES)[0]["charts"]) == 3


def test_a_umap_has_no_shares_of_the_variance(random):
    frame = table(random).assign(explained_x=np.nan, explained_y=np.nan)
    (section,) = feature_section({"m": frame}, {"m": pd.Series(1, frame["id"])}, NAMES)
    assert (section["method"], section["explained"]) == ("UMAP", {})
    roots = [parse_fragment(chart) for chart in section["charts"]]
    assert [root.find(".//figcaption").text for root in roots][:3] == ["UMAP by label", "UMAP by error", "UMAP by fold"]
    for root, chart in zip(roots, section["charts"], strict=True):
        assert {"UMAP 1", "UMAP 2"} <= {text.text for text in root.iter("text")}
        assert "variance" not in chart and "nan" not in chart
    assert "UMAP by label. Distances between clusters have no meaning." in section["charts"][0]
