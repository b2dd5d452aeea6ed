"""Averaging of probabilities over overlapping tiles."""

import numpy as np
import pandas as pd
import pytest

from histo.tiles.overlap_average import average_overlaps

IDS = pd.Series(list("abcde"))
FOLDS = np.zeros(5, int)


def pairs(*rows, **columns):
    """Overlaps of tiles of 96 pixels: (id_a, id_b, shared share of a tile)."""
    frame = pd.DataFrame(rows, columns=["id_a", "id_b", "share"])
    return frame.assign(**{"dy": 0, "dx": 0, "area": (frame["share"] * 9216).astype(int), "confirmed": True} | columns)


def test_the_weights_are_the_shares_of_common_pixels():
    values = np.array([0.9, 0.3, 0.6, 0.2, 0.5])
    averaged, overlapping = average_overlaps(values, IDS, FOLDS, pairs(("a", "b", 0.5), ("c", "a", 0.25)), 96)
    expected = [(0.9 + 0.5 * 0.3 + 0.25 * 0.6) / 1.75, (0.3 + 0.5 * 0.9) / 1.5, (0.6 + 0.25 * 0.9) / 1.25, 0.2, 0.5]
    np.testing.assert_allclose(averaged, expected, rtol=1e-15)
    assert overlapping.tolist() == [True, True, True, False, False]


def test_the_side_of_a_tile_sets_the_scale():
    averaged, _ = average_overlaps(np.array([1.0, 0, 0, 0, 0]), IDS, FOLDS, pairs(("a", "b", 0.25)), 48)
    assert averaged[:2].tolist() == [0.5, 0.5]  # 2,304 pixels are all of a tile of 48


def test_equal_probabilities_stay_equal_whatever_the_number_of_overlaps():
    many = pairs(*[("a", other, 0.7) for other in "bcd"])
    averaged, _ = average_overlaps(np.full(5, 0.3), IDS, FOLDS, many, 96)
    np.testing.assert_allclose(averaged, 0.3, rtol=1e-15)


def test_probabilities_stay_probabilities():
    averaged, _ = average_overlaps(np.ones(5), IDS, FOLDS, pairs(*[("a", other, 1 / 3) for other in "bcde"]), 96)
    assert averaged.max() <= 1 and averaged.min() > 1 - 1e-15


@pytest.mark.parametrize(
    ("folds", "found"),
    [
        (FOLDS, pairs(("a", "x", 0.5), ("y", "b", 0.5))),  # tiles of the other split
        (np.array([0, 1, 0, 0, 0]), pairs(("a", "b", 0.5))),  # predicted by other networks
        (FOLDS, pairs(("a", "b", 0.5), confirmed=False)),
        (FOLDS, pairs()),
    ],
)
def test_other_tiles_do_not_count(folds, found):
    values = np.array([0.9, 0.3, 0.6, 0.2, 0.5])
    averaged, overlapping = average_overlaps(values, IDS, folds, found, 96)
    assert averaged.tolist() == values.tolist() and not overlapping.any()


def test_several_classes_are_averaged_alike():
    values = np.array([[0.6, 0.3, 0.1], [0.2, 0.2, 0.6], [1, 0, 0], [0, 1, 0], [0, 0, 1]])
    averaged, _ = average_overlaps(values, IDS, FOLDS, pairs(("a", "b", 0.5)), 96)
    np.testing.assert_allclose(averaged[0], [0.7 / 1.5, 0.4 / 1.5, 0.4 / 1.5], rtol=1e-15)
    np.testing.assert_allclose(averaged.sum(axis=1), 1, rtol=1e-15)
