"""Report sections on model performance: learning curves, ROC and calibration, largest errors, gain from averaging."""

from typing import Any

import numpy as np
import pandas as pd
from markupsafe import Markup
from sklearn.metrics import precision_recall_curve

from histo import tables
from histo.pages.charts import (
    NEGATIVE,
    POSITIVE,
    Axis,
    Bars,
    Interval,
    Line,
    LogAxis,
    histogram,
    interval_chart,
    line_chart,
)
from histo.pages.gallery import Shards, tile_gallery
from histo.pages.group_chart import group_chart
from histo.statistics.calibration import calibration_bins

BINS = 50  # of the histogram of probabilities
CURVE_POINTS = 400  # of the precision-recall curve
CORNER = 0.2  # side of the corner of the ROC curve that can be enlarged
ERRORS_SHOWN = 24  # tiles in a gallery of errors
VIEWS = {"none": "1 view", "flips": "4 views: flips", "all": "8 views: flips and 90° rotations"}
METHODS = {
    "mean": "mean of probabilities",
    "rank_mean": "mean of ranks",
    "weights": "weighted mean of probabilities",
}
# Key in `evaluate_oof`, name, remark.
METRICS = [
    ("average_precision", "average precision", "over all folds"),
    ("accuracy", "accuracy", "threshold 0.5"),
    ("recall", "sensitivity (recall)", "threshold 0.5"),
    ("specificity", "specificity", "threshold 0.5"),
    ("precision", "precision", "threshold 0.5"),
    ("f1", "F1", "threshold 0.5"),
]
CALIBRATION_METRICS = [
    ("log_loss", "log loss", ""),
    ("brier", "Brier score", ""),
    ("calibration_error", "calibration error", "expected, 10 bins; above 0 by chance"),
    ("slope", "calibration slope", "1: calibrated; below 1: too extreme"),
    ("intercept", "calibration intercept", "0: calibrated; below 0: too high"),
]
CLASSES = {0: "no tumour", 1: "tumour"}
# Key in `evaluate_classes`, name.
CLASS_METRICS = [("accuracy", "accuracy"), ("precision", "precision"), ("recall", "recall"), ("f1", "F1")]
LEFT_OUT = (
    "With more than two classes, the ROC curve, the distribution and calibration of probabilities, thresholds, "
    "subsets of tiles, comparisons of models and the expected test AUC are left out."
)


def class_names(classes: int) -> dict[int, str]:
    """Return the name of each label."""
    return CLASSES if classes == 2 else {k: f"class {k}" for k in range(classes)}


def kept_epoch(history: pd.DataFrame, settings: dict[str, Any]) -> int:
    """Return the row of the epoch whose weights predict; settings: of the model."""
    if settings.get("checkpoint") != "best":
        return len(history) - 1
    score = history["auc"] if settings.get("monitor", "auc") == "auc" else -history["validation_loss"]
    return int(score.to_numpy().argmax())


def loss_axis(losses: list[float]) -> Axis:
    """Return the axis of training and validation loss, the same for both; logarithmic, since single losses are high."""
    if min(losses) <= 0:
        return Axis.around("loss", losses)
    return LogAxis("loss", min(losses) / 1.1, max(losses) * 1.1)


def training_section(
    histories: dict[str, list[pd.DataFrame]], models: dict[str, dict[str, Any]]
) -> list[dict[str, Any]]:
    """Return the learning curves of each model: losses, validation AUC and learning rate, the kept epoch ringed.

    histories: of each model, one table per fold with the columns of history.csv; models: their settings.
    """
    sections = []
    for model, folds in histories.items():
        epochs = Axis.counted("epoch", max(int(fold["epoch"].max()) for fold in folds))
        kept = [kept_epoch(fold, models[model]) for fold in folds]
        losses = [value for fold in folds for column in ("loss", "validation_loss") for value in fold[column]]
        both = loss_axis(losses)
        charts = []
        for column, title, axis in (
            ("loss", "Training loss", both),
            ("validation_loss", "Validation loss", both),
            ("auc", "Validation AUC", Axis.around("AUC", [value for fold in folds for value in fold["auc"]], 1.0)),
            (
                "learning_rate",
                "Learning rate at the end of the epoch",
                Axis.around("learning rate", [0.0, *(value for fold in folds for value in fold["learning_rate"])]),
            ),
        ):
            lines = [
                Line(f"fold {k}", fold["epoch"].tolist(), fold[column].tolist(), k, ring=ring)
                for k, (fold, ring) in enumerate(zip(folds, kept, strict=True))
            ]
            values = ", ".join(f"{line.name} {line.y[ring]:.4g}" for line, ring in zip(lines, kept, strict=True))
            charts.append(line_chart(title, lines, epochs, axis, f"At the kept epoch: {values}."))
        sections.append({"model": model, "charts": charts, "seconds": sum(fold["seconds"].sum() for fold in folds)})
    return sections


def calibration_curve(labels: np.ndarray, probabilities: np.ndarray) -> tuple[list[float], list[float]]:
    """Return mean probability and observed proportion of positives in bins of equally many tiles.

    labels: 0 or 1, [N]; probabilities: float [N].
    """
    bins = calibration_bins(probabilities)
    sizes = np.bincount(bins)
    return (np.bincount(bins, probabilities) / sizes).tolist(), (np.bincount(bins, labels) / sizes).tolist()


def wrong_tiles(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the misclassified tiles, the largest errors first, with their `error`: 1 - probability of the label.

    frame: label and probabilities (`tables.probability_values`); with two classes, the threshold is 0.5. It may have
    the column called_by, the probabilities that are compared with the threshold if the others are ranks.
    """
    values = tables.probability_values(frame)
    labels = frame["label"].to_numpy()
    if values.ndim == 2:
        of_label = values[np.arange(len(values)), labels]
        wrong = values.argmax(axis=1) != labels
    else:
        decisive = frame["called_by"].to_numpy() if "called_by" in frame else values
        of_label, wrong = np.where(labels == 1, decisive, 1 - decisive), (decisive >= 0.5) != (labels == 1)
    rows: pd.DataFrame = frame.assign(error=1 - of_label)[wrong]
    return rows.sort_values(["error", "id"], ascending=[False, True], ignore_index=True)


def captions_of(rows: pd.DataFrame, first: list[str], models: dict[str, np.ndarray]) -> list[Markup]:
    """Return the captions of tiles: `first`, fold and, of several models, the probability of each.

    rows: with fold and position (in the arrays of models); models: probabilities, of two classes [N].
    """
    captions = []
    for start, fold, position in zip(first, rows["fold"], rows["position"], strict=True):
        caption = Markup("{}, fold {}").format(start, fold)
        if len(models) > 1:
            each = ((name, f"{values[position]:.4f}") for name, values in models.items() if values.ndim == 1)
            caption += Markup("").join(
                Markup('\n<br><span class="of-model">{}: {}</span>').format(*one) for one in each
            )
        captions.append(caption)
    return captions


def largest_errors(
    shards: Shards, frame: pd.DataFrame, models: dict[str, np.ndarray] | None = None, ranks: bool = False
) -> list[dict[str, Any]]:
    """Return the galleries of the false positives and false negatives at threshold 0.5, the largest errors first.

    frame: id, split, shard, row, label, fold and probability of the training tiles; models: see `captions_of`, in the
    order of frame; ranks: whether the probabilities are ranks, which have no threshold. The galleries then show the
    tiles that are ranked worst, and no count. Of more than two classes, frame has the probability of each class; see
    `largest_class_errors`.
    """
    if "probability" not in frame:
        return largest_class_errors(shards, frame)
    frame, galleries = frame.assign(position=np.arange(len(frame))), []
    for label, title, ascending in ((0, "False positives", False), (1, "False negatives", True)):
        wrong = frame[(frame["label"] == label) & (ranks | ((frame["probability"] >= 0.5) != (label == 1)))]
        rows = wrong.sort_values(["probability", "id"], ascending=[ascending, True]).head(ERRORS_SHOWN)
        captions = captions_of(rows, [f"{value:.4f}" for value in rows["probability"]], models or {})
        value = "rank, from 0 to 1" if ranks else "predicted probability of tumour"
        description = f"label {label}, {CLASSES[label]}, {value}"
        tiles = tile_gallery(f"error-{label}", shards, rows, captions, description)
        galleries.append(
            {
                "title": title,
                "label": CLASSES[label],
                "count": None if ranks else len(wrong),
                "shown": len(rows),
                "tiles": tiles,
            }
        )
    return galleries


def largest_class_errors(shards: Shards, frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Return for each of more than two classes the gallery of its tiles that are taken for another class."""
    values, galleries = tables.probability_values(frame), []
    guesses = values.argmax(axis=1)
    for label, name in class_names(values.shape[1]).items():
        wrong = frame.assign(guess=guesses)[(frame["label"] == label) & (guesses != label)]
        rows = wrong.sort_values([f"probability_{label}", "id"]).head(ERRORS_SHOWN)
        captions = [
            f"{value:.4f}, taken for {guess}, fold {fold}"
            for value, guess, fold in zip(rows[f"probability_{label}"], rows["guess"], rows["fold"], strict=True)
        ]
        tiles = tile_gallery(f"error-{label}", shards, rows, captions, f"label {label}, predicted probability of it")
        galleries.append(
            {
                "title": f"Label {label} taken for another",
                "label": name,
                "count": len(wrong),
                "shown": len(rows),
                "tiles": tiles,
            }
        )
    return galleries


def results_section(
    shards: Shards,
    folds_table: pd.DataFrame,
    oof: pd.DataFrame,
    evaluations: list[dict[str, Any]],
    ensemble: dict[str, Any],
    models: dict[str, np.ndarray],
) -> dict[str, Any]:
    """Return the charts of the out-of-fold predictions, the galleries of the largest errors and the table of errors.

    folds_table: `tables.FOLDS`; oof: `tables.probabilities` of what is submitted; evaluations: of all models that are
    shown, see `evaluate_oof`; ensemble: the summary of the stage `ensemble`; models: out-of-fold probabilities of each,
    in the order of the ids. "distribution", "calibration" and "groups" are None for ranks. Of more than two classes,
    these, "roc" and "precision_recall" are None; "left_out" says what is not shown, else it is empty.
    """
    frame = folds_table.assign(split="train").merge(oof.drop(columns="fold"), on="id", validate="1:1")
    frame = frame.sort_values("id", ignore_index=True)
    intervals = [
        Interval(row["model"], row["auc"], row["auc_low"], row["auc_high"], [fold["auc"] for fold in row["folds"]])
        for row in evaluations
    ]
    aucs = [value for row in intervals for value in (row.low, row.high, *row.points)]
    two_classes = "probability" in oof
    ranks = two_classes and ensemble["probability"] is None
    section = {
        "intervals": interval_chart(
            "Out-of-fold AUC", intervals, Axis.around("AUC", aucs, 1.0),
            "; ".join(
                f"{row.name} {row.value:.4f}, 95 % confidence interval {row.low:.4f} to {row.high:.4f}"
                for row in intervals
            ),
        ),
        "errors": largest_errors(shards, frame, models, ranks),
        "error_table": error_table(frame, models, ranks),
        "left_out": "" if two_classes else LEFT_OUT,
    }  # fmt: skip
    if not two_classes:
        return section | dict.fromkeys(("roc", "precision_recall", "distribution", "calibration", "groups"))
    return section | _binary_charts(frame, evaluations, ensemble, models, ranks)


def error_table(frame: pd.DataFrame, models: dict[str, np.ndarray], ranks: bool) -> pd.DataFrame:
    """Return the misclassified tiles for errors.csv: id, label, fold, group and probabilities, also of each model.

    frame, models: see `results_section`; ranks: whether the predictions are ranks. They are then in the column rank,
    and the mean of the probabilities of the models is compared with the threshold.
    """
    columns = [name for name in map(str, frame) if name.startswith("probability")]
    frame = frame[["id", "label", "fold", "group", *columns]]
    for name, values in models.items() if len(models) > 1 or ranks else ():
        parts = {name: values} if values.ndim == 1 else {f"{name}_{k}": part for k, part in enumerate(values.T)}
        frame = frame.assign(**{f"probability_of_{part}": one for part, one in parts.items()})
    if ranks:
        called_by = np.mean(list(models.values()), axis=0)
        return wrong_tiles(frame.assign(called_by=called_by)).rename(
            columns={"probability": "rank", "called_by": "mean_probability"}
        )
    return wrong_tiles(frame)


def _binary_charts(
    frame: pd.DataFrame,
    evaluations: list[dict[str, Any]],
    ensemble: dict[str, Any],
    models: dict[str, np.ndarray],
    ranks: bool,
) -> dict[str, Any]:
    """Return the charts of the probabilities of label 1; see `results_section`."""
    labels, values = frame["label"].to_numpy(), frame["probability"].to_numpy()
    curves = [
        Line(f"{row['model']} ({row['auc']:.4f})", row["roc"]["fpr"], row["roc"]["tpr"], k)
        for k, row in enumerate(evaluations)
    ]
    return {
        "roc": line_chart(
            "ROC curve, mean over the folds (AUC)", curves, Axis("false positive rate", 0, 1),
            Axis("true positive rate", 0, 1),
            f"AUC: {', '.join(line.name for line in curves)}.", diagonal=True, square=True,
            part=(Axis("false positive rate", 0, CORNER), Axis("true positive rate", 1 - CORNER, 1)),
        ),
        "precision_recall": precision_recall_chart(
            labels, {row["model"]: models.get(row["model"], values) for row in evaluations}
        ),
        "distribution": None if ranks else distribution_chart(labels, values, ensemble["confusion"]),
        "calibration": None if ranks else calibration_chart(labels, values),
        "groups": None if ranks else group_chart(ensemble["by_group"]["rows"]),
    }  # fmt: skip


def precision_recall_chart(labels: np.ndarray, predictions: dict[str, np.ndarray]) -> Markup:
    """Return the precision-recall curves over all folds; labels: 0 or 1 [N]; predictions: of each model [N]."""
    share = float((labels == 1).mean())
    lines = []
    for k, (name, values) in enumerate(predictions.items()):
        precision, recall, _ = precision_recall_curve(labels, values)
        # Of each recall the highest precision, at evenly spaced recalls.
        places = np.searchsorted(-recall, -np.linspace(1, 0, CURVE_POINTS), side="right") - 1
        places = np.unique(places)[::-1]
        lines.append(Line(name, recall[places].tolist(), precision[places].tolist(), k))
    return line_chart(
        "Precision-recall curve, over all folds", lines, Axis("recall (sensitivity)", 0, 1), Axis("precision", 0, 1),
        f"The dotted line, {share:.3f}, is the proportion of tumour tiles, the precision of chance.",
        level=share, square=True,
    )  # fmt: skip


def distribution_chart(labels: np.ndarray, probabilities: np.ndarray, confusion: list[list[int]]) -> Markup:
    """Return a histogram of the probabilities of both classes; labels: 0 or 1 [N]; confusion: [[tn, fp], [fn, tp]]."""
    edges = np.linspace(0, 1, BINS + 1)
    counts = {label: np.histogram(probabilities[labels == label], edges)[0].tolist() for label in CLASSES}
    return histogram(
        "Out-of-fold probabilities", edges.tolist(), Bars(CLASSES[1], counts[1], POSITIVE),
        "predicted probability of tumour",
        f"Tumour tiles above the zero line, the others below; {confusion[1][1]:,} of "
        f"{int((labels == 1).sum()):,} tumour tiles have a probability of at least 0.5.",
        Bars(CLASSES[0], counts[0], NEGATIVE), 0.5,
    )  # fmt: skip


def calibration_chart(labels: np.ndarray, probabilities: np.ndarray) -> Markup:
    """Return the chart of `calibration_curve`."""
    means, proportions = calibration_curve(labels, probabilities)
    return line_chart(
        "Calibration", [Line(f"{len(means)} bins with equal numbers of tiles", means, proportions, 0, marks=True)],
        Axis("mean predicted probability", 0, 1), Axis("observed proportion with tumour", 0, 1),
        ", ".join(f"{x:.2f}: {y:.2f}" for x, y in zip(means, proportions, strict=True)), diagonal=True,
    )  # fmt: skip


def gains_table(
    evaluations: list[dict[str, Any]], ensemble: dict[str, Any], config: dict[str, Any]
) -> dict[str, Any] | None:
    """Return the mean AUC of the folds by test-time augmentation and blending method; None if there is only one.

    evaluations: of the models; ensemble: the summary of the stage `ensemble`, which blends the probabilities with the
    augmentation of `predict.tta`.

    The keys of the result: "views", the augmentations that at least one model has; "rows", first the models, then the
    methods of the ensemble, each with "name", "auc" (one for each of "views", or None), "weight" (fitted blend weight
    or None), "by_fold" (the blend weights of the folds) and "selected" (for the submission); "several", whether
    there is an ensemble; "best", whether the selected method is the one with the highest AUC.
    """
    views = [name for name in VIEWS if any(row["tta"][name] is not None for row in evaluations)]
    several = len(evaluations) > 1
    if not several and len(views) == 1:
        return None
    chosen = config["predict"]["tta"] if config["predict"]["tta"] in views else "none"
    rows = [
        {
            "name": row["model"],
            "auc": [row["tta"][name] for name in views],
            "weight": ensemble["weights"][row["model"]],
            "by_fold": [weights[row["model"]] for weights in ensemble["weights_by_fold"]],
            "selected": False,
        }
        for row in evaluations
    ]
    for method, value in ensemble["methods"].items() if several else ():
        aucs = [value if name == chosen else None for name in views]
        name, selected = f"ensemble, {METHODS[method]}", method == ensemble["method"]
        rows.append({"name": name, "auc": aucs, "weight": None, "by_fold": [], "selected": selected})
    best = several and ensemble["methods"][ensemble["method"]] == max(ensemble["methods"].values())
    return {"views": [VIEWS[name] for name in views], "rows": rows, "several": several, "best": best}
