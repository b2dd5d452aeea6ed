"""The ensemble on folds by stain."""

import numpy as np
import pandas as pd
import pytest

from ensemble_by_stain import ensemble_by_stain
from histo import tables
from histo.errors import InputError
from histo.files import read_json
from histo.metrics import auc
from histo.statistics.blending import fit_weights
from support.blending import several_classes, two_models
from test_predictions import written


def predictions(folder, folds, values):
    """Write the table of folds, and the predictions of each model and fold; values: {model: probabilities}."""
    tables.write(folds, folder / "folds", tables.FOLDS)
    parts = [(k, (folds["fold"] == k).to_numpy()) for k in np.unique(folds["fold"])]
    return {
        name: [written(folder / f"{name}-{k}", folds.loc[rows, "id"], k, found[rows]) for k, rows in parts]
        for name, found in values.items()
    }


def test_each_fold_is_blended_with_weights_of_the_other_folds(tmp_path):
    folds, values = two_models(3, correct_fold=0)
    paths = predictions(tmp_path, folds, values)
    ensemble_by_stain(paths, tmp_path / "folds", tmp_path / "out.json", method="weights")
    matrix, labels, fold = np.stack(list(values.values()), axis=1), folds["label"].to_numpy(), folds["fold"].to_numpy()
    aucs = []
    for k in range(3):
        here = fold == k
        aucs.append(auc(labels[here], matrix[here] @ fit_weights(matrix[~here], labels[~here])))
    found = read_json(tmp_path / "out.json")
    assert (found["model"], found["models"], found["method"]) == ("ensemble", ["steady", "lucky"], "weights")
    assert [row["auc"] for row in found["folds"]] == pytest.approx(aucs)
    assert found["auc"] == pytest.approx(np.mean(aucs)) and found["auc_low"] < found["auc"] < found["auc_high"]
    assert found["auc_error"] > 0 and found["tiles"] == 120


@pytest.mark.parametrize("method", ["mean", "rank_mean"])
def test_the_selected_method_is_evaluated(tmp_path, method):
    folds, values = two_models(4, correct_fold=1)
    ensemble_by_stain(predictions(tmp_path, folds, values), tmp_path / "folds", tmp_path / "out.json", method=method)
    found, aucs = read_json(tmp_path / "out.json"), []
    for _, rows in folds.groupby("fold").indices.items():
        parts = [pd.Series(found[rows]).rank() if method == "rank_mean" else found[rows] for found in values.values()]
        aucs.append(auc(folds["label"].to_numpy()[rows], np.mean(parts, axis=0)))
    assert [row["auc"] for row in found["folds"]] == pytest.approx(aucs)
    # Ranks are no probabilities, and have no calibration.
    assert (found["probability"] is None) == (method == "rank_mean")


def test_several_classes(tmp_path, random):
    probabilities, labels = several_classes(random)
    ids = [f"{k:03d}" for k in range(300)]
    folds = pd.DataFrame({"id": ids, "shard": 0, "row": range(300), "label": labels, "group": ids})
    folds["fold"] = np.arange(300) // 150
    tables.write(folds, tmp_path / "folds", tables.FOLDS)
    paths = {"one": [], "two": []}
    for m, name in enumerate(paths):
        for fold in (0, 1):
            values = probabilities[150 * fold : 150 * fold + 150, m]
            columns = {f"{kind}_{k}": values[:, k] for kind in ("probability", "logit") for k in range(3)}
            paths[name].append(tmp_path / f"{name}-{fold}")
            frame = pd.DataFrame({"id": ids[150 * fold : 150 * fold + 150], "fold": fold, **columns})
            tables.write(frame, paths[name][-1], tables.predictions(3))
    ensemble_by_stain(paths, tmp_path / "folds", tmp_path / "out.json", method="mean")
    assert read_json(tmp_path / "out.json")["auc"] == auc(labels, probabilities.mean(axis=1))


def test_predictions_of_other_folds_are_refused(tmp_path):
    folds, values = two_models(5, correct_fold=0)
    paths = predictions(tmp_path, folds, values)
    others = folds.assign(fold=(folds["fold"] + 1) % 3)
    tables.write(others, tmp_path / "others", tables.FOLDS)
    with pytest.raises(InputError, match="expected one out-of-fold prediction for each of 120 training tiles"):
        ensemble_by_stain(paths, tmp_path / "others", tmp_path / "out.json", method="mean")
    assert not (tmp_path / "out.json").exists()
