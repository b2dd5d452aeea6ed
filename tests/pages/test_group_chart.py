"""The chart of groups of tiles: one dot for each group with both labels, at its rates."""

import json
from xml.etree import ElementTree

import pytest

from histo.pages.charts import HEIGHT, LEFT, RIGHT, WIDTH
from histo.pages.group_chart import group_chart


def row(name, fold, found, false, tiles=30):
    return {"group": name, "fold": fold, "tiles": tiles, "found": found, "false": false}


def test_dots_are_at_the_rates_of_the_groups():
    chart = group_chart([row("<a>", 0, 0.9, 0.25), row("b", 1, 0.5, 0.0, 40), row("c", 0, None, 0.1)])
    figure = ElementTree.fromstring(str(chart))
    series = {one.get("data-name"): one for one in figure.iter("g") if one.get("class") == "series"}
    assert {name: json.loads(one.get("data-points")) for name, one in series.items()} == {
        "fold 0": [[0.25, 0.9, "<a>", 30]],
        "fold 1": [[0.0, 0.5, "b", 40]],
    }
    assert json.loads(figure.get("data-more")) == ["group", "tiles"]
    (first,), (second,) = (list(one.iter("circle")) for one in series.values())
    assert float(first.get("cx")) == pytest.approx(LEFT + 0.25 * (WIDTH - LEFT - RIGHT), abs=0.1)
    assert float(second.get("cx")) == LEFT
    assert float(first.get("cy")) < float(second.get("cy")) < HEIGHT
    assert "2 groups with both labels; tumour found from 0.50 to 0.90." in figure.find("svg").get("aria-label")


def test_fewer_than_two_groups_have_no_chart():
    assert group_chart([row("a", 0, 0.9, 0.1), row("b", 0, 1.0, None)]) == ""
