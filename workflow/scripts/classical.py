"""Fit a model that is no network to all folds but one; predict that one (out-of-fold) and all test tiles.

Logistic regression or a random forest on the statistics that `features` made. The tables are those of `predict`, so
that these models stand beside the networks from `evaluate` on. Fitting takes a minute at most, hence no files between.
"""

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from histo import tables
from histo.errors import InputError
from histo.logits import logit, sigmoid
from histo.tiles.colour_texture import NAMES, SCHEMA

STEPS = 2000  # of the solver, at most; some hundred suffice


def read_features(paths: list[Path], ids: pd.Series) -> np.ndarray:
    """Statistics of the tiles `ids`, float32 [N, F], in their order; InputError when one is missing."""
    frame = pd.concat([tables.read(path, SCHEMA) for path in paths], ignore_index=True).set_index("id")
    missing = ids[~ids.isin(frame.index)]
    if len(missing):
        raise InputError(
            f"{Path(paths[0]).parent}: expected statistics of {len(ids)} tiles, found none of {len(missing)}, "
            f"{missing.iloc[0]} the first. Run `features` again."
        )
    return frame.loc[ids, list(NAMES)].to_numpy(np.float32)


def logits(
    training: np.ndarray, labels: np.ndarray, others: list[np.ndarray], settings: dict[str, Any], threads: int
) -> list[np.ndarray]:
    """Fit to `training` (float32 [N, F]) with `labels` (0 and 1, [N]); logits of the others, float64 [M] each.

    The number of threads does not change them. Means and deviations by which logistic regression scales the statistics
    are those of the training tiles. A forest's share of votes is kept half a tree away from 0 and 1, so that its logit
    is finite.
    """
    if settings["method"] == "logistic_regression":
        model = make_pipeline(StandardScaler(), LogisticRegression(C=1 / settings["l2"], max_iter=STEPS))
        with threadpool_limits(1):  # sums of several threads differ in their last digits
            model.fit(training, labels)
            return [model.decision_function(part) if len(part) else np.empty(0) for part in others]
    trees = settings["n_estimators"]
    model = RandomForestClassifier(
        trees, min_samples_leaf=settings["min_samples_leaf"], random_state=settings["seed"], n_jobs=threads
    )
    model.fit(training, labels)
    model.n_jobs = 1  # votes of several threads are added in any order
    shares = [model.predict_proba(part)[:, 1] if len(part) else np.empty(0) for part in others]
    return [logit(np.clip(share, 0.5 / trees, 1 - 0.5 / trees)) for share in shares]


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
    """Write the predictions of the tiles of `fold` and of every kept test tile (`tables.PREDICTIONS`).

    settings: method and what belongs to it, of one model of `classical`.
    """
    deal = tables.read(folds, tables.FOLDS)
    held_out = (deal["fold"] == fold).to_numpy()
    labels = deal["label"].to_numpy()
    for name, rows in ((f"fold {fold}", held_out), (f"the folds beside {fold}", ~held_out)):
        if set(labels[rows]) != {0, 1}:
            raise InputError(
                f"{folds}: expected tiles of both labels in {name}, found {rows.sum()} tiles of the labels "
                f"{sorted(set(labels[rows].tolist()))}. Set fewer folds or another seed of the folds."
            )
    test = tables.read(tiles, tables.TILES, columns=["id", "split", "row", "kept"])
    test = test.loc[(test["split"] == "test") & test["kept"] & (test["row"] >= 0), "id"].sort_values()
    values = read_features(train_features, deal["id"])
    predicted = logits(
        values[~held_out], labels[~held_out], [values[held_out], read_features(test_features, test)], settings, threads
    )
    for ids, found, path in zip((deal["id"][held_out], test), predicted, (oof_out, test_out), strict=True):
        frame = pd.DataFrame({"id": ids.to_numpy(), "fold": fold, "logit": found, "probability": sigmoid(found)})
        # The statistics are the same for all flips and turns of a tile: nothing to average.
        frame = frame.assign(logit_none=frame["logit"], logit_flips=np.float32(np.nan))
        tables.write(frame.sort_values("id", ignore_index=True), path, tables.PREDICTIONS)
        logging.info("%s: %d tiles, mean probability %.3f.", path, len(frame), frame["probability"].mean())


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
