"""Blending several models, out-of-fold and on the test tiles."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ensemble import ensemble, spread_of
from histo import tables
from histo.errors import InputError
from histo.files import read_json
from histo.metrics import auc
from histo.statistics.blending import fit_weights
from support.blending import several_classes, two_models
from test_predictions import FOLDS, written

MODELS = {
    "one": [("ab", 0, [0.0, 0.4]), ("cd", 1, [0.2, 0.9])],
    "two": [("ab", 0, [0.2, 0.8]), ("cd", 1, [0.8, 1.0])],
}
TESTS = {
    "one": [("xyz", 0, [0.1, 0.2, 0.3]), ("xyz", 1, [0.9, 0.4, 0.3])],
    "two": [("xyz", 0, [0.5, 0.6, 0.5]), ("xyz", 1, [0.7, 0.8, 0.9])],
}


def blended(folder, method, oof=MODELS, test=TESTS, folds=FOLDS, recipes=()):
    """Return the OOF table, test table and summary of models {name: [(ids, fold, probabilities) of each network]}."""
    tables.write(folds, folder / "folds", tables.FOLDS)
    paths = [
        {
            name: [written(folder / f"{split}-{name}-{k}", *parts) for k, parts in enumerate(networks)]
            for name, networks in models.items()
        }
        for split, models in (("oof", oof), ("test", test))
    ]
    ids = folds["id"]
    measured = dict.fromkeys(tables.MEASUREMENTS, 1.0) | {"sharpness": np.arange(len(ids)), "fault": "", "detail": ""}
    frame = pd.DataFrame({"id": ids, "split": "train", "shard": 0, "row": 0, "label": 0, "kept": True} | measured)
    tables.write(frame, folder / "tiles", tables.TILES)
    out = [folder / name for name in ("oof", "test", "json")]
    ensemble(*paths, folder / "folds", folder / "tiles", *out, method=method, recipes=list(recipes))
    return *(tables.read(path, tables.PROBABILITIES) for path in out[:2]), read_json(out[2])


def test_mean_of_the_probabilities(tmp_path):
    oof, test, summary = blended(tmp_path, "mean")
    assert oof["id"].tolist() == list("abcd") and oof["fold"].tolist() == [0, 0, 1, 1]
    np.testing.assert_allclose(oof["probability"], [0.1, 0.6, 0.5, 0.95], rtol=1e-15)
    np.testing.assert_allclose(1 / (1 + np.exp(-oof["logit"])), oof["probability"], rtol=1e-5)
    assert test["id"].tolist() == list("xyz") and set(test["fold"]) == {-1}
    np.testing.assert_allclose(test["probability"], [0.55, 0.5, 0.5], rtol=1e-15)
    assert (summary["models"], summary["method"], summary["auc"]) == (["one", "two"], "mean", 1.0)


def test_models_with_different_numbers_of_networks_have_equal_weight(tmp_path):
    tests = TESTS | {"one": [("xyz", -1, [0.1, 0.2, 0.3])]}
    _, test, _ = blended(tmp_path, "mean", test=tests)
    np.testing.assert_allclose(test["probability"], [(0.1 + 0.6) / 2, (0.2 + 0.7) / 2, (0.3 + 0.7) / 2], rtol=1e-15)


def test_the_spread_of_the_networks_of_each_model_says_what_they_differ_in():
    test = {name: [Path(f"{kind}-{k}/test") for k in range(2)] for name, kind in (("a", "full"), ("b", "fold"))}
    test["c"] = [Path("fold-0/test")]
    networks = np.array([[0.1, 0.4, 0.9], [0.2, 0.6, 0.8], [0.1, 0.2, 0.3], [0.3, 0.2, 0.1], [0.5, 0.5, 0.6]])
    found = spread_of(test, networks)
    assert [found["a"]["by"], found["b"]["by"], found["c"]] == ["seed", "fold", None]
    assert found["a"]["disagreement"] == pytest.approx(1 / 3) and found["b"]["disagreement"] == 0
    assert (found["a"]["correlation"], found["b"]["correlation"]) == pytest.approx((1, -1))
    assert found["a"]["deviation"] == pytest.approx(((0.005 + 0.02 + 0.005) / 3) ** 0.5)
    assert spread_of(test, np.zeros((5, 3, 4))) == dict.fromkeys("abc")  # of several classes


def test_mean_of_ranks_within_each_network(tmp_path):
    oof, test, summary = blended(tmp_path, "rank_mean")
    # Each fold has two tiles, ranks 1 and 2 in both models: (1 - 1/2) / 2 and (2 - 1/2) / 2.
    assert oof["probability"].tolist() == [0.25, 0.75, 0.25, 0.75]
    # Ranks of x, y, z by the four networks: 1 2 3 · 3 2 1 · 1.5 3 1.5 · 1 2 3.
    np.testing.assert_allclose(test["probability"], (np.array([6.5, 9, 8.5]) / 4 - 0.5) / 3, rtol=1e-14)
    assert summary["method"] == "rank_mean" and summary["auc"] == summary["methods"]["rank_mean"] == 1.0


def test_each_fold_is_blended_with_weights_fitted_to_the_other_folds(tmp_path):
    folds, values = two_models(3, correct_fold=0)
    oof = {
        name: [(folds.loc[folds["fold"] == k, "id"], k, values[name][folds["fold"] == k]) for k in range(3)]
        for name in values
    }
    table, test, summary = blended(tmp_path, "weights", oof, {"steady": TESTS["one"], "lucky": TESTS["two"]}, folds)
    by_fold = [row["lucky"] for row in summary["weights_by_fold"]]
    # In fold 0, "lucky" has no weight, since it is wrong in the other folds; fold 0 gives it weight in folds 1 and 2.
    assert by_fold[0] < 1e-6 and min(by_fold[1:]) > 0.05
    here = (folds["fold"] == 0).to_numpy()
    np.testing.assert_allclose(table["probability"][here], values["steady"][here], atol=1e-5)
    matrix = np.stack([values["steady"], values["lucky"]], axis=1)
    for k in (1, 2):
        rows = (folds["fold"] == k).to_numpy()
        expected = fit_weights(matrix[~rows], folds["label"].to_numpy()[~rows])
        np.testing.assert_allclose(table["probability"][rows], matrix[rows] @ expected, rtol=1e-12)
    # The weights for the test tiles are fitted to all folds and applied to the mean of the networks of each model.
    weights = [summary["weights"][name] for name in ("steady", "lucky")]
    assert weights == pytest.approx(fit_weights(matrix, folds["label"].to_numpy()).tolist())
    means = np.array([[0.5, 0.3, 0.3], [0.6, 0.7, 0.7]])
    np.testing.assert_allclose(test["probability"], weights @ means, rtol=1e-12)
    # Weights fitted to the same tiles that are evaluated give a higher AUC.
    assert summary["auc"] == summary["methods"]["weights"] < auc(folds["label"].to_numpy(), matrix @ weights)


@pytest.mark.parametrize("method", ["mean", "weights"])
def test_a_single_model_is_not_changed(tmp_path, method):
    oof, test, summary = blended(tmp_path, method, {"one": MODELS["one"]}, {"one": TESTS["one"]})
    assert oof["probability"].tolist() == [0.0, 0.4, 0.2, 0.9]
    np.testing.assert_allclose(test["probability"], [0.5, 0.3, 0.3], rtol=1e-15)
    assert summary["weights"] == {"one": 1.0} and summary["weights_by_fold"] == [{"one": 1.0}] * 2
    assert summary["methods"]["mean"] == summary["methods"]["weights"] == summary["auc"]


def test_all_methods_are_compared_whichever_is_selected(tmp_path):
    rows = []
    for method in ("mean", "rank_mean", "weights"):
        (tmp_path / method).mkdir()
        summary = blended(tmp_path / method, method)[2]
        assert summary["auc"] == summary["methods"][method]
        rows.append((summary["methods"], summary["weights"], summary["weights_by_fold"]))
    assert rows[0] == rows[1] == rows[2]


@pytest.mark.parametrize("method", ["mean", "rank_mean", "weights"])
def test_probabilities_of_0_and_1_and_an_empty_test_set(tmp_path, method):
    certain = {name: [("ab", 0, [0.0, 1.0]), ("cd", 1, [0.0, 1.0])] for name in "pqr"}
    oof, test, _ = blended(tmp_path, method, certain, {name: [("", 0, []), ("", 1, [])] for name in "pqr"})
    assert oof["probability"].between(0, 1).all() and np.isfinite(oof["logit"]).all()
    assert len(test) == 0


def test_models_must_predict_the_same_test_tiles(tmp_path):
    with pytest.raises(InputError, match="expected the 3 test tiles"):
        blended(tmp_path, "mean", test=TESTS | {"two": [("xyw", 0, 0.5), ("xyw", 1, 0.5)]})


@pytest.mark.parametrize("method", ["mean", "rank_mean", "weights"])
def test_tables_of_several_classes(tmp_path, random, method):
    probabilities, labels = several_classes(random)
    ids = [f"{k:03d}" for k in range(300)]
    folds = pd.DataFrame({"id": ids, "shard": 0, "row": range(300), "label": labels, "group": ids})
    tables.write(folds.assign(fold=np.arange(300) // 150), tmp_path / "folds", tables.FOLDS)
    oof, test = {"one": [], "two": []}, {"one": [], "two": []}
    for m, name in enumerate(oof):
        for fold in (0, 1):
            rows = range(150 * fold, 150 * fold + 150)
            for split, found in (("oof", oof), ("test", test)):
                values = probabilities[rows, m]
                path = tmp_path / f"{split}-{name}-{fold}"
                columns = {f"{kind}_{k}": values[:, k] for kind in ("probability", "logit") for k in range(3)}
                names = [ids[k] for k in rows] if split == "oof" else [f"t{k}" for k in range(150)]
                tables.write(pd.DataFrame({"id": names, "fold": fold, **columns}), path, tables.predictions(3))
                found[name].append(path)
    out = [tmp_path / name for name in ("oof", "test", "json")]
    ensemble(oof, test, tmp_path / "folds", tmp_path / "tiles", *out, method=method, recipes=[["one", "two"]])
    written_oof, written_test = (tables.read(path, tables.probabilities(3)) for path in out[:2])
    columns = ["probability_0", "probability_1", "probability_2"]
    summary = read_json(out[2])
    assert summary["auc"] == summary["methods"][method] == auc(labels, written_oof[columns].to_numpy())
    assert summary["networks"] == 4
    assert summary["seeds"]["rows"][0]["highest"] == auc(labels, probabilities[:, 0])
    assert not any(summary[name] for name in ("comparison", "agreement", "expected", "by_group", "by_stratum"))
    assert sorted(written_test["id"]) == sorted(f"t{k}" for k in range(150))
    if method == "mean":
        np.testing.assert_allclose(written_oof[columns], probabilities.mean(1), rtol=1e-12)
        by_tile = dict(zip(written_test["id"], written_test[columns].to_numpy(), strict=True))
        expected = probabilities.reshape(2, 150, 2, 3).mean((0, 2))
        np.testing.assert_allclose([by_tile[f"t{k}"] for k in range(150)], expected, rtol=1e-12)
