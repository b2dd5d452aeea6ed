"""Fit a classical model to all folds but one; predict the tiles of this fold (out-of-fold) and all test tiles.

The model is a logistic regression, a random forest or another classifier of scikit-learn, on the colour and texture
statistics from `features`. The outputs
have the same form as those of `predict`, so the stages from `evaluate` on treat classical models and networks alike.
Fitting takes a minute at most, so the fitted model is not saved.
"""

import importlib
import inspect
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.base import ClassifierMixin
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from histo import tables
from histo.errors import InputError
from histo.logits import logit, sigmoid, softmax
from histo.tiles.colour_texture import NAMES, SCHEMA

SMALLEST = 1e-7  # distance of a probability from 0 and 1, so that its logit is finite
MAX_ITERATIONS = 2000  # of the solver; usually it converges after a few hundred


def read_features(paths: list[Path], ids: pd.Series) -> np.ndarray:
    """Return the statistics of the tiles `ids` in their order, float32 [N, F]. Raises InputError if one is missing."""
    frame = pd.concat([tables.read(path, SCHEMA) for path in paths], ignore_index=True).set_index("id")
    missing = ids[~ids.isin(frame.index)]
    if len(missing):
        raise InputError(
            f"{Path(paths[0]).parent}: expected statistics of {len(ids)} tiles, but {len(missing)} are missing, for "
            f"example {missing.iloc[0]}. Run `features` again."
        )
    return frame.loc[ids, list(NAMES)].to_numpy(np.float32)


def logits(
    training: np.ndarray, labels: np.ndarray, others: list[np.ndarray], settings: dict[str, Any], threads: int
) -> list[np.ndarray]:
    """Fit a model to `training`; return the logits of each of `others`, float64 [M]; of K > 2 classes, [M, K].

    training: float32 [N, F]; labels: 0 to K - 1, [N]; others: float32 [M, F] each.

    The result does not depend on the number of threads. For logistic regression, the statistics are standardised with
    mean and standard deviation of the training tiles. The probability of a random forest is clipped at half a vote from
    0 and 1, so that its logit is finite. See `estimator_logits` for other classifiers.
    """
    classes = int(labels.max()) + 1
    empty = np.empty(0) if classes == 2 else np.empty((0, classes))
    if settings["method"] == "logistic_regression":
        model = make_pipeline(StandardScaler(), LogisticRegression(C=1 / settings["l2"], max_iter=MAX_ITERATIONS))
        with threadpool_limits(1):  # the rounding of sums depends on the number of threads
            model.fit(training, labels)
            return [model.decision_function(part) if len(part) else empty for part in others]
    if settings["method"] == "estimator":
        model = make_pipeline(StandardScaler(), estimator(settings))
        with threadpool_limits(1):
            model.fit(training, labels)
            return [estimator_logits(model, part) if len(part) else empty for part in others]
    trees = settings["n_estimators"]
    model = RandomForestClassifier(
        trees, min_samples_leaf=settings["min_samples_leaf"], random_state=settings["seed"], n_jobs=threads
    )
    model.fit(training, labels)
    model.n_jobs = 1  # with several threads, the order of the sum over trees varies
    if classes > 2:
        votes = [model.predict_proba(part) if len(part) else empty for part in others]
        return [np.log(np.maximum(values, 0.5 / trees)) for values in votes]
    probabilities = [model.predict_proba(part)[:, 1] if len(part) else empty for part in others]
    return [logit(np.clip(values, 0.5 / trees, 1 - 0.5 / trees)) for values in probabilities]


def estimator(settings: dict[str, Any]) -> Any:
    """Return the classifier that `settings.estimator` names, with its options and, if it has one, its random state.

    Raises InputError if there is no such classifier or if it does not take the options.
    """
    name, own = settings["estimator"], settings["options"]
    module, _, attribute = name.rpartition(".")
    try:
        kind = getattr(importlib.import_module(module), attribute)
        if not (inspect.isclass(kind) and issubclass(kind, ClassifierMixin)):
            raise TypeError("it is no classifier")
        seeded = "random_state" in inspect.signature(kind).parameters
        return kind(**({"random_state": settings["seed"]} if seeded else {}) | own)
    except (ImportError, AttributeError, TypeError) as error:
        raise InputError(
            f"classical: expected a classifier of scikit-learn and its options, found {name} with {own}: {error}. "
            "Correct estimator or options."
        ) from None


def estimator_logits(model: Pipeline, features: np.ndarray) -> np.ndarray:
    """Return the logits of a fitted classifier, float64 [M]; of K > 2 classes, [M, K]; features: float32 [M, F].

    They are those of its probabilities, clipped at 1e-7 from 0 and 1, or its decision function if it has none.
    """
    if not hasattr(model, "predict_proba"):
        return np.asarray(model.decision_function(features))
    probabilities = np.clip(model.predict_proba(features), SMALLEST, 1 - SMALLEST)
    return logit(probabilities[:, 1]) if probabilities.shape[1] == 2 else np.log(probabilities)


def classical(
    train_features: list[Path],
    test_features: list[Path],
    folds: Path,
    tiles: Path,
    oof_out: Path,
    test_out: Path,
    *,
    fold: int,
    settings: dict[str, Any],
    threads: int,
) -> None:
    """Write the predictions of the tiles of `fold` and of every kept test tile (`tables.predictions`).

    settings: of one model in the section `classical`. Raises InputError if a label is missing among the tiles of the
    fold or of the other folds.
    """
    folds_table = tables.read(folds, tables.FOLDS)
    held_out = (folds_table["fold"] == fold).to_numpy()
    labels = folds_table["label"].to_numpy()
    classes = max(2, int(labels.max()) + 1)
    for name, rows in ((f"fold {fold}", held_out), (f"the folds other than {fold}", ~held_out)):
        if set(labels[rows]) != set(range(classes)):
            expected = "both" if classes == 2 else f"all {classes}"
            raise InputError(
                f"{folds}: expected tiles of {expected} labels in {name}, found {rows.sum()} tiles with the labels "
                f"{sorted(set(labels[rows].tolist()))}. Reduce folds.count or change folds.seed."
            )
    test = tables.read(tiles, tables.TILES, columns=["id", "split", "row", "kept"])
    test = test.loc[(test["split"] == "test") & test["kept"] & (test["row"] >= 0), "id"].sort_values()
    features = read_features(train_features, folds_table["id"])
    others = [features[held_out], read_features(test_features, test)]
    predicted = logits(features[~held_out], labels[~held_out], others, settings, threads)
    for ids, values, path in zip((folds_table["id"][held_out], test), predicted, (oof_out, test_out), strict=True):
        frame = pd.DataFrame({"id": ids.to_numpy(), "fold": fold})
        if classes == 2:
            frame = frame.assign(logit=values, probability=sigmoid(values))
            # The statistics do not change under flips and 90° rotations, so there is no test-time augmentation.
            frame = frame.assign(logit_none=frame["logit"], logit_flips=np.float32(np.nan))
        else:
            columns = tables.probability_columns(softmax(values)) | {
                f"logit_{k}": column for k, column in enumerate(values.T)
            }
            frame = frame.assign(**columns)
        tables.write(frame.sort_values("id", ignore_index=True), path, tables.predictions(classes))
        logging.info("%s: %d tiles.", path, len(frame))


if __name__ == "__main__":
    from histo import job

    job.start(snakemake)
    classical(
        [Path(path) for path in snakemake.input.train_features],
        [Path(path) for path in snakemake.input.test_features],
        Path(snakemake.input.folds),
        Path(snakemake.input.tiles),
        Path(snakemake.output.oof),
        Path(snakemake.output.test),
        fold=int(snakemake.wildcards.fold),
        settings=snakemake.params.settings,
        threads=snakemake.threads,
    )
