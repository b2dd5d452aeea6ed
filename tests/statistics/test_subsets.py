"""Results by group and by stratum, against cases counted by hand."""

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from histo.statistics.subsets import by_group, by_stratum


def frame(random, sizes):
    group = np.repeat([f"s{k}" for k in range(len(sizes))], sizes)
    labels = random.integers(0, 2, len(group))
    labels[group == "s2"] = 0
    probabilities = np.clip(0.3 + 0.4 * labels + random.normal(0, 0.2, len(group)), 0, 1)
    folds = np.array([int(name[1:]) % 2 for name in group])
    return pd.DataFrame({"label": labels, "probability": probabilities, "fold": folds, "group": group})


def test_rows_of_groups(random):
    tiles = frame(random, [30, 50, 20, 19])
    found = by_group(tiles)
    assert [(row["group"], row["tiles"], row["fold"]) for row in found["rows"]] == [
        ("s1", 50, 1),
        ("s0", 30, 0),
        ("s2", 20, 0),
    ]
    assert found["others"] == 19
    part = tiles[tiles["group"] == "s1"]
    first = found["rows"][0]
    assert first["positives"] == part["label"].sum()
    assert first["auc"] == pytest.approx(roc_auc_score(part["label"], part["probability"]))
    assert first["found"] == pytest.approx((part.loc[part["label"] == 1, "probability"] >= 0.5).mean())
    assert first["false"] == pytest.approx((part.loc[part["label"] == 0, "probability"] >= 0.5).mean())
    assert found["rows"][2]["auc"] is found["rows"][2]["found"] is None
    for name, count in (("auc", 2), ("found", 2), ("false", 3)):
        values = [row[name] for row in found["rows"] if row[name] is not None]
        assert found[name] == {
            "groups": count,
            "median": pytest.approx(np.median(values)),
            "lowest": min(values),
            "highest": max(values),
        }
    assert found["missed"] == 0


def test_groups_in_which_no_positive_tile_is_found_are_counted(random):
    tiles = frame(random, [30, 50, 20, 40])
    tiles.loc[tiles["group"] == "s1", "probability"] = 0.4
    found = by_group(tiles)
    assert (found["missed"], found["found"]["lowest"], found["found"]["groups"]) == (1, 0, 3)


def test_without_large_groups_there_is_no_spread(random):
    found = by_group(frame(random, [5, 6]))
    assert found == {"rows": [], "auc": None, "found": None, "false": None, "missed": 0, "others": 11}


def test_quintiles_of_a_measurement(random):
    """The probabilities of the darkest fifth are random."""
    tiles = frame(random, [100, 100, 1, 99])
    values = random.random(300)
    dark = values < np.quantile(values, 0.2)
    tiles.loc[dark, "probability"] = random.random(dark.sum())
    (stratum,) = by_stratum(tiles, {"brightness": values, "constant": np.ones(300), "unknown": np.full(300, np.nan)})
    assert stratum["name"] == "brightness"
    rows = stratum["rows"]
    assert [row["tiles"] for row in rows] == [60] * 5
    assert sum(row["positives"] for row in rows) == tiles["label"].sum()
    assert (rows[0]["lowest"], rows[4]["highest"]) == (values.min(), values.max())
    assert rows[0]["auc"]["value"] < 0.7 < 0.75 < min(row["auc"]["value"] for row in rows[1:])
    last = values >= np.quantile(values, 0.8)
    parts = [tiles[last & (tiles["fold"] == k)] for k in (0, 1)]
    expected = np.mean([roc_auc_score(part["label"], part["probability"]) for part in parts])
    assert rows[4]["auc"]["value"] == pytest.approx(expected)
    right = (tiles["probability"] >= 0.5) == (tiles["label"] == 1)
    assert rows[4]["accuracy"]["value"] == pytest.approx(right[last].mean())


@pytest.mark.parametrize(
    ("values", "ranges"),
    [
        # A fifth of 10 values is 2.
        ([0] * 3 + [1, 2, 3, 4, 5, 6, 7], [(0, 0), (1, 1), (2, 3), (4, 5), (6, 7)]),
        ([0] * 5 + [1, 2, 3, 4, 5], [(0, 0), (1, 1), (2, 3), (4, 5)]),
        ([0] * 9 + [1], [(0, 0), (1, 1)]),
        ([1, 2, 3, 4, 5] + [9] * 5, [(1, 2), (3, 4), (5, 9)]),
    ],
)
def test_equal_values_are_in_one_stratum(random, values, ranges):
    order = random.permutation(10)
    rows = by_stratum(frame(random, [5, 5]), {"blankness": np.array(values, float)[order]})[0]["rows"]
    assert [(row["lowest"], row["highest"]) for row in rows] == ranges
    assert sum(row["tiles"] for row in rows) == 10


def test_a_quintile_of_one_class_has_no_auc(random):
    tiles = frame(random, [100, 100, 0, 100])
    values = tiles["label"] * 10 + random.random(300)
    rows = by_stratum(tiles, {"made": values.to_numpy()})[0]["rows"]
    assert rows[0]["auc"] == {"value": None, "low": None, "high": None}
