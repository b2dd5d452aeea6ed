"""Charts: positions of marks, ticks and legends, and escaped texts."""

import json
import re

import numpy as np
import pytest
from markupsafe import Markup

from histo.pages.charts import (
    BOTTOM,
    COLOURS,
    HEIGHT,
    LEFT,
    RIGHT,
    STYLE,
    TOP,
    WIDTH,
    Axis,
    Bars,
    CategoricalAxis,
    Dots,
    Interval,
    Line,
    LogAxis,
    histogram,
    interval_chart,
    line_chart,
    scatter_chart,
)
from support.html_page import HOSTILE
from support.html_page import parse_fragment as parse

UNIT = Axis("x", 0, 1)


@pytest.mark.parametrize(
    ("low", "high", "integer", "expected"),
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
def test_ticks_are_round_and_have_equal_decimals(low, high, integer, expected):
    assert [text for _, text in Axis("", low, high, integer).marks()] == expected


def test_an_axis_covers_its_values_and_ends_at_the_limit():
    axis = Axis.around("AUC", [0.8, 0.99], limit=1.0)
    assert axis.low == pytest.approx(0.7848)
    assert axis.high == 1.0
    same = Axis.around("loss", [0.5, 0.5])
    assert same.low < 0.5 < same.high
    assert Axis.around("AUC", [1.0, 1.0], limit=1.0).high == 1.0
    zero = Axis.around("loss", [0.0])
    assert zero.low < 0 < zero.high


def test_a_line_passes_through_its_points():
    chart = parse(line_chart("t", [Line("a", [0, 0.5, 1], [0, 1, 0.25], 1)], UNIT, Axis("y", 0, 1), "d"))
    points = chart.find(".//polyline").get("points")
    bottom, right = HEIGHT - BOTTOM, WIDTH - RIGHT
    quarter = bottom - 0.25 * (bottom - TOP)
    assert points == f"{LEFT}.0,{bottom}.0 {(LEFT + right) / 2},{TOP}.0 {right}.0,{quarter}"
    assert chart.find(".//polyline").get("class") == "line stroke-1"
    assert chart.find(".//svg[@role='img']").get("aria-label") == "t. d"


def test_a_part_is_drawn_on_its_own_axes_and_hidden_at_first():
    part = (Axis("x", 0, 0.5), Axis("y", 0.5, 1))
    chart = parse(line_chart("t", [Line("a", [0, 1], [0.5, 1], 0)], UNIT, Axis("y", 0, 1), "d", part=part))
    whole, enlarged = chart.findall("figure/svg")
    assert whole.get("hidden") is None and enlarged.get("hidden") == ""
    assert enlarged.get("aria-label") == "t, enlarged. d"
    (area,) = enlarged.findall("svg")
    assert area.get("viewBox") == f"{LEFT} {TOP} {WIDTH - LEFT - RIGHT} {HEIGHT - BOTTOM - TOP}"
    right = LEFT + 2 * (WIDTH - LEFT - RIGHT)  # x = 1 is as far outside as the area is wide
    assert area.find(".//polyline").get("points") == f"{LEFT}.0,{HEIGHT - BOTTOM}.0 {right}.0,{TOP}.0"


def test_a_single_epoch_is_a_dot():
    chart = parse(line_chart("t", [Line("a", [1], [0.5], 0)], Axis.counted("epoch", 1), UNIT, "d"))
    assert len(chart.findall(".//circle")) == 1


def test_lines_that_reuse_a_colour_are_dashed():
    chart = parse(line_chart("t", [Line(str(k), [0, 1], [0, 1], k) for k in range(8)], UNIT, UNIT, "d"))
    classes = [line.get("class") for line in chart.findall(".//polyline")]
    assert len(set(classes)) == 8
    assert classes[6] == "line stroke-0 dashed"


def test_the_second_class_of_a_histogram_is_below_the_zero_line():
    chart = parse(histogram("t", [0, 0.5, 1], Bars("up", [3, 0], 1), "p", "d", Bars("down", [0, 2], 0), guide=0.5))
    up, down = (chart.find(f"figure/svg/g/rect[@class='fill-{colour}']") for colour in (1, 0))
    zero = float(up.get("y")) + float(up.get("height"))
    assert float(down.get("y")) == pytest.approx(zero, abs=0.11)
    assert float(up.get("height")) / float(down.get("height")) == pytest.approx(1.5, abs=0.01)
    assert float(up.get("x")) < float(down.get("x"))
    assert chart.find("figure/svg/line[@class='guide']").get("x1") == str((LEFT + WIDTH - RIGHT) / 2)


def test_a_histogram_of_zero_counts_has_no_bars():
    assert not parse(histogram("t", [0, 1], Bars("up", [0], 1), "p", "d")).findall(".//rect")


def test_intervals_are_drawn_at_their_values():
    chart = parse(interval_chart("t", [Interval("a", 0.5, 0.25, 1.0, [0.75])], UNIT, "d"))
    width = WIDTH - LEFT - RIGHT
    bar = chart.find("figure/svg/g/line[@class='stroke-0']")
    assert [float(bar.get(key)) for key in ("x1", "x2")] == [LEFT + width * 0.25, LEFT + width]
    assert float(chart.find("figure/svg/g/line[@class='stroke-1']").get("x1")) == LEFT + width * 0.75
    assert float(chart.find("figure/svg/g/circle").get("cx")) == LEFT + width * 0.5
    assert "a: 0.5000" in [text.text for text in chart.iter("text")]


def test_texts_are_escaped():
    line = Line(HOSTILE, [0, 1], [0, 1], 0)
    charts = [
        line_chart(HOSTILE, [line], Axis(HOSTILE, 0, 1), Axis(HOSTILE, 0, 1), HOSTILE),
        histogram(HOSTILE, [0, 1], Bars(HOSTILE, [1], 0), HOSTILE, HOSTILE, Bars(HOSTILE, [1], 1)),
        interval_chart(HOSTILE, [Interval(HOSTILE, 0.5, 0.4, 0.6, [])], Axis(HOSTILE, 0, 1), HOSTILE),
    ]
    for chart in charts:
        assert isinstance(chart, Markup)
        root = parse(chart)
        assert not list(root.iter("script"))
        assert any(HOSTILE in (element.text or "") for element in root.iter())
        assert any(HOSTILE in element.get("aria-label", "") for element in root.iter())


def test_ticks_of_a_logarithmic_axis():
    assert [text for _, text in LogAxis("", 1e-4, 1e-2).marks()] == ["0.0001", "0.001", "0.01"]
    assert [text for _, text in LogAxis("", 0.004, 0.06).marks()] == ["0.005", "0.01", "0.02", "0.05"]
    assert [text for _, text in LogAxis("", 0.0028, 0.0046).marks()] == ["0.003", "0.0035", "0.004", "0.0045"]


def test_equal_ratios_are_equal_distances_on_a_logarithmic_axis():
    axis = LogAxis("", 1e-4, 1e-1)
    assert [axis.fraction(value) for value in (1e-4, 1e-3, 1e-2, 1e-1)] == pytest.approx([0, 1 / 3, 2 / 3, 1])


def test_positions_on_a_categorical_axis():
    axis = CategoricalAxis.of("", ["adam", "adamw"])
    assert axis.marks() == [(0.0, "adam"), (1.0, "adamw")]
    assert [axis.fraction(position) for position in (0, 1)] == [0.25, 0.75]


def test_a_scatter_plot_has_every_point_and_a_legend_without_empty_groups():
    dots = [
        Dots("tried & done", [1, 2, 3], [0.1, 0.2, 0.3], 0),
        Dots("failed", [2], [0.0], 1, "cross"),
        Dots("none", [], [], 3),
        Dots("best", [3], [0.3], 2, "ring"),
    ]
    chart = scatter_chart(
        "A < B", dots, Axis("x", 0, 4), Axis("y", 0, 1), "Description.", Line("so far", [1, 3], [0, 1], 4)
    )
    drawing = chart[chart.index('viewBox="0 0 480') :]
    assert drawing.count('<circle class="fill-0"') == 3
    assert drawing.count('<path class="line stroke-1"') == 1
    assert drawing.count('<circle class="line stroke-2"') == 1
    assert '<polyline class="line stroke-4"' in drawing
    assert re.findall(r"</svg>([^<]+)</li>", chart) == ["tried &amp; done", "failed", "best", "so far"]
    assert "A &lt; B" in chart and 'aria-label="A &lt; B. Description."' in chart


# Linear RGB as seen with normal vision and, fully, without one kind of cone (Machado et al. 2009).
VISION = {
    "normal": np.eye(3),
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
}


def linear_colours(theme):
    """The linear RGB of the series colours, float [6, 3]; theme: 0 light, 1 dark."""
    codes = re.findall(r"--colour-\d: #(\w{6})", STYLE)[COLOURS * theme : COLOURS * (theme + 1)]
    values = np.array([[int(code[k : k + 2], 16) for k in (0, 2, 4)] for code in codes]) / 255
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def oklab(linear):
    """OKLab coordinates (Ottosson 2020) of linear RGB [N, 3]."""
    cones = [
        [0.4122214708, 0.5363325363, 0.0514459929],
        [0.2119034982, 0.6806995451, 0.1073969566],
        [0.0883024619, 0.2817188376, 0.6299787005],
    ]
    lab = [
        [0.2104542553, 0.7936177850, -0.0040720468],
        [1.9779984951, -2.4285922050, 0.4505937099],
        [0.0259040371, 0.7827717662, -0.8086757660],
    ]
    return np.cbrt(linear.clip(0, 1) @ np.transpose(cones)) @ np.transpose(lab)


@pytest.mark.parametrize("vision", VISION)
@pytest.mark.parametrize("theme", [0, 1])
def test_series_colours_stay_apart_without_red_or_green_cones(theme, vision):
    """The smallest distance was 0.011 with the earlier colours; 0.02 is about the smallest visible difference."""
    values = oklab(linear_colours(theme) @ np.transpose(VISION[vision]))
    first, second = np.triu_indices(COLOURS, 1)
    assert np.linalg.norm(values[first] - values[second], axis=1).min() > 0.15


@pytest.mark.parametrize(("theme", "paper"), [(0, 1.0), (1, 0.0086)])
def test_series_colours_have_the_contrast_of_graphics(theme, paper):
    """WCAG 2.2, 1.4.11: 3:1; paper: relative luminance of the page."""
    luminance = linear_colours(theme) @ [0.2126, 0.7152, 0.0722]
    high, low = np.maximum(luminance, paper), np.minimum(luminance, paper)
    assert ((high + 0.05) / (low + 0.05)).min() > 3


def test_marks_carry_their_values_and_positions():
    charts = [
        line_chart("t", [Line("a", [0, 0.5], [0.25, 1 / 3], 0)], UNIT, UNIT, "d"),
        histogram("t", [0, 0.5, 1], Bars("b", [3, 0], 1), "p", "d"),
        interval_chart("t", [Interval("c", 0.5, 0.25, 1.0, [0.75])], UNIT, "d"),
        scatter_chart("t", [Dots("e", [0, 1], [1, 0], 0)], CategoricalAxis.of("", ["x", "y"]), UNIT, "d"),
    ]
    series = [parse(chart).find(".//g[@class='series']") for chart in charts]
    assert [one.get("data-name") for one in series] == ["a", "b", "c", "e"]
    assert [json.loads(one.get("data-points")) for one in series] == [
        [[0, 0.25], [0.5, 0.333333]],
        [["0 to 0.5", 3], ["0.5 to 1", 0]],
        [[0.5, "mean of the folds"], [0.25, "95 % CI, lower limit"], [1, "95 % CI, upper limit"], [0.75, "fold 0"]],
        [["x", 1], ["y", 0]],
    ]
    assert [len(one.get("data-at", "").split()) for one in series] == [0, 2, 4, 2]
