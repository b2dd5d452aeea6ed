"""Sections of the report on model performance."""

import base64
import re

import numpy as np
import pandas as pd
import pytest

from histo.pages.gallery import sprite
from histo.pages.report_results import calibration_curve, gains_table, largest_errors, training_section
from histo.tiles.shards import open_shards, write_shard


def evaluation(model, **tta):
    """The part of a model's metrics that the table of gains uses."""
    return {"model": model, "tta": {"none": None, "flips": None, "all": None} | tta}


ENSEMBLE = {
    "method": "weights",
    "methods": {"mean": 0.7, "rank_mean": 0.72, "weights": 0.75},
    "weights": {"a": 0.25, "b": 0.75},
    "weights_by_fold": [{"a": 0.5, "b": 0.5}, {"a": 0.0, "b": 1.0}],
}


def test_learning_curves_end_at_the_last_epoch():
    folds = [
        pd.DataFrame({"epoch": [1, 2], "loss": [0.6, 0.5], "auc": [0.7, 0.8125], "seconds": 30.0}),
        pd.DataFrame({"epoch": [1], "loss": [0.625], "auc": [0.75], "seconds": 12.5}),
    ]
    (section,) = training_section({"small": folds})
    assert (section["model"], section["seconds"]) == ("small", 72.5)
    loss, auc = section["charts"]
    assert 'aria-label="Training loss. At the last epoch: fold 0 0.5000, fold 1 0.6250."' in loss
    assert 'aria-label="Validation AUC. At the last epoch: fold 0 0.8125, fold 1 0.7500."' in auc


def test_calibration_bins_have_equal_numbers_of_tiles():
    probabilities = np.arange(20) / 20
    means, proportions = calibration_curve((np.arange(20) >= 10).astype(int), probabilities)
    assert means == pytest.approx([0.025 + 0.1 * k for k in range(10)])
    assert proportions == [0.0] * 5 + [1.0] * 5


def test_errors_are_ordered_and_correct_tiles_omitted(tmp_path, random):
    images = random.integers(0, 256, (6, 96, 96, 3), np.uint8)
    ids = [f"{k:040x}" for k in range(6)]
    labels = [0, 0, 0, 1, 1, 1]
    path = tmp_path / "train-00000.h5"
    write_shard(path, split="train", number=0, ids=ids, labels=labels, batches=[images], code="test")
    frame = pd.DataFrame({"id": ids, "split": "train", "shard": 0, "row": range(6), "label": labels, "fold": 1})
    frame["probability"] = [0.7, 0.9, 0.2, 0.5, 0.4, 0.1]
    positives, negatives = largest_errors({"train": open_shards([path], "train")}, frame)
    assert (positives["count"], negatives["count"]) == (2, 2)
    assert re.findall(r"<b>([\d.]+), fold 1</b>", positives["tiles"]) == ["0.9000", "0.7000"]
    assert re.findall(r"<b>([\d.]+), fold 1</b>", negatives["tiles"]) == ["0.1000", "0.4000"]
    assert re.findall(r'title="(\w+)"', positives["tiles"]) == [ids[1], ids[0]]
    # The picture shows the tile that the caption names.
    data = base64.b64decode(re.search(r"base64,([^\"]+)", positives["tiles"])[1])
    assert data == sprite(images[[1, 0]])


def test_gains_without_augmentation_have_one_column():
    table = gains_table([evaluation("a", none=0.6), evaluation("b", none=0.65)], ENSEMBLE, {"predict": {"tta": "none"}})
    assert table["views"] == ["1 view"]
    assert [row["auc"] for row in table["rows"]] == [[0.6], [0.65], [0.7], [0.72], [0.75]]
    assert [row["weight"] for row in table["rows"]] == [0.25, 0.75, None, None, None]
    assert [row["by_fold"] for row in table["rows"]] == [[0.5, 0.0], [0.5, 1.0], [], [], []]
    assert [row["selected"] for row in table["rows"]] == [False, False, False, False, True]


def test_gains_of_a_model_without_augmentation_beside_one_with_it():
    """The model without augmentation has only the first column; the ensemble has only that of predict.tta."""
    evaluations = [evaluation("a", none=0.6, flips=0.75, all=0.8), evaluation("b", none=0.65)]
    table = gains_table(evaluations, ENSEMBLE, {"predict": {"tta": "all"}})
    assert [row["auc"] for row in table["rows"]][:3] == [[0.6, 0.75, 0.8], [0.65, None, None], [None, None, 0.7]]


def test_a_single_value_gives_no_table_of_gains():
    assert gains_table([evaluation("a", none=0.6)], ENSEMBLE, {"predict": {"tta": "none"}}) is None
