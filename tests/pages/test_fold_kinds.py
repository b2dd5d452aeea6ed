"""The report's comparison of folds by groups and folds by stain."""

import pytest

from histo.pages.fold_kinds import expected_range, fold_kinds_section, observed_aucs
from histo.statistics.comparison import expected_auc


def evaluation(model, auc):
    return {"model": model, "auc": auc, "auc_error": 0.01, "auc_degrees": 20.0, "tiles": 400}


def test_both_kinds_side_by_side_and_the_nearer_one():
    groups, stain = evaluation("tiny", 0.97), evaluation("tiny", 0.93)
    section = fold_kinds_section(
        [groups], [stain], None, 100, [("held-out labels", 0.96), ("public leaderboard", 0.94)]
    )
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


def test_of_several_models_the_ensemble_is_what_is_submitted():
    groups = [evaluation("tiny", 0.97), evaluation("wide", 0.95)]
    by_stain = [evaluation("tiny", 0.91), evaluation("wide", 0.90)]
    blend = evaluation("ensemble", 0.98), evaluation("ensemble", 0.94)
    section = fold_kinds_section(groups, by_stain, blend, 100, [("held-out labels", 0.95)])
    assert [row["model"] for row in section["rows"]] == ["tiny", "wide", "ensemble"]
    assert [row["stain"]["auc"] for row in section["rows"]] == [0.91, 0.90, 0.94]
    assert section["submitted"] == section["rows"][2]
    assert section["submitted"]["groups"]["auc"] == 0.98
    assert section["observed"] == [{"name": "held-out labels", "auc": 0.95, "kind": "new laboratory"}]


def test_a_model_may_have_the_name_of_the_ensemble():
    groups, by_stain = evaluation("ensemble", 0.97), evaluation("ensemble", 0.93)
    blend = evaluation("ensemble", 0.98), evaluation("ensemble", 0.94)
    rows = fold_kinds_section([groups, evaluation("tiny", 0.9)], [by_stain], blend, 100, [])["rows"]
    assert [(row["groups"]["auc"], row["stain"]["auc"]) for row in rows] == [(0.97, 0.93), (0.98, 0.94)]


def test_nothing_is_said_of_a_blend_with_classical_models_or_without_folds_by_stain():
    groups = [evaluation("tiny", 0.97), evaluation("forest", 0.90)]
    section = fold_kinds_section(groups, [evaluation("tiny", 0.93)], None, 100, [("held-out labels", 0.96)])
    assert [row["model"] for row in section["rows"]] == ["tiny"]
    assert section["submitted"] is None
    assert section["observed"] == []
    assert fold_kinds_section(groups, [], None, 100, [("held-out labels", 0.96)]) is None


def test_more_than_two_classes_have_no_expected_auc():
    row = {"model": "tiny", "auc": 0.8, "auc_low": 0.7, "auc_high": 0.9}
    assert fold_kinds_section([row], [row], None, 100, [])["rows"][0]["groups"]["expected"] is None


def test_aucs_of_the_current_submission_alone():
    sent = [
        {"current": False, "public": 0.5, "private": 0.5},
        {"current": True, "public": 0.95, "private": None},
    ]
    assert observed_aucs({"truth": {"auc": 0.96}}, sent) == [("held-out labels", 0.96), ("public leaderboard", 0.95)]
    assert observed_aucs({}, []) == []


@pytest.mark.parametrize("unknown_share", [0.0, 0.5])
def test_where_slides_are_known_the_range_is_the_prediction_interval(unknown_share):
    expected = expected_auc(evaluation("tiny", 0.97), 100)
    kinds = fold_kinds_section([evaluation("tiny", 0.97)], [evaluation("tiny", 0.93)], None, 100, [])
    found = expected_range(expected, unknown_share, kinds)
    assert found == {"low": expected["low"], "high": expected["high"], "tiles": 100, "by_stain": False}


def test_where_slides_are_unknown_folds_by_groups_set_the_upper_limit_only():
    groups, stain = evaluation("tiny", 0.9), evaluation("tiny", 0.8)
    expected = expected_auc(groups, 100)
    alone = {"low": None, "high": expected["high"], "tiles": 100, "by_stain": False}
    assert expected_range(expected, 0.51, None) == alone
    lower = expected_auc(stain, 100)["low"]
    assert lower < expected["low"]
    found = expected_range(expected, 0.51, fold_kinds_section([groups], [stain], None, 100, []))
    assert found == alone | {"low": lower, "by_stain": True}
    both = [groups, evaluation("forest", 0.7)]
    assert expected_range(expected, 0.51, fold_kinds_section(both, [stain], None, 100, [])) == alone
    of_blend = evaluation("ensemble", 0.85)
    blended = fold_kinds_section(both, [stain], (groups, of_blend), 100, [])
    lower = expected_auc(of_blend, 100)["low"]
    assert expected_range(expected, 0.51, blended) == alone | {"low": lower, "by_stain": True}


def test_folds_by_stain_with_a_higher_auc_do_not_raise_the_lower_limit():
    groups, stain = evaluation("tiny", 0.8), evaluation("tiny", 0.9)
    expected = expected_auc(groups, 100)
    assert expected_range(expected, 1.0, fold_kinds_section([groups], [stain], None, 100, []))["low"] == expected["low"]


def test_without_an_interval_there_is_no_range():
    assert expected_range(None, 1.0, None) is None
    assert expected_range({"value": 1.0, "low": None, "high": None, "tiles": 100}, 0.0, None) is None
