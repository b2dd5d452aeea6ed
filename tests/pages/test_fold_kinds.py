"""The report's comparison of folds by groups and folds by stain."""

from histo.pages.fold_kinds import fold_kinds_section, observed_aucs
from histo.statistics.comparison import expected_auc


def evaluation(model, auc):
    return {"model": model, "auc": auc, "auc_error": 0.01, "auc_degrees": 20.0, "tiles": 400}


def test_both_kinds_side_by_side_and_the_nearer_one():
    groups, stain = evaluation("tiny", 0.97), evaluation("tiny", 0.93)
    section = fold_kinds_section([groups], [stain], 100, [("held-out labels", 0.96), ("public leaderboard", 0.94)])
    assert section["rows"] == [
        {
            "model": "tiny",
            "groups": groups | {"expected": expected_auc(groups, 100)},
            "stain": stain | {"expected": expected_auc(stain, 100)},
        }
    ]
    assert section["rows"][0]["stain"]["expected"]["tiles"] == 100
    assert section["observed"] == [
        {"name": "held-out labels", "auc": 0.96, "kind": "same laboratory"},
        {"name": "public leaderboard", "auc": 0.94, "kind": "new laboratory"},
    ]


def test_nothing_is_said_of_a_blend_or_without_folds_by_stain():
    groups = [evaluation("tiny", 0.97), evaluation("forest", 0.90)]
    section = fold_kinds_section(groups, [evaluation("tiny", 0.93)], 100, [("held-out labels", 0.96)])
    assert [row["model"] for row in section["rows"]] == ["tiny"]
    assert section["observed"] == []
    assert fold_kinds_section(groups, [], 100, [("held-out labels", 0.96)]) is None


def test_more_than_two_classes_have_no_expected_auc():
    row = {"model": "tiny", "auc": 0.8, "auc_low": 0.7, "auc_high": 0.9}
    assert fold_kinds_section([row], [row], 100, [])["rows"][0]["groups"]["expected"] is None


def test_aucs_of_the_current_submission_alone():
    sent = [
        {"current": False, "public": 0.5, "private": 0.5},
        {"current": True, "public": 0.95, "private": None},
    ]
    assert observed_aucs({"truth": {"auc": 0.96}}, sent) == [("held-out labels", 0.96), ("public leaderboard", 0.95)]
    assert observed_aucs({}, []) == []
