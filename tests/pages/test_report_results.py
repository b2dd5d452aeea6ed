"""Sections of the report on model performance."""

import base64
import json
import re

import numpy as np
import pandas as pd
import pytest

from histo.pages.charts import BOTTOM, LEFT, RIGHT, TOP
from histo.pages.gallery import sprite
from histo.pages.report_results import (
    calibration_curve,
    error_table,
    gains_table,
    kept_epoch,
    largest_errors,
    precision_recall_chart,
    training_section,
)
from histo.tiles.shards import open_shards, write_shard
from support.html_page import parse_fragment


def evaluation(model, **tta):
    """The part of a model's metrics that the table of gains uses."""
    return {"model": model, "tta": {"none": None, "flips": None, "all": None} | tta}


def history(**columns):
    """A table like history.csv."""
    epochs = len(columns["loss"])
    rates = {"epoch": range(1, epochs + 1), "learning_rate": [0.001 * 0.5**k for k in range(epochs)]}
    return pd.DataFrame(rates | columns)


ENSEMBLE = {
    "method": "weights",
    "methods": {"mean": 0.7, "rank_mean": 0.72, "weights": 0.75},
    "weights": {"a": 0.25, "b": 0.75},
    "weights_by_fold": [{"a": 0.5, "b": 0.5}, {"a": 0.0, "b": 1.0}],
}


def test_learning_curves_end_at_the_last_epoch():
    folds = [
        history(loss=[0.6, 0.5], validation_loss=[0.4, 0.45], auc=[0.7, 0.8125], seconds=30.0),
        history(loss=[0.625], validation_loss=[0.5], auc=[0.75], seconds=12.5),
    ]
    (section,) = training_section({"small": folds}, {"small": {"checkpoint": "last"}})
    assert (section["model"], section["seconds"]) == ("small", 72.5)
    loss, validation_loss, auc, rate = section["charts"]
    assert 'aria-label="Training loss. At the kept epoch: fold 0 0.5, fold 1 0.625."' in loss
    assert 'aria-label="Validation loss. At the kept epoch: fold 0 0.45, fold 1 0.5."' in validation_loss
    assert 'aria-label="Validation AUC. At the kept epoch: fold 0 0.8125, fold 1 0.75."' in auc
    assert 'aria-label="Learning rate at the end of the epoch. At the kept epoch: fold 0 0.0005, fold' in rate


@pytest.mark.parametrize(
    ("settings", "kept"),
    [
        ({"checkpoint": "last"}, 2),
        ({"checkpoint": "ema"}, 2),
        ({"checkpoint": "best", "monitor": "auc"}, 1),
        ({"checkpoint": "best", "monitor": "loss"}, 0),
    ],
)
def test_the_kept_epoch_is_ringed(settings, kept):
    table = history(loss=[0.6, 0.5, 0.4], validation_loss=[0.3, 0.45, 0.5], auc=[0.7, 0.9, 0.8], seconds=1.0)
    assert kept_epoch(table, settings) == kept
    (section,) = training_section({"m": [table]}, {"m": settings})
    for chart in section["charts"]:
        drawing = parse_fragment(chart)
        points = drawing.find(".//polyline").get("points").split()
        rings = drawing.findall(".//circle[@r='6']")
        assert [f"{ring.get('cx')},{ring.get('cy')}" for ring in rings] == [points[kept]]


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
    assert re.findall(r"<code>(\w+)</code>", positives["tiles"]) == [ids[1], ids[0]]
    # The picture shows the tile that the caption names.
    data = base64.b64decode(re.search(r"base64,([^\"]+)", positives["tiles"])[1])
    assert data == sprite(images[[1, 0]])


def test_the_captions_of_errors_have_the_probabilities_of_all_models(tmp_path, random):
    images = random.integers(0, 256, (2, 96, 96, 3), np.uint8)
    ids = [f"{k:040x}" for k in range(2)]
    path = tmp_path / "train-00000.h5"
    write_shard(path, split="train", number=0, ids=ids, labels=[0, 0], batches=[images], code="test")
    frame = pd.DataFrame({"id": ids, "split": "train", "shard": 0, "row": range(2), "label": 0, "fold": [0, 1]})
    frame["probability"] = [0.6, 0.75]
    models = {"a": np.array([0.5, 0.8125]), "b<": np.array([0.7, 0.6875])}
    (positives, _) = largest_errors({"train": open_shards([path], "train")}, frame, models)
    captions = re.findall(r"<figcaption>(.*?)</figcaption>", positives["tiles"], flags=re.DOTALL)
    texts = re.findall(r'aria-label="(.*?)"', positives["tiles"])
    assert texts[0].endswith(f"probability of tumour, 0.7500, fold 1 a: 0.8125 b&lt;: 0.6875: tile {ids[1]}")
    assert re.sub(r"<.*?>", " ", captions[0]).split() == [
        "0.7500,",
        "fold",
        "1",
        "a:",
        "0.8125",
        "b&lt;:",
        "0.6875",
        ids[1],
    ]


TABLE = pd.DataFrame(
    {"id": list("abcd"), "label": [0, 1, 0, 1], "fold": 0, "group": "g", "probability": [0.9, 0.2, 0.1, 0.5]}
)


def test_the_table_of_errors_has_misclassified_tiles_only_the_largest_errors_first():
    found = error_table(TABLE, {"only": TABLE["probability"].to_numpy()}, ranks=False)
    assert list(found) == ["id", "label", "fold", "group", "probability", "error"]
    assert found["id"].tolist() == ["a", "b"]
    assert found["error"].tolist() == pytest.approx([0.9, 0.8])


def test_ranks_are_compared_with_no_threshold_in_the_table_of_errors():
    models = {"m": np.array([0.1, 0.2, 0.3, 0.9]), "n": np.array([0.3, 0.2, 0.9, 0.9])}
    found = error_table(TABLE, models, ranks=True)
    columns = ["rank", "probability_of_m", "probability_of_n", "mean_probability", "error"]
    assert list(found) == ["id", "label", "fold", "group", *columns]
    assert found["id"].tolist() == ["b", "c"]
    assert found["rank"].tolist() == [0.2, 0.1]
    assert found["mean_probability"].tolist() == pytest.approx([0.2, 0.6])


def test_errors_of_several_classes_are_tiles_of_another_highest_probability():
    values = np.array([[0.6, 0.3, 0.1], [0.5, 0.4, 0.1], [0.2, 0.3, 0.5]])
    frame = pd.DataFrame({"id": list("abc"), "label": [0, 1, 2], "fold": 0, "group": "g"})
    frame = frame.assign(**{f"probability_{k}": values[:, k] for k in range(3)})
    found = error_table(frame, {"m": values, "n": values}, ranks=False)
    assert found["id"].tolist() == ["b"]
    assert found["error"].tolist() == pytest.approx([0.6])
    assert found["probability_of_n_1"].tolist() == [0.4]


def test_a_precision_recall_curve_has_the_points_of_its_definition():
    """At threshold 0.8 one of one, at 0.6 one of two, at 0.4 two of three tiles are tumour."""
    chart = parse_fragment(precision_recall_chart(np.array([1, 0, 1, 0]), {"m": np.array([0.8, 0.6, 0.4, 0.2])}))
    series = chart.find(".//g[@class='series']")
    points = json.loads(series.get("data-points"))
    assert series.get("data-name") == "m"
    assert points == [[0, 1], [0.5, 1], [1, 0.666667]]
    _, _, width, height = map(float, chart.find("figure/svg").get("viewBox").split())
    assert width - LEFT - RIGHT == height - TOP - BOTTOM


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
