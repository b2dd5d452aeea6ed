"""Report section on both kinds of folds: by groups (the same laboratories) and by stain (another laboratory)."""

from typing import Any

from histo.statistics.comparison import expected_auc

KINDS = {"groups": "same laboratory", "stain": "new laboratory"}
MOSTLY_UNKNOWN = 0.5  # share of the training tiles without a slide above which folds by groups set no lower limit


def fold_kinds_section(
    by_groups: list[dict[str, Any]],
    by_stain: list[dict[str, Any]],
    blend: tuple[dict[str, Any], dict[str, Any]] | None,
    tiles: int,
    observed: list[tuple[str, float]],
) -> dict[str, Any] | None:
    """Return the AUC by both kinds of folds, and which of them each observed AUC is nearer to.

    "rows": of each network, and of the ensemble; "submitted": the row of the submission, None without one; "observed".

    by_groups, by_stain: from `evaluate_oof`; models without an evaluation by stain are left out. blend: the same of the
    ensemble of several models, by groups and by stain, None without one. tiles: number of test tiles that are
    predicted; observed: name and AUC of the submission on test tiles. Nothing is said of them without a row of the
    submission. The result is None without evaluations by stain.
    """
    groups = {row["model"]: row for row in by_groups}
    pairs = [(groups[row["model"]], row) for row in by_stain] + ([blend] if blend else [])
    rows = [
        {"model": pair[0]["model"]} | {
            kind: metrics | {"expected": expected_auc(metrics, tiles) if "auc_error" in metrics else None}
            for kind, metrics in zip(KINDS, pair, strict=True)
        }
        for pair in pairs
    ]  # fmt: skip
    if not rows:
        return None
    submitted = rows[-1] if blend or len(by_groups) == 1 else None
    nearest = [nearer(name, auc, submitted) for name, auc in observed] if submitted else []
    return {"rows": rows, "submitted": submitted, "observed": nearest}


def expected_range(
    expected: dict[str, Any] | None, unknown_share: float, kinds: dict[str, Any] | None
) -> dict[str, Any] | None:
    """Return the range of the AUC to expect on the test tiles: {"low", "high", "tiles", "by_stain"}, None without one.

    expected: `expected_auc` of the submission; unknown_share: share of the training tiles whose slide is unknown;
    kinds: `fold_kinds_section`. Where most slides are unknown, folds by groups have tiles of one slide in several
    folds, and their AUC is an upper bound for other slides. The lower limit is then that of folds by stain if the
    submission was evaluated by them ("by_stain"), otherwise None.
    """
    if not expected or expected["low"] is None:
        return None
    found = {"low": expected["low"], "high": expected["high"], "tiles": expected["tiles"], "by_stain": False}
    if unknown_share <= MOSTLY_UNKNOWN:
        return found
    by_stain = kinds["submitted"]["stain"]["expected"] if kinds and kinds["submitted"] else None
    if by_stain and by_stain["low"] is not None:
        return found | {"low": min(found["low"], by_stain["low"]), "by_stain": True}
    return found | {"low": None}


def nearer(name: str, auc: float, row: dict[str, Any]) -> dict[str, Any]:
    """Return name, AUC and the kind of folds whose AUC is nearer to it; row: AUC by each kind, {kind: {"auc"}}."""
    kind = min(KINDS, key=lambda kind: abs(row[kind]["auc"] - auc))
    return {"name": name, "auc": auc, "kind": KINDS[kind]}


def observed_aucs(submission: dict[str, Any], sent: list[dict[str, Any]]) -> list[tuple[str, float]]:
    """Return the AUCs of the submission on test tiles: name and value.

    submission: summary of the stage `submission_csv`; sent: submissions to Kaggle, the current file has "current".
    """
    known = [("held-out labels", submission["truth"]["auc"])] if "truth" in submission else []
    for row in sent:
        if row["current"]:
            known += [(f"{part} leaderboard", row[part]) for part in ("public", "private") if row.get(part) is not None]
    return known
