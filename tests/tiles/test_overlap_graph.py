"""Tiles that share tissue as a graph: connected components and their layout."""

import numpy as np
import pandas as pd

from histo.tiles.overlap_graph import components, equal_links, layout_component, positions, regions


def test_pairs_become_positions_and_unknown_ids_are_dropped():
    ids = pd.Series(["a", "b", "c", "a"])  # a occurs in both splits; the first counts
    pairs = pd.DataFrame({"id_a": ["a", "b", "a", "c"], "id_b": ["c", "x", "a", "b"], "dy": [1, 2, 3, 4]})
    links, kept = positions(ids, pairs)
    assert links.tolist() == [[0, 2], [2, 1]]
    assert kept["dy"].tolist() == [1, 4]


def test_components():
    assert components(5, np.array([[0, 3], [3, 1]])).tolist() == [0, 0, 1, 0, 2]
    assert components(2, np.empty((0, 2), np.int64)).tolist() == [0, 1]


def test_no_pairs():
    links, kept = positions(pd.Series(["a", "b"]), pd.DataFrame({"id_a": [], "id_b": []}, dtype=object))
    assert links.shape == (0, 2)
    assert links.dtype == np.int64
    assert len(kept) == 0


def test_equal_keys_are_linked_and_missing_keys_are_not():
    links = equal_links(pd.Series(["x", None, "y", "x", None, "x"]))
    assert links.tolist() == [[3, 0], [5, 0]]
    assert equal_links(pd.Series(["x", "y"])).shape == (0, 2)


def test_layout_follows_from_the_offsets(random):
    truth = 16 * random.integers(0, 40, (60, 2))
    truth -= truth.min(0)
    steps = np.array([(k, random.integers(0, k)) for k in range(1, 60)] + [(3, 50), (10, 20)])
    flipped = np.where(random.random(len(steps))[:, None] < 0.5, steps, steps[:, ::-1])
    offsets = truth[flipped[:, 1]] - truth[flipped[:, 0]]
    np.testing.assert_array_equal(layout_component(60, flipped, offsets), truth)


def test_contradicting_offsets_give_no_layout():
    links = np.array([[0, 1], [1, 2], [0, 2]])
    offsets = np.array([[16, 0], [16, 0], [16, 0]])
    assert layout_component(3, links, offsets) is None
    assert layout_component(3, links, np.array([[16, 0], [16, 0], [32, 0]])).tolist() == [[0, 0], [16, 0], [32, 0]]
    # Two offsets for one and the same pair.
    assert layout_component(2, np.array([[0, 1], [0, 1]]), np.array([[16, 0], [0, 16]])) is None


def test_regions_are_connected_tiles_the_largest_first():
    ids = pd.Series(list("abcdefgh"))
    rows = [("h", "a", 16, 0), ("c", "e", 0, 32), ("e", "b", -16, 16), ("x", "d", 1, 1)]
    found = list(regions(ids, pd.DataFrame(rows, columns=["id_a", "id_b", "dy", "dx"])))
    assert [region.members.tolist() for region in found] == [[1, 2, 4], [0, 7]]
    assert found[0].offsets().tolist() == [[0, 48], [16, 0], [16, 32]]  # of b, c and e
    assert found[1].offsets().tolist() == [[16, 0], [0, 0]]


def test_offsets_that_contradict_each_other_have_no_layout():
    rows = [("a", "b", 0, 16), ("b", "c", 0, 16), ("a", "c", 0, 48)]
    (region,) = regions(pd.Series(list("abc")), pd.DataFrame(rows, columns=["id_a", "id_b", "dy", "dx"]))
    assert region.offsets() is None


def test_without_pairs_there_is_no_region():
    pairs = pd.DataFrame({"id_a": [], "id_b": [], "dy": [], "dx": []}, dtype=object)
    assert list(regions(pd.Series(["a", "b"]), pairs)) == []
