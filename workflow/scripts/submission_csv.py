"""Write the file for Kaggle: ids and order of sample_submission.csv, probabilities in full precision.

Test tiles that could not be read get the share of positives of the training tiles, so that no id is missing; their
number is stated. Everything that Kaggle would reject, and everything that would cost AUC unnoticed, is refused.
"""

import hashlib
import logging
from pathlib import Path

import numpy as np
import pandas as pd

from histo import tables
from histo.csv_tables import check_id, parse_csv
from histo.errors import InputError
from histo.files import atomic_write, read_json, write_json
from histo.metrics import auc, auc_interval


def read_ids(sample: Path) -> pd.DataFrame:
    """Return the rows of the sample submission: `written` as it stands there and `id` as tables have it."""
    rows = [
        (text, check_id(f"{sample}, line {line}", text))
        for line, (text,) in parse_csv(str(sample), sample.read_bytes(), ["id"])
    ]
    return pd.DataFrame(rows, columns=["written", "id"])


def check(submission: pd.DataFrame, wanted: list[str]) -> None:
    """InputError unless `submission` (id, label) has the ids `wanted` in this order and probabilities that can rank.

    Refused: missing, extra or repeated ids, another order, NaN, values outside [0, 1], only zeros and ones.
    """
    ids, expected = set(submission["id"]), set(wanted)
    for what, names in (
        ("missing ids", expected - ids),
        ("extra ids", ids - expected),
        ("repeated ids", set(submission.loc[submission["id"].duplicated(), "id"])),
    ):
        if names:
            raise InputError(f"The submission has {len(names)} {what}, such as {min(names)}. Run `predict` again.")
    if submission["id"].tolist() != wanted:
        raise InputError("The submission's ids are not in the order of sample_submission.csv. Run again.")
    values = submission["label"].to_numpy(float)
    if not np.isfinite(values).all():
        bad = submission.loc[~np.isfinite(values), "id"]
        raise InputError(f"The submission has {len(bad)} values that are no numbers, such as for {bad.iloc[0]}.")
    if values.min() < 0 or values.max() > 1:
        raise InputError(f"The submission has values from {values.min()} to {values.max()}, expected 0 to 1.")
    if np.isin(values, (0, 1)).all():
        raise InputError("The submission holds only zeros and ones. AUC needs probabilities that were not rounded.")


def score(submission: pd.DataFrame, truth: Path) -> dict:
    """Score the submission as a leaderboard would: {"tiles", "auc", "auc_low", "auc_high"}.

    truth: CSV with id,label, as `synthesize` writes it. With the column `part`, as `pcam_index` writes it, each part
    (public, private) has the same figures of its own under "parts".
    """
    known = pd.read_csv(truth, dtype={"id": str}).merge(
        submission.rename(columns={"label": "probability"}), on="id", validate="1:1"
    )
    parts = {name: _rated(part) for name, part in known.groupby("part", sort=False)} if "part" in known else {}
    return _rated(known) | ({"parts": parts} if parts else {})


def _rated(tiles: pd.DataFrame) -> dict:
    labels, values = tiles["label"].to_numpy(), tiles["probability"].to_numpy()
    if len(np.unique(labels)) < 2:
        raise InputError(
            f"The {len(tiles)} hidden labels are all of one class, so no AUC exists. Make more test tiles."
        )
    low, high = auc_interval(labels, values)
    return {"tiles": len(tiles), "auc": auc(labels, values), "auc_low": low, "auc_high": high}


def submission_csv(sample: Path, test: Path, audit: Path, truth: Path | None, output: Path, figures: Path) -> None:
    """Write `output` (id,label) and its figures; with `truth`, score it."""
    rows = read_ids(sample)
    predicted = tables.read(test, tables.PROBABILITIES).set_index("id")["probability"]
    share = read_json(audit)["positive_share"]
    unknown = set(predicted.index) - set(rows["id"])
    if unknown:
        raise InputError(
            f"{test}: {len(unknown)} predicted ids are not in {sample}, such as {min(unknown)}. Run again."
        )
    filled = ~rows["id"].isin(predicted.index)
    rows["label"] = rows["id"].map(predicted).where(~filled, share)
    submission = pd.DataFrame({"id": rows["written"], "label": rows["label"]})
    check(submission, rows["written"].tolist())
    with atomic_write(output) as temporary:
        # repr keeps every bit of a float: ties that rounding makes cost AUC.
        submission.to_csv(temporary, index=False, lineterminator="\n")
    # An id may be "NA"; only an empty label is none.
    again = pd.read_csv(output, dtype={"id": str}, keep_default_na=False, na_values={"label": [""]})
    check(again, rows["written"].tolist())

    values = submission["label"]
    edges = np.linspace(0, 1, 51)
    result = {
        "sha256": hashlib.sha256(output.read_bytes()).hexdigest(),  # by it `submit` knows the file again
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
        result["truth"] = score(submission, truth)
        for name, rated in [("all", result["truth"]), *result["truth"].get("parts", {}).items()]:
            logging.info("scored on the hidden labels: %s: AUC %.4f on %d tiles", name, rated["auc"], rated["tiles"])
    if filled.any():
        logging.warning("%d test tiles could not be read and get %.4f: %s", filled.sum(), share, result["filled"][:10])
    write_json(figures, result)
    logging.info("%d rows, %d distinct values, mean %.4f", len(rows), result["distinct"], result["mean"])


if __name__ == "__main__":
    from histo import job

    job.start(snakemake)
    truth = snakemake.input.get("truth")
    submission_csv(
        Path(snakemake.input.sample),
        Path(snakemake.input.test),
        Path(snakemake.input.audit),
        Path(truth) if truth else None,
        Path(snakemake.output.submission),
        Path(snakemake.output.figures),
    )
