"""Records of runs: seeds, and the first result that differs with what may explain it."""

import copy

from histo.reproduction import difference, record, seeds

MADE = {
    "command": "snakemake --cores 2 submission", "hardware": "AMD EPYC, 2 cores", "tiles_sha256": "77",
    "provenance": {"commit": "abc", "versions": {"Python": "3.12", "torch": "2.14"}},
}  # fmt: skip
SETTINGS = {"folds": {"seed": 2, "count": 5}, "models": {"a": {"seed": 3, "network": {"width": 8}}}, "predict": {}}
CODE = {"train": {"train.py": "01", "histo/files.py": "02"}, "report": {"report.py": "03"}}
NETWORKS = {"train/b/fold-0/weights.pt": "12", "train/a/fold-0/weights.pt": "11"}
RECORD = record(MADE, SETTINGS, {"archive.zip": "SHA-256 5"}, CODE, NETWORKS, "99")


def changed(*path, value):
    """The record with another value at a path of keys."""
    found = copy.deepcopy(RECORD)
    part = found
    for key in path[:-1]:
        part = part[key]
    part[path[-1]] = value
    return found


def test_a_record_has_what_a_result_depends_on():
    assert RECORD["command"] == "snakemake --cores 2 submission" and RECORD["commit"] == "abc"
    assert RECORD["seeds"] == seeds(SETTINGS) == {"folds.seed": 2, "models.a.seed": 3}
    assert RECORD["data"] == {"archive.zip": "SHA-256 5", "tiles": "77"}
    assert RECORD["code"] == {"histo/files.py": "02", "report.py": "03", "train.py": "01"}
    names = ["train/a/fold-0/weights.pt", "train/b/fold-0/weights.pt", "submission.csv"]
    assert list(RECORD["results"]) == names


def test_equal_results_are_reproduced_on_whatever_machine():
    assert difference(RECORD, RECORD) == ""
    assert difference(RECORD, changed("machine", value="another")) == ""


def test_the_first_difference_is_named():
    other = changed("results", "submission.csv", value="98")
    same = "data, code, libraries, machine are those of the record"
    assert difference(RECORD, other) == f"submission.csv: expected SHA-256 99, found 98. Other than recorded: {same}."
    other["results"]["train/b/fold-0/weights.pt"] = "13"
    assert difference(RECORD, other).startswith("train/b/fold-0/weights.pt: expected SHA-256 12, found 13.")
    del other["results"]["train/a/fold-0/weights.pt"]
    assert difference(RECORD, other).startswith("train/a/fold-0/weights.pt: expected SHA-256 11, found None.")


def test_what_may_explain_a_difference_is_named():
    other = changed("results", "submission.csv", value="98")
    other |= {"machine": "Intel", "libraries": {"Python": "3.12", "torch": "2.15"}}
    assert difference(RECORD, other).endswith(
        "Other than recorded: libraries torch 2.15, recorded 2.14; machine Intel, recorded AMD EPYC, 2 cores."
    )
