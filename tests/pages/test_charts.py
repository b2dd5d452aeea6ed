"""Charts and tiles: what stands where, and that nothing from outside becomes markup."""

import base64
import io
import re
from xml.etree import ElementTree

import numpy as np
import pytest
from markupsafe import Markup
from PIL import Image

from histo.pages.charts import (
    BOTTOM,
    HEIGHT,
    LEFT,
    RIGHT,
    STYLE,
    TOP,
    WIDTH,
    Axis,
    Interval,
    Line,
    histogram,
    interval_chart,
    line_chart,
)
from histo.pages.gallery import GUTTER, SLOT, centre_frame, gallery, sprite

HOSTILE = "<script>alert('\"&')</script>"
UNIT = Axis("x", 0, 1)


def parse(markup: str) -> ElementTree.Element:
    return ElementTree.fromstring(f"<body>{markup}</body>")


def tiles(count: int) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (count, 96, 96, 3), np.uint8)


@pytest.mark.parametrize(
    ("low", "high", "whole", "expected"),
    [
        (0, 1, False, ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]),
        (0.9612, 0.9698, False, ["0.962", "0.964", "0.966", "0.968"]),
        (1, 6, True, ["1", "2", "3", "4", "5", "6"]),
        (1, 3, True, ["1", "2", "3"]),
        (0.5, 1.5, True, ["1"]),
        (-4000, 4000, True, ["4,000", "2,000", "0", "2,000", "4,000"]),
        (0, 130908, True, ["0", "20,000", "40,000", "60,000", "80,000", "100,000", "120,000"]),
    ],
)
def test_ticks_are_round_and_written_with_equal_decimals(low, high, whole, expected):
    assert [text for _, text in Axis("", low, high, whole).marks()] == expected


def test_an_axis_holds_its_values_and_nothing_above_the_limit():
    axis = Axis.around("AUC", [0.8, 0.99], limit=1.0)
    assert axis.low == pytest.approx(0.7848)
    assert axis.high == 1.0
    same = Axis.around("loss", [0.5, 0.5])
    assert same.low < 0.5 < same.high
    assert Axis.around("AUC", [1.0, 1.0], limit=1.0).high == 1.0
    zero = Axis.around("loss", [0.0])
    assert zero.low < 0 < zero.high


def test_lines_run_through_their_points():
    chart = parse(line_chart("t", [Line("a", [0, 0.5, 1], [0, 1, 0.25], 1)], UNIT, Axis("y", 0, 1), "d"))
    points = chart.find(".//polyline").get("points")
    bottom, right = HEIGHT - BOTTOM, WIDTH - RIGHT
    quarter = bottom - 0.25 * (bottom - TOP)
    assert points == f"{LEFT}.0,{bottom}.0 {(LEFT + right) / 2},{TOP}.0 {right}.0,{quarter}"
    assert chart.find(".//polyline").get("class") == "line stroke-1"
    assert chart.find(".//svg[@role='img']").get("aria-label") == "t. d"


def test_a_single_epoch_shows_as_a_dot():
    chart = parse(line_chart("t", [Line("a", [1], [0.5], 0)], Axis.counted("epoch", 1), UNIT, "d"))
    assert len(chart.findall(".//circle")) == 1


def test_lines_beyond_the_colours_are_dashed():
    chart = parse(line_chart("t", [Line(str(k), [0, 1], [0, 1], k) for k in range(8)], UNIT, UNIT, "d"))
    classes = [line.get("class") for line in chart.findall(".//polyline")]
    assert len(set(classes)) == 8
    assert classes[6] == "line stroke-0 dashed"


def test_the_second_class_of_a_histogram_hangs_below_the_axis():
    chart = parse(histogram("t", [0, 0.5, 1], ("up", [3, 0], 1), "p", "d", ("down", [0, 2], 0), guide=0.5))
    up, down = (chart.find(f"figure/svg/rect[@class='fill-{tone}']") for tone in (1, 0))
    zero = float(up.get("y")) + float(up.get("height"))
    assert float(down.get("y")) == pytest.approx(zero, abs=0.11)
    assert float(up.get("height")) / float(down.get("height")) == pytest.approx(1.5, abs=0.01)
    assert float(up.get("x")) < float(down.get("x"))
    assert chart.find("figure/svg/line[@class='guide']").get("x1") == str((LEFT + WIDTH - RIGHT) / 2)


def test_a_histogram_of_nothing_is_drawn():
    assert not parse(histogram("t", [0, 1], ("up", [0], 1), "p", "d")).findall(".//rect")


def test_intervals_stand_where_their_ends_are():
    chart = parse(interval_chart("t", [Interval("a", 0.5, 0.25, 1.0, [0.75])], UNIT, "d"))
    width = WIDTH - LEFT - RIGHT
    bar = chart.find("figure/svg/line[@class='stroke-0']")
    assert [float(bar.get(key)) for key in ("x1", "x2")] == [LEFT + width * 0.25, LEFT + width]
    assert float(chart.find("figure/svg/line[@class='stroke-1']").get("x1")) == LEFT + width * 0.75
    assert float(chart.find("figure/svg/circle").get("cx")) == LEFT + width * 0.5
    assert "a: 0.5000" in [text.text for text in chart.iter("text")]


def test_texts_from_outside_stay_texts():
    line = Line(HOSTILE, [0, 1], [0, 1], 0)
    charts = [
        line_chart(HOSTILE, [line], Axis(HOSTILE, 0, 1), Axis(HOSTILE, 0, 1), HOSTILE),
        histogram(HOSTILE, [0, 1], (HOSTILE, [1], 0), HOSTILE, HOSTILE, (HOSTILE, [1], 1)),
        interval_chart(HOSTILE, [Interval(HOSTILE, 0.5, 0.4, 0.6, [])], Axis(HOSTILE, 0, 1), HOSTILE),
        gallery("g", tiles(1), [HOSTILE], [HOSTILE]),
    ]
    for chart in charts:
        assert isinstance(chart, Markup)
        root = parse(chart)
        assert not list(root.iter("script"))
        assert any(HOSTILE in (element.text or "") for element in root.iter())
        assert any(HOSTILE in element.get("aria-label", "") for element in root.iter())


def test_the_frame_lies_just_outside_of_pixels_32_to_63():
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


def test_a_gallery_shows_each_tile_from_its_place_in_the_sprite():
    images = tiles(2)
    root = parse(gallery("wrong", images, ["a", "b"], ["tile a", "tile b"]))
    picture = root.find(".//image")
    data = base64.b64decode(picture.get("href").removeprefix("data:image/png;base64,"))
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


def test_a_gallery_of_nothing_is_empty():
    assert gallery("none", tiles(0), [], []) == ""
