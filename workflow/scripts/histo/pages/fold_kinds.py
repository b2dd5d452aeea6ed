"""Report section on both kinds of folds: by groups (the same laboratories) and by stain (another laboratory)."""

from typing import Any

from histo.statistics.comparison import expected_auc

KINDS = {"groups": "same laboratory", "stain": "new laboratory"}


def fold_kinds_section(
    by_groups: list[dict[str, Any]],
    by_stain: list[dict[str, Any]],
    tiles: int,
    observed: list[tuple[str, float]],
) -> dict[str, Any] | None:
    """Return the AUC of each network by both kinds of folds, and which of them each observed AUC is nearer to.

    by_groups, by_stain: from `evaluate_oof`; models without an evaluation by stain are left out. tiles: number of test
    tiles; observed: name and AUC of the submission on test tiles. Nothing is said of them if several models are shown,
    since the submission then blends them. The result is None without evaluations by stain.
    """
    groups = {row["model"]: row for row in by_groups}
    rows = [
        {"model": row["model"]} | {
            kind: metrics | {"expected": expected_auc(metrics, tiles) if "auc_error" in metrics else None}
            for kind, metrics in (("groups", groups[row["model"]]), ("stain", row))
        }
        for row in by_stain
    ]  # fmt: skip
    if not rows:
        return None
    single = rows[0] if len(groups) == len(rows) == 1 else None
    return {"rows": rows, "observed": [nearer(name, auc, single) for name, auc in observed] if single else []}


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
