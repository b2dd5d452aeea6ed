"""The graph of rules: order of the layers, edges that are drawn, places that do not collide."""

import re

import pytest

from histo.errors import InputError
from histo.pages.rule_graph import BOX, ROW, WIDTH, direct, layers_of, layout, rule_graph
from support.html_page import HOSTILE
from support.html_page import parse_fragment as parse

RULES = {
    "index": [],
    "pack": ["index"],
    "folds": ["index"],
    "train": ["pack", "folds", "index"],
    "report": ["index", "train"],
}


def test_a_rule_is_below_all_that_it_needs():
    assert layers_of(RULES) == {"index": 0, "pack": 1, "folds": 1, "train": 2, "report": 3}


def test_a_cycle_is_refused():
    with pytest.raises(InputError, match=r"without a cycle, found one in train, predict\. Run the workflow again"):
        layers_of(RULES | {"train": ["predict"], "predict": ["train"], "report": ["index"]})


def test_what_is_reached_through_another_rule_is_not_drawn():
    assert direct(RULES) == {
        "index": [], "pack": ["index"], "folds": ["index"], "train": ["pack", "folds"], "report": ["train"],
    }  # fmt: skip


def test_a_long_edge_has_a_place_of_its_own_in_each_layer():
    found = layout({"a": [], "b": ["a"], "c": ["b"], "d": ["c", "x"], "x": []})
    assert [sorted(row) for row in found.layers] == [
        [("a", 0), ("x", 0)], [("b", 1), ("x", 1)], [("c", 2), ("x", 2)], [("d", 3)],
    ]  # fmt: skip
    assert (("x", 2), ("d", 3)) in found.steps and (("x", 0), ("d", 3)) not in found.steps
    # The order within the layers has no crossing.
    columns = [[node[0] == "x" for node in row] for row in found.layers[:3]]
    assert columns[0] == columns[1] == columns[2]


def test_boxes_have_names_and_numbers_of_jobs():
    figure = parse(rule_graph(RULES, {"index": 1, "train": 3}))
    assert sorted(text.text for text in figure.iter("text")) == ["folds", "index", "pack", "report", "train × 3"]
    assert figure.find(".//svg").get("viewBox") == f"0 0 {WIDTH} {4 * ROW}"
    assert len(figure.findall(".//path")) == 5
    assert "train after pack, folds; report after train" in figure.find(".//svg").get("aria-label")
    # The edge from index to pack leaves the box below and enters the next one above.
    start, end = (re.findall(r"[\d.]+", path.get("d")) for path in figure.findall(".//path")[:2])
    assert start[1] == end[1] == f"{ROW / 2 + BOX / 2:.0f}" and start[-1] == f"{1.5 * ROW - BOX / 2:.0f}"


def test_names_are_escaped_and_no_rules_are_no_figure():
    assert HOSTILE in [text.text for text in parse(rule_graph({HOSTILE: []}, {})).iter("text")]
    assert rule_graph({}, {}) == ""
