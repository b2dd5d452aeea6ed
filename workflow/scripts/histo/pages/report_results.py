"""The parts of the report about what models are worth: learning curves, ROC, calibration, most wrong tiles, and what
averaging gains."""

import numpy as np
import pandas as pd

from histo.pages.charts import NEGATIVE, POSITIVE, Axis, Interval, Line, histogram, interval_chart, line_chart
from histo.pages.gallery import tile_gallery
from histo.pages.layout import SHOWN
from histo.tiles.shards import Shard

Shards = dict[str, dict[int, Shard]]  # split → number → shard

BINS = 50  # of the distribution of probabilities
CALIBRATION_BINS = 10
VIEWS = {"none": "one view", "flips": "4 flips", "all": "8 flips and turns"}
METHODS = {"mean": "ensemble, mean", "rank_mean": "ensemble, mean of ranks", "weights": "ensemble, weighted mean"}
CLASSES = {0: "no tumour", 1: "tumour"}


def training_section(histories: dict[str, list[pd.DataFrame]]) -> list[dict]:
    """Return the learning curves of each model: one chart of the loss and one of the validation AUC."""
    sections = []
    for model, folds in histories.items():
        epochs = Axis.counted("epoch", max(int(fold["epoch"].max()) for fold in folds))
        charts = []
        for column, title, limit in (("loss", "Training loss", np.inf), ("auc", "Validation AUC", 1.0)):
            lines = [
                Line(f"fold {k}", fold["epoch"].tolist(), fold[column].tolist(), k) for k, fold in enumerate(folds)
            ]
            axis = Axis.around("AUC" if column == "auc" else column, [y for line in lines for y in line.y], limit)
            ends = ", ".join(f"{line.name} {line.y[-1]:.4f}" for line in lines)
            charts.append(line_chart(title, lines, epochs, axis, f"At the last epoch: {ends}."))
        sections.append({"model": model, "charts": charts, "seconds": sum(fold["seconds"].sum() for fold in folds)})
    return sections


def calibration(labels: np.ndarray, probabilities: np.ndarray) -> tuple[list[float], list[float]]:
    """Return mean probability and share of positives in bins of equally many tiles; labels, probabilities [N]."""
    parts = np.array_split(np.argsort(probabilities, kind="stable"), min(CALIBRATION_BINS, len(labels)))
    return [float(probabilities[part].mean()) for part in parts], [float(labels[part].mean()) for part in parts]


def most_wrong(shards: Shards, frame: pd.DataFrame) -> list[dict]:
    """Return the galleries of the tiles whose probability is furthest on the wrong side of 0.5.

    frame: id, split, shard, row, label, fold, probability of the training tiles.
    """
    galleries = []
    for label, title, ascending in ((0, "False positives", False), (1, "False negatives", True)):
        wrong = frame[(frame["label"] == label) & ((frame["probability"] >= 0.5) != (label == 1))]
        rows = wrong.sort_values(["probability", "id"], ascending=[ascending, True]).head(SHOWN)
        captions = [f"{row.probability:.4f}, fold {row.fold}" for row in rows.itertuples()]
        name = f"wrong-{label}"
        text = f"label {label}, {CLASSES[label]}, probability of tumour"
        tiles = tile_gallery(name, shards, rows, captions, text)
        galleries.append({"title": title, "label": CLASSES[label], "count": len(wrong), "tiles": tiles})
    return galleries


def results_section(shards: Shards, deal: pd.DataFrame, oof: pd.DataFrame, rated: list[dict], final: dict) -> dict:
    """Return the charts of the out-of-fold figures and the most wrong tiles; rated: figures of what the tables show."""
    frame = deal.assign(split="train").merge(oof[["id", "probability"]], on="id", validate="1:1")
    labels, probabilities = frame["label"].to_numpy(), frame["probability"].to_numpy()
    unit = {"low": 0.0, "high": 1.0}
    curves = [
        Line(f"{row['model']} ({row['auc']:.4f})", row["roc"]["fpr"], row["roc"]["tpr"], k)
        for k, row in enumerate(rated)
    ]
    intervals = [
        Interval(row["model"], row["auc"], row["auc_low"], row["auc_high"], [fold["auc"] for fold in row["folds"]])
        for row in rated
    ]
    ends = [end for row in intervals for end in (row.low, row.high, *row.points)]
    edges = np.linspace(0, 1, BINS + 1)
    counts = {label: np.histogram(probabilities[labels == label], edges)[0].tolist() for label in CLASSES}
    means, shares = calibration(labels, probabilities)
    return {
        "intervals": interval_chart(
            "AUC", intervals, Axis.around("out-of-fold AUC", ends, 1.0),
            "; ".join(f"{row.name} {row.value:.4f}, interval {row.low:.4f} to {row.high:.4f}" for row in intervals),
        ),
        "roc": line_chart(
            "ROC curve", curves, Axis("false positive rate", **unit), Axis("true positive rate", **unit),
            f"Areas: {', '.join(line.name for line in curves)}.", diagonal=True,
        ),
        "distribution": histogram(
            "Out-of-fold probabilities", edges.tolist(), (CLASSES[1], counts[1], POSITIVE),
            "probability of tumour", f"Tumour tiles above the axis, others below; {final['confusion'][1][1]:,} of "
            f"{int((labels == 1).sum()):,} tumour tiles reach 0.5.", (CLASSES[0], counts[0], NEGATIVE), 0.5,
        ),
        "calibration": line_chart(
            "Calibration", [Line("tenths of the training tiles", means, shares, 0, marks=True)],
            Axis("mean probability", **unit), Axis("share with tumour", **unit),
            ", ".join(f"{x:.2f}: {y:.2f}" for x, y in zip(means, shares, strict=True)), diagonal=True,
        ),
        "wrong": most_wrong(shards, frame),
    }  # fmt: skip


def gains_table(rated: list[dict], final: dict, config: dict) -> dict | None:
    """Return what test-time augmentation and blending gain in out-of-fold AUC; None where there is one figure alone.

    "views": kinds of augmentation that some model has; "rows", models first, then the methods of the ensemble: "name",
    "auc" (one for each of "views", or None), "weight", "by_fold" (fitted weights; of models alone) and "submitted";
    "several": whether there is an ensemble. Blended is what `predict.tta` chose.
    """
    views, several = [name for name in VIEWS if any(row["tta"][name] is not None for row in rated)], len(rated) > 1
    if not several and len(views) == 1:
        return None
    chosen = config["predict"]["tta"] if config["predict"]["tta"] in views else "none"
    rows = [
        {
            "name": row["model"],
            "auc": [row["tta"][name] for name in views],
            "weight": final["weights"][row["model"]],
            "by_fold": [weights[row["model"]] for weights in final["weights_by_fold"]],
            "submitted": False,
        }
        for row in rated
    ]
    for method, area in final["methods"].items() if several else ():
        areas = [area if name == chosen else None for name in views]
        submitted = method == final["method"]
        rows.append({"name": METHODS[method], "auc": areas, "weight": None, "by_fold": [], "submitted": submitted})
    return {"views": [VIEWS[name] for name in views], "rows": rows, "several": several}
