"""Joining the predictions of folds and networks: each tile exactly once."""

import numpy as np
import pandas as pd
import pytest

from histo import tables
from histo.errors import InputError
from histo.predictions import join_folds, join_models, stack_networks

FOLDS = pd.DataFrame({"id": list("abcd"), "shard": 0, "row": range(4), "label": [0, 1, 0, 1], "group": list("wxyz")})
FOLDS["fold"] = [0, 0, 1, 1]


def written(path, ids, fold, probabilities, **logits):
    frame = pd.DataFrame({"id": list(ids), "fold": fold, "probability": probabilities})
    frame = frame.assign(**{"logit": 0.0, "logit_none": 0.0, "logit_flips": np.nan} | logits)
    tables.write(frame, path, tables.PREDICTIONS)
    return path


def test_joined_folds_are_sorted_by_id(tmp_path):
    paths = [written(tmp_path / "1", "dc", 1, [0.4, 0.3]), written(tmp_path / "0", "ba", 0, [0.2, 0.1])]
    frame = join_folds(paths, FOLDS)
    assert frame[["id", "label", "fold", "probability"]].to_numpy().tolist() == [
        ["a", 0, 0, 0.1],
        ["b", 1, 0, 0.2],
        ["c", 0, 1, 0.3],
        ["d", 1, 1, 0.4],
    ]


def test_models_are_joined_in_the_same_order_of_tiles(tmp_path):
    paths = {
        name: [written(tmp_path / f"{name}1", "dc", 1, [0.4 + add, 0.3 + add]),
               written(tmp_path / f"{name}0", order, 0, [0.2 + add, 0.1 + add])]
        for name, order, add in (("one", "ba", 0.0), ("two", "ab", 0.5))
    }  # fmt: skip
    joined, probabilities = join_models(paths, FOLDS)
    assert joined["id"].tolist() == list("abcd") and joined["probability"].tolist() == [0.1, 0.2, 0.3, 0.4]
    np.testing.assert_allclose(probabilities, [[0.1, 0.7], [0.2, 0.6], [0.3, 0.8], [0.4, 0.9]])


@pytest.mark.parametrize(("ids", "fold"), [("c", 1), ("cde", 1), ("ccd", 1), ("cd", 0), ("ad", 1)])
def test_missing_repeated_and_other_tiles_and_other_folds_are_refused(tmp_path, ids, fold):
    paths = [written(tmp_path / "0", "ab", 0, 0.5), written(tmp_path / "1", ids, fold, 0.5)]
    with pytest.raises(InputError, match="expected one out-of-fold prediction for each of 4 training tiles"):
        join_folds(paths, FOLDS)


def test_logits_that_were_not_computed_stay_missing(tmp_path):
    paths = [written(tmp_path / "1", "dc", 1, 0.5, logit_none=[4.0, 3.0], logit_flips=[0.4, 0.3])]
    frame = join_folds([*paths, written(tmp_path / "0", "ba", 0, 0.5, logit_none=[2.0, 1.0])], FOLDS)
    assert frame["logit_none"].tolist() == [1, 2, 3, 4]
    assert frame["logit_flips"].isna().tolist() == [True, True, False, False]
    assert frame["logit_flips"].tolist()[2:] == [np.float32(0.3), np.float32(0.4)]


def test_stacked_networks_are_sorted_by_id(tmp_path):
    paths = [written(tmp_path / "0", "yx", 0, [0.2, 0.4]), written(tmp_path / "1", "xy", 1, [0.8, 0.6])]
    ids, probabilities = stack_networks(paths)
    assert ids.tolist() == ["x", "y"]
    assert probabilities.tolist() == [[0.4, 0.2], [0.8, 0.6]]


@pytest.mark.parametrize("ids", ["x", "xz", "xyz", "xyy"])
def test_networks_must_predict_the_same_test_tiles(tmp_path, ids):
    paths = [written(tmp_path / "0", "xy", 0, 0.5), written(tmp_path / "1", ids, 1, 0.5)]
    with pytest.raises(InputError, match="expected the 2 test tiles"):
        stack_networks(paths)
