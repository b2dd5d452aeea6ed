"""Metrics of one model from its out-of-fold predictions."""

import pytest

from evaluate import evaluate
from histo import tables
from histo.files import read_json
from test_predictions import FOLDS, written


def test_metrics_are_those_of_the_predictions(tmp_path):
    tables.write(FOLDS, tmp_path / "folds", tables.FOLDS)
    paths = [written(tmp_path / "0", "ab", 0, [0.1, 0.2]), written(tmp_path / "1", "cd", 1, [0.3, 0.25])]
    evaluate(paths, tmp_path / "folds", tmp_path / "out.json", model="small", tta="none")
    metrics = read_json(tmp_path / "out.json")
    assert metrics["model"] == "small"
    assert [row["auc"] for row in metrics["folds"]] == [1.0, 0.0]
    assert metrics["auc"] == pytest.approx(0.5)
    assert metrics["confusion"] == [[2, 0], [2, 0]]
    assert metrics["tta"] == {"none": 0.5, "flips": None, "all": None}


@pytest.mark.parametrize(
    ("tta", "flips", "expected"),
    [
        ("none", None, (0.5, None, None)),
        ("flips", [1, 0, 0, -1], (0.5, 0.5, None)),
        ("all", [1, 0, 0, -1], (0.5, 0.0, 0.5)),
        ("all", None, (0.5, None, None)),  # a model without test-time augmentation
    ],
)
def test_gain_of_test_time_augmentation(tmp_path, tta, flips, expected):
    """Labels 0 1 0 1; the AUC of the selected augmentation uses the probabilities, that of the others their logits."""
    tables.write(FOLDS, tmp_path / "folds", tables.FOLDS)
    first = {"logit_none": [-1.0, 0.0], "logit_flips": flips[:2] if flips else None}
    second = {"logit_none": [-0.1, -0.25], "logit_flips": flips[2:] if flips else None}
    paths = [
        written(tmp_path / "0", "ab", 0, [0.1, 0.2], **first),
        written(tmp_path / "1", "cd", 1, [0.3, 0.25], **second),
    ]
    evaluate(paths, tmp_path / "folds", tmp_path / "out.json", model="small", tta=tta)
    assert tuple(read_json(tmp_path / "out.json")["tta"][name] for name in ("none", "flips", "all")) == expected
