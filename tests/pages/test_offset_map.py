"""The map of the offsets of overlapping tiles: a cell per offset, each pair once."""

import json

from histo.pages.charts import BOTTOM, LEFT, RIGHT, TOP, WIDTH
from histo.pages.offset_map import offset_counts, offset_map
from support.html_page import parse_fragment as parse

PAIRS = [(16, 32), (-16, -32), (-16, 32), (48, 0), (-48, 0), (0, -80)]


def test_a_pair_counts_once_whichever_tile_comes_first():
    assert offset_counts(PAIRS) == {(-16, 32): 1, (0, 80): 1, (16, 32): 2, (48, 0): 2}


def test_a_cell_has_place_number_of_pairs_and_shared_area():
    figure = parse(offset_map(PAIRS)).find("figure")
    assert json.loads(figure.get("data-more")) == ["pairs", "shared area, per cent of a tile"]
    (series,) = figure.findall(".//g")
    assert json.loads(series.get("data-points")) == [
        [-16, 32, 1, 55.6], [0, 80, 1, 16.7], [16, 32, 2, 55.6], [48, 0, 2, 50.0],
    ]  # fmt: skip
    cells = series.findall("rect")
    assert [float(cell.get("fill-opacity")) for cell in cells] == [0.56, 0.56, 1, 1]
    places = [(float(cell.get("x")) + float(cell.get("width")) / 2, float(cell.get("y"))) for cell in cells]
    side = (WIDTH - LEFT - RIGHT) / 11  # 11 columns, from -80 to 80
    middle = (LEFT + WIDTH - RIGHT) / 2
    assert [round((x - middle) / side) for x, _ in places] == [-1, 0, 1, 3]
    # Downwards, as on the slide: two, five, two, no rows below the first.
    assert [round((y - TOP) / side) for _, y in places] == [2, 5, 2, 0]
    assert float(figure.find("svg").get("viewBox").split()[3]) == round(6 * side) + TOP + BOTTOM
    ticks = [text.text for text in figure.findall("svg/text")]
    assert {"-64", "-32", "0", "32", "64"} <= set(ticks)
    assert "6 pairs; most often dx 16, dy 32." in figure.find("svg").get("aria-label")


def test_tiles_of_another_size_have_another_reach():
    figure = parse(offset_map([(112, 16)], 128)).find("figure")
    assert json.loads(figure.find(".//g").get("data-points")) == [[112, 16, 1, 10.9]]
