"""Charts of points: places on logarithmic and named axes, marks, legend."""

import re

import pytest

from histo.pages.charts import Axis, Dots, Line, LogAxis, NamedAxis, scatter_chart


def test_marks_of_a_logarithmic_axis():
    assert [text for _, text in LogAxis("", 1e-4, 1e-2).marks()] == ["0.0001", "0.001", "0.01"]
    assert [text for _, text in LogAxis("", 0.004, 0.06).marks()] == ["0.005", "0.01", "0.02", "0.05"]
    assert [text for _, text in LogAxis("", 0.0028, 0.0046).marks()] == ["0.003", "0.0035", "0.004", "0.0045"]


def test_equal_factors_are_equal_distances():
    axis = LogAxis("", 1e-4, 1e-1)
    assert [axis.share(value) for value in (1e-4, 1e-3, 1e-2, 1e-1)] == pytest.approx([0, 1 / 3, 2 / 3, 1])


def test_named_axis():
    axis = NamedAxis.of("", ["adam", "adamw"])
    assert axis.marks() == [(0.0, "adam"), (1.0, "adamw")]
    assert [axis.share(place) for place in (0, 1)] == [0.25, 0.75]


def test_chart_has_every_point_and_a_legend_of_what_is_there():
    dots = [
        Dots("tried & done", [1, 2, 3], [0.1, 0.2, 0.3], 0),
        Dots("failed", [2], [0.0], 1, "cross"),
        Dots("none", [], [], 3),
        Dots("best", [3], [0.3], 2, "ring"),
    ]
    chart = scatter_chart("A < B", dots, Axis("x", 0, 4), Axis("y", 0, 1), "Said.", Line("so far", [1, 3], [0, 1], 4))
    drawing = chart[chart.index('viewBox="0 0 480') :]
    assert drawing.count('<circle class="fill-0"') == 3
    assert drawing.count('<path class="line stroke-1"') == 1
    assert drawing.count('<circle class="line stroke-2"') == 1
    assert '<polyline class="line stroke-4"' in drawing
    assert re.findall(r"</svg>([^<]+)</li>", chart) == ["tried &amp; done", "failed", "best", "so far"]
    assert "A &lt; B" in chart and 'aria-label="A &lt; B. Said."' in chart
