"""Figures of one model from its out-of-fold predictions."""

import pytest

from evaluate import evaluate
from histo import tables
from histo.files import read_json
from test_predictions import FOLDS, written


def test_figures_are_those_of_the_predictions(tmp_path):
    tables.write(FOLDS, tmp_path / "folds", tables.FOLDS)
    paths = [written(tmp_path / "0", "ab", 0, [0.1, 0.2]), written(tmp_path / "1", "cd", 1, [0.3, 0.25])]
    evaluate(paths, tmp_path / "folds", tmp_path / "out.json", model="small", tta="none")
    found = read_json(tmp_path / "out.json")
    assert found["model"] == "small"
    assert [row["auc"] for row in found["folds"]] == [1.0, 0.0]
    assert found["auc"] == pytest.approx(0.5)
    assert found["confusion"] == [[2, 0], [2, 0]]
    assert found["tta"] == {"none": 0.5, "flips": None, "all": None}


@pytest.mark.parametrize(
    ("tta", "flips", "expected"),
    [
        ("none", None, (0.5, None, None)),
        ("flips", [1, 0, 0, -1], (0.75, 0.5, None)),
        ("all", [1, 0, 0, -1], (0.75, 0.125, 0.5)),
        ("all", None, (0.5, None, None)),  # a model without views
    ],
)
def test_gain_of_test_time_augmentation(tmp_path, tta, flips, expected):
    """Labels 0 1 0 1; what was chosen is rated by its probabilities, what came before by its logits."""
    tables.write(FOLDS, tmp_path / "folds", tables.FOLDS)
    less = {"logit_none": [-1.0, 0.0], "logit_flips": flips[:2] if flips else None}
    more = {"logit_none": [-0.1, -0.25], "logit_flips": flips[2:] if flips else None}
    paths = [
        written(tmp_path / "0", "ab", 0, [0.1, 0.2], **less),
        written(tmp_path / "1", "cd", 1, [0.3, 0.25], **more),
    ]
    evaluate(paths, tmp_path / "folds", tmp_path / "out.json", model="small", tta=tta)
    assert tuple(read_json(tmp_path / "out.json")["tta"][name] for name in ("none", "flips", "all")) == expected
