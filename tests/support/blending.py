"""Probabilities of several models to blend."""

import numpy as np
import pandas as pd


def two_models(seed, correct_fold):
    """Three folds of 40 tiles: "steady" is fair, "lucky" is correct in `correct_fold` and mostly wrong elsewhere."""
    rng = np.random.default_rng(seed)
    ids = [f"{k:03d}" for k in range(120)]
    folds = pd.DataFrame({"id": ids, "shard": 0, "row": range(120), "group": ids})
    folds["label"], folds["fold"] = np.arange(120) % 2, np.arange(120) // 2 % 3
    right, wrong = (np.where(folds["label"] == 1, p, 1 - p) for p in (0.999, 0.3))
    steady = np.clip(np.where(folds["label"] == 1, 0.6, 0.4) + rng.normal(0, 0.2, 120), 0.05, 0.95)
    return folds, {"steady": steady, "lucky": np.where(folds["fold"] == correct_fold, right, wrong)}


def several_classes(random):
    """Probabilities of two models, [300, 2, 3], of which the first knows the labels better, and the labels."""
    labels = np.arange(300) % 3
    scores = random.random((300, 2, 3)) + 0.1
    scores[np.arange(300), :, labels] += [1.0, 0.2]
    return scores / scores.sum(2, keepdims=True), labels
