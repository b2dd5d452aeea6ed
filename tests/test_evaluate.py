"""Figures of one model from its out-of-fold predictions."""

import pytest

from evaluate import evaluate
from histo import tables
from histo.files import read_json
from test_predictions import FOLDS, written


def test_figures_are_those_of_the_predictions(tmp_path):
    tables.write(FOLDS, tmp_path / "folds", tables.FOLDS)
    paths = [written(tmp_path / "0", "ab", 0, [0.1, 0.2]), written(tmp_path / "1", "cd", 1, [0.3, 0.25])]
    evaluate(paths, tmp_path / "folds", tmp_path / "out.json", model="small")
    found = read_json(tmp_path / "out.json")
    assert found["model"] == "small"
    assert [row["auc"] for row in found["folds"]] == [1.0, 0.0]
    assert found["auc"] == pytest.approx(0.5)
    assert found["confusion"] == [[2, 0], [2, 0]]
