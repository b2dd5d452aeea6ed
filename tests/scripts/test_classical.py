"""Classical models: fitted to the other folds, independent of the number of threads."""

import numpy as np
import pandas as pd
import pytest
import yaml
from sklearn.linear_model import LogisticRegression

from classical import classical, estimator, logits
from features import measure
from histo import tables
from histo.errors import InputError
from histo.files import read_json
from histo.metrics import auc
from support.chain import DATASET, snakemake
from support.training import make_split, write_folds, write_tiles

REGRESSION = {"method": "logistic_regression", "l2": 1.0}
FOREST = {"method": "random_forest", "n_estimators": 20, "min_samples_leaf": 2, "seed": 1}
BOOSTING = {
    "method": "estimator", "estimator": "sklearn.ensemble.HistGradientBoostingClassifier",
    "options": {"max_iter": 20, "min_samples_leaf": 5}, "seed": 1,
}  # fmt: skip
MARGIN = {"method": "estimator", "estimator": "sklearn.svm.LinearSVC", "options": {"C": 0.5}, "seed": 1}
KINDS = pytest.mark.parametrize(
    "settings", [REGRESSION, FOREST, BOOSTING, MARGIN], ids=["regression", "forest", "boosting", "margin"]
)


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    """Folder of folds and tiles, training features, test features; tiles of label 1 have a darker centre."""
    folder = tmp_path_factory.mktemp("classical")
    train, frame = make_split(folder, "train", (40, 26))
    test, test_frame = make_split(folder, "test", (9,))
    test_frame.loc[2, "kept"] = False
    write_folds(frame, folder / "folds.parquet")
    write_tiles(pd.concat([test_frame, frame]).sample(frac=1, random_state=0), folder / "tiles.parquet")
    paths = []
    for shards in (train, test):
        paths.append([folder / f"features-{len(paths)}-{k}.parquet" for k in range(len(shards))])
        for shard, path in zip(shards, paths[-1], strict=True):
            measure(shard, path)
    return folder, *paths


def run(inputs, settings, fold=1, threads=1):
    folder, train, test = inputs
    outputs = [folder / "oof.parquet", folder / "test.parquet"]
    classical(
        train, test, folder / "folds.parquet", folder / "tiles.parquet", *outputs,
        fold=fold, settings=settings, threads=threads,
    )  # fmt: skip
    return [tables.read(path, tables.PREDICTIONS) for path in outputs]


@KINDS
def test_oof_has_the_tiles_of_the_fold_and_test_all_kept_test_tiles(inputs, settings):
    oof, test = run(inputs, settings)
    folds = tables.read(inputs[0] / "folds.parquet", tables.FOLDS)
    assert oof["id"].tolist() == sorted(folds.loc[folds["fold"] == 1, "id"])
    assert test["id"].tolist() == [f"test-0-{k:03d}" for k in range(9) if k != 2]
    assert set(oof["fold"]) == set(test["fold"]) == {1}
    assert np.allclose(oof["probability"], 1 / (1 + np.exp(-oof["logit"].to_numpy(float))))
    assert oof["logit_none"].equals(oof["logit"]) and oof["logit_flips"].isna().all()


@KINDS
def test_dark_centres_are_recognised(inputs, settings):
    for frame in run(inputs, settings):
        assert auc(frame["id"].str[-3:].astype(int).to_numpy() % 2, frame["probability"].to_numpy()) == 1.0


@KINDS
def test_results_do_not_depend_on_threads_and_are_reproducible(inputs, settings):
    first, again = run(inputs, settings), run(inputs, settings, threads=2)
    assert all(a.equals(b) for a, b in zip(first, again, strict=True))


def test_features_are_standardised_with_the_training_tiles_only(random):
    training, labels = random.normal(3, 5, (60, 4)).astype(np.float32), np.arange(60) % 2
    training[:, 0] += 5 * labels
    others = random.normal(100, 50, (7, 4)).astype(np.float32)
    found = logits(training, labels, [others, others[:3]], REGRESSION, 1)
    mean, std = training.mean(axis=0, dtype=float), training.std(axis=0, dtype=float)
    model = LogisticRegression(C=1.0).fit((training - mean) / std, labels)
    expected = (others - mean) / std @ model.coef_[0] + model.intercept_[0]
    assert np.allclose(found[0], expected, rtol=1e-3)
    assert np.allclose(found[1], found[0][:3])


def test_logits_of_unanimous_trees_are_finite():
    training, labels = np.array([[0.0], [1.0]] * 30, np.float32), np.array([0, 1] * 30)
    found = logits(training, labels, [np.array([[0.0], [1.0]], np.float32)], FOREST, 1)[0]
    assert found == pytest.approx([-np.log(39), np.log(39)])  # half a vote against 19.5 of 20


def test_logits_of_an_estimator_are_those_of_its_probabilities():
    training = np.array([[-1.0, 0], [1.0, 0], [-2.0, 1], [2.0, 1]] * 20, np.float32)
    labels = (training[:, 0] > 0).astype(int)
    settings = {"method": "estimator", "estimator": "sklearn.neighbors.KNeighborsClassifier", "seed": 1}
    found = logits(training, labels, [training[:4]], settings | {"options": {"n_neighbors": 5}}, 1)[0]
    assert found == pytest.approx([-np.log(1e7 - 1), np.log(1e7 - 1)] * 2)  # unanimous neighbours
    found = logits(training, labels, [training[:2]], settings | {"options": {"n_neighbors": 80}}, 1)[0]
    assert found == pytest.approx([0, 0])


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("sklearn.svm.SVM", {}, "found sklearn.svm.SVM with {}: .*no attribute 'SVM'"),
        ("sklearn.none.SVC", {}, "No module named 'sklearn.none'"),
        ("sklearn.svm.SVC", {"depth": 3}, "unexpected keyword argument 'depth'"),
        ("sklearn.linear_model.Ridge", {}, "found sklearn.linear_model.Ridge with {}: it is no classifier"),
        ("sklearn.datasets.load_iris", {}, "found sklearn.datasets.load_iris with {}: it is no classifier"),
    ],
)
def test_an_estimator_that_is_no_classifier_is_an_error(name, options, message):
    with pytest.raises(InputError, match=message):
        estimator({"method": "estimator", "estimator": name, "options": options, "seed": 1})


def test_unusable_input_is_an_error(inputs, tmp_path):
    with pytest.raises(InputError, match="expected tiles of both labels in fold 7, found 0 tiles"):
        run(inputs, REGRESSION, fold=7)
    folder, train, test = inputs
    one_class = tables.read(folder / "folds.parquet", tables.FOLDS).assign(fold=lambda frame: frame["label"])
    tables.write(one_class, tmp_path / "folds.parquet", tables.FOLDS)
    outputs = [tmp_path / "oof.parquet", tmp_path / "test.parquet"]
    with pytest.raises(InputError, match=r"both labels in fold 1, found 33 tiles with the labels \[1\]"):
        classical(
            train, test, tmp_path / "folds.parquet", folder / "tiles.parquet", *outputs,
            fold=1, settings=REGRESSION, threads=1,
        )  # fmt: skip
    with pytest.raises(
        InputError, match="expected statistics of 66 tiles, but 26 are missing, for example train-1-000"
    ):
        run((folder, train[:1], test), REGRESSION)


@pytest.mark.slow
def test_ensemble_of_a_network_and_classical_models_on_stain_normalised_tiles(tiny_copy):
    done = snakemake(
        tiny_copy, "submission", DATASET,
        "submission={models: [tiny, forest, logistic_regression]}", "stain={method: macenko}",
        "classical={forest: {method: random_forest, n_estimators: 10, min_samples_leaf: 2, seed: 1}}",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    results = tiny_copy / "results/small"
    models = ["tiny", "forest", "logistic_regression"]
    assert read_json(results / "ensemble.json")["models"] == models
    for name in models:
        assert 0 <= read_json(results / f"evaluate/{name}.json")["auc"] <= 1
    parts = [tables.read(results / f"predict/forest/fold-{k}/test.parquet", tables.PREDICTIONS) for k in (0, 1)]
    assert [len(part) for part in parts] == [10, 10]
    assert sorted(path.name for path in (results / "stain").iterdir()) == [
        "test-00000.h5", "train-00000.h5", "train-00001.h5",
    ]  # fmt: skip
    page = (results / "report.html").read_text()
    assert "Macenko, applied to all training and test tiles" in page
    assert all(f'<th scope="row">{name}</th>' in page for name in models)
    settings = yaml.safe_load((results / "config.yaml").read_text())
    assert list(settings["classical"]) == ["forest", "logistic_regression"]
    assert settings["stain"] == {"method": "macenko"}


@KINDS
def test_several_classes(random, settings):
    labels = np.arange(120) % 3
    training = random.normal(size=(120, 4)).astype(np.float32) + np.eye(3, 4)[labels] * 3
    others = [training[:50], training[:0]]
    values, nothing = logits(training, labels, others, settings, 1)
    assert (values.shape, nothing.shape) == ((50, 3), (0, 3))
    assert np.isfinite(values).all()
    assert (values.argmax(1) == labels[:50]).mean() > 0.9
