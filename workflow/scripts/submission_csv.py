"""Write submission.csv: the ids of sample_submission.csv in the same order, with probabilities in full precision.

The columns are id and label, the probability of label 1; of more than two classes id and label_0, label_1, …, the
probability of each class.

Test tiles without a prediction get the proportion of positive training tiles, so that no id is missing; the summary
lists them. A submission that Kaggle would reject is an error, and so is one with only the values 0 and 1.
"""

import hashlib
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from histo import tables
from histo.class_metrics import macro_auc, macro_auc_interval
from histo.csv_tables import check_id, parse_csv
from histo.errors import InputError
from histo.files import atomic_write, read_json, write_json
from histo.statistics.clustered_auc import stratified_auc
from histo.tiles.overlap_graph import components, positions


def read_ids(sample: Path) -> pd.DataFrame:
    """Return the ids of the sample submission: `written` as in the file and `id` as in the tables."""
    rows = [
        (text, check_id(f"{sample}, line {line}", text))
        for line, (text,) in parse_csv(str(sample), sample.read_bytes(), ["id"])
    ]
    return pd.DataFrame(rows, columns=["written", "id"])


def check(submission: pd.DataFrame, wanted: list[str]) -> None:
    """Raise InputError unless `submission` has the ids `wanted` in this order and valid probabilities.

    Its columns are id and label, or id and a label_… of each class.

    Errors are missing, extra or repeated ids, a different order, NaN, infinity, values outside [0, 1], and values that
    are all 0 or 1.
    """
    ids, expected = set(submission["id"]), set(wanted)
    for problem, names in (
        ("missing ids", expected - ids),
        ("extra ids", ids - expected),
        ("repeated ids", set(submission.loc[submission["id"].duplicated(), "id"])),
    ):
        if names:
            raise InputError(
                f"The submission has {len(names)} {problem}, for example {min(names)}. Run `predict` again."
            )
    if submission["id"].tolist() != wanted:
        raise InputError(
            "The ids of the submission are not in the order of sample_submission.csv. Run `submission_csv` again."
        )
    values = submission.drop(columns="id").to_numpy(float)
    if not np.isfinite(values).all():
        bad = submission.loc[~np.isfinite(values).all(axis=1), "id"]
        raise InputError(
            f"The submission has {len(bad)} values that are not finite numbers, for example for {bad.iloc[0]}."
        )
    if values.min() < 0 or values.max() > 1:
        raise InputError(
            f"The submission has values from {values.min()} to {values.max()}, expected values from 0 to 1."
        )
    if np.isin(values, (0, 1)).all():
        raise InputError(
            "The submission has only the values 0 and 1. The AUC needs probabilities that are not rounded."
        )


def score(submission: pd.DataFrame, truth: Path, overlaps: Path) -> dict[str, Any]:
    """Return the AUC on the held-out test labels, as a leaderboard would.

    {"tiles", "auc", "auc_low", "auc_high", "auc_error", "auc_degrees", "auc_error_tiles"}: the interval, the standard
    error and its degrees of freedom respect tissue that tiles share; the last error is that of independent tiles. The
    slides of test tiles are unknown. Of more than two classes, "auc" is the macro AUC, its interval that of independent
    tiles, and the result has no errors. overlaps: `tables.OVERLAPS`.
    truth: CSV with the columns id and label, from `synthesize`. With the column `part`, from `pcam_index`, the result
    has the same metrics of each part (public, private) under "parts".
    """
    predicted = submission.rename(columns=lambda name: name.replace("label", "probability"))
    known = pd.read_csv(truth, dtype={"id": str}).merge(predicted, on="id", validate="1:1")
    pairs = tables.read(overlaps, tables.OVERLAPS)
    known["cluster"] = components(len(known), positions(known["id"], pairs[pairs["confirmed"]])[0])
    parts = (
        {name: _auc_with_interval(part) for name, part in known.groupby("part", sort=False)} if "part" in known else {}
    )
    return _auc_with_interval(known) | ({"parts": parts} if parts else {})


def _auc_with_interval(tiles: pd.DataFrame) -> dict[str, Any]:
    labels, values = tiles["label"].to_numpy(), tables.probability_values(tiles)
    if len(np.unique(labels)) < 2:
        raise InputError(
            f"The {len(tiles)} held-out test labels are all of one class, so the AUC is undefined. Use more test tiles."
        )
    if values.ndim == 2:
        if len(np.unique(labels)) < values.shape[1]:
            raise InputError(
                f"The {len(tiles)} held-out test labels lack some of {values.shape[1]} classes, so the macro AUC is "
                "undefined. Use more test tiles."
            )
        low, high = macro_auc_interval(labels, values)
        return {"tiles": len(tiles), "auc": macro_auc(labels, values), "auc_low": low, "auc_high": high}
    found = stratified_auc(labels, values, tiles["cluster"].to_numpy())
    low, high = found.interval()
    return {
        "tiles": len(tiles),
        "auc": float(found.values[0]),
        "auc_low": low,
        "auc_high": high,
        "auc_error": found.error(),
        "auc_degrees": float(found.degrees[0]),
        "auc_error_tiles": stratified_auc(labels, values).error(),
    }


def submission_csv(
    sample: Path, test: Path, overlaps: Path, audit: Path, truth: Path | None, output: Path, summary: Path
) -> None:
    """Write `output` and its summary; with `truth`, the summary has the AUC on these labels.

    test: `tables.probabilities` of the test tiles; overlaps: see `score`. Raises InputError if `test` has ids that
    `sample` lacks, or if the submission fails `check`.
    """
    rows = read_ids(sample)
    classes = tables.classes_of(test)
    predicted = tables.read(test, tables.probabilities(classes)).set_index("id")
    audited = read_json(audit)
    share = audited["positive_share"]
    # Column of the submission: column of the predictions, value where there is no prediction.
    columns = {"label": ("probability", share)}
    if classes > 2:
        total = sum(audited["labels"])
        columns = {f"label_{k}": (f"probability_{k}", n / total) for k, n in enumerate(audited["labels"])}
    unknown = set(predicted.index) - set(rows["id"])
    if unknown:
        raise InputError(
            f"{test}: {len(unknown)} predicted ids are not in {sample}, for example {min(unknown)}. "
            "Run `predict` again."
        )
    filled = ~rows["id"].isin(predicted.index)
    submission = pd.DataFrame({"id": rows["written"]})
    for name, (column, value) in columns.items():
        submission[name] = rows["id"].map(predicted[column]).where(~filled, value)
    check(submission, rows["written"].tolist())
    with atomic_write(output) as temporary:
        # All digits are written, because ties caused by rounding would change the AUC.
        submission.to_csv(temporary, index=False, lineterminator="\n")
    # "NA" is a valid id; only an empty label is missing.
    written = pd.read_csv(output, dtype={"id": str}, keep_default_na=False, na_values={key: [""] for key in columns})
    check(written, rows["written"].tolist())

    values = submission[list(columns)].stack() if classes > 2 else submission["label"]
    edges = np.linspace(0, 1, 51)
    result = {
        "sha256": hashlib.sha256(output.read_bytes()).hexdigest(),  # identifies the file for `submit`
        "rows": len(rows),
        "filled": rows.loc[filled, "id"].tolist(),
        "filled_value": share,
        "min": float(values.min()),
        "max": float(values.max()),
        "mean": float(values.mean()),
        "distinct": int(values.nunique()),
        "histogram": {"edges": edges.round(2).tolist(), "tiles": np.histogram(values, edges)[0].tolist()},
    }
    if truth:
        result["truth"] = score(submission, truth, overlaps)
        for name, part in [("all", result["truth"]), *result["truth"].get("parts", {}).items()]:
            logging.info("Held-out test labels, %s: AUC %.4f on %d tiles.", name, part["auc"], part["tiles"])
    if filled.any():
        logging.warning(
            "%d test tiles have no prediction and get %.4f, for example %s.", filled.sum(), share, result["filled"][:10]
        )
    write_json(summary, result)
    logging.info("Submission: %d rows, %d distinct values, mean %.4f.", len(rows), result["distinct"], result["mean"])


if __name__ == "__main__":
    from histo import job

    job.start(snakemake)
    truth = snakemake.input.get("truth")
    submission_csv(
        Path(snakemake.input.sample),
        Path(snakemake.input.test),
        Path(snakemake.input.overlaps),
        Path(snakemake.input.audit),
        Path(truth) if truth else None,
        Path(snakemake.output.submission),
        Path(snakemake.output.summary),
    )
