"""Metrics of one model from its out-of-fold predictions."""

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import confusion_matrix, roc_auc_score

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


def test_several_classes_have_the_macro_auc(tmp_path, random):
    labels = np.arange(60) % 3
    scores = random.random((60, 3))
    scores[np.arange(60), labels] += 0.3
    scores /= scores.sum(axis=1, keepdims=True)
    ids = [f"{k:02d}" for k in range(60)]
    frame = pd.DataFrame({"id": ids, "shard": 0, "row": range(60), "label": labels, "group": ids})
    tables.write(frame.assign(fold=np.arange(60) // 30), tmp_path / "folds", tables.FOLDS)
    columns = {f"{kind}_{k}": scores[:, k] for kind in ("probability", "logit") for k in range(3)}
    predicted = pd.DataFrame({"id": ids, "fold": np.arange(60) // 30, **columns})
    paths = [tmp_path / "0", tmp_path / "1"]
    for fold, path in enumerate(paths):
        tables.write(predicted[predicted["fold"] == fold], path, tables.predictions(3))
    evaluate(paths, tmp_path / "folds", tmp_path / "out.json", model="small", tta="flips")
    metrics = read_json(tmp_path / "out.json")
    expected = roc_auc_score(labels, scores, multi_class="ovr")
    assert metrics["auc"] == pytest.approx(expected, abs=1e-12)
    assert metrics["confusion"] == confusion_matrix(labels, scores.argmax(axis=1)).tolist()
    assert metrics["tta"] == {"none": None, "flips": metrics["auc"], "all": None}
