"""Folds: whole groups, both classes shared out, the same from any order of rows."""

import numpy as np
import pandas as pd
import pytest

from folds import check, deal, summary
from histo.errors import InputError


def tiles(random, groups, largest=12):
    sizes = random.integers(1, largest + 1, groups)
    names = np.repeat([f"g{k}" for k in range(groups)], sizes)
    leaning = np.repeat(random.beta(0.3, 0.5, groups), sizes)
    labels = (random.random(len(names)) < leaning).astype(np.int8)
    return pd.DataFrame({"id": [f"{k:05d}" for k in range(len(names))], "group": names, "label": labels})


@pytest.mark.parametrize("count", [2, 5, 10])
def test_sizes_and_classes_are_even(random, count):
    frame = tiles(random, 2000)
    frame["fold"] = deal(frame["group"], frame["label"], count, 1)
    rows = pd.DataFrame(summary(frame))
    assert rows["tiles"].max() - rows["tiles"].min() <= 0.02 * rows["tiles"].mean()
    assert rows["positives"].max() - rows["positives"].min() <= 0.02 * rows["positives"].mean()
    assert (frame.groupby("group")["fold"].nunique() == 1).all()
    check(frame, pd.DataFrame({"id_a": [], "id_b": []}), count)


def test_a_few_large_groups_are_shared_out_as_well_as_they_allow(random):
    frame = pd.concat([tiles(random, 1, 1).assign(group=f"big{k}", id=f"b{k}") for k in range(4)] * 300)
    frame["id"] = [f"{k}" for k in range(len(frame))]
    frame["label"] = random.integers(0, 2, len(frame))
    frame["fold"] = deal(frame["group"], frame["label"], 4, 1)
    assert sorted(frame.groupby("fold").size()) == [300] * 4


def test_order_of_rows_does_not_matter_but_the_seed_does(random):
    frame = tiles(random, 300)
    fold = pd.Series(deal(frame["group"], frame["label"], 5, 1), index=frame["id"])
    shuffled = frame.sample(frac=1, random_state=3)
    again = pd.Series(deal(shuffled["group"], shuffled["label"], 5, 1), index=shuffled["id"])
    pd.testing.assert_series_equal(fold.sort_index(), again.sort_index())
    assert (fold.to_numpy() != deal(frame["group"], frame["label"], 5, 2)).any()


def test_the_check_fails_for_parted_groups_and_overlaps(random):
    frame = tiles(random, 50)
    frame["fold"] = deal(frame["group"], frame["label"], 2, 1)
    zero, one = (frame.loc[frame["fold"] == k, "id"].iloc[0] for k in (0, 1))
    with pytest.raises(AssertionError, match="share tissue in different folds"):
        check(frame, pd.DataFrame({"id_a": [zero], "id_b": [one]}), 2)
    group = frame["group"].value_counts().index[0]
    frame.loc[frame.index[frame["group"] == group][0], "fold"] ^= 1
    with pytest.raises(AssertionError, match="groups in more than one fold"):
        check(frame, pd.DataFrame({"id_a": [], "id_b": []}), 2)


def test_folds_without_a_class_are_refused():
    frame = pd.DataFrame({"id": list("abcd"), "group": list("abcd"), "label": [1, 0, 0, 0]})
    frame["fold"] = deal(frame["group"], frame["label"], 2, 1)
    with pytest.raises(InputError, match=r"Fold . of 2 has no tiles of one class.*Set `folds\.count` lower"):
        check(frame, pd.DataFrame({"id_a": [], "id_b": []}), 2)
