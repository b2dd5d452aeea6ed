"""The table of all numbers of a page."""

import pandas as pd

from histo.files import write_json
from histo.pages.numbers import values, write_numbers


def test_every_value_has_the_path_to_it():
    nested = {"auc": 0.5, "folds": [{"auc": 0.25}, {"auc": None}], "empty": []}
    assert list(values(nested)) == [("auc", 0.5), ("folds.0.auc", 0.25), ("folds.1.auc", None)]


def test_the_table_names_files_relative_to_itself(tmp_path):
    (tmp_path / "evaluate").mkdir()
    write_json(tmp_path / "evaluate/p4m.json", {"auc": 0.1 + 0.2})
    write_json(tmp_path / "audit.json", {"name": "a, b", "none": None})
    write_numbers(tmp_path / "numbers.csv", [tmp_path / "evaluate/p4m.json", tmp_path / "audit.json"])
    table = pd.read_csv(tmp_path / "numbers.csv", dtype=str, keep_default_na=False)
    assert table.to_numpy().tolist() == [
        ["evaluate/p4m.json", "auc", "0.30000000000000004"],
        ["audit.json", "name", "a, b"],
        ["audit.json", "none", ""],
    ]
