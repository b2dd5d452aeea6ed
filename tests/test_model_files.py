"""Files of several models, listed model by model."""

from pathlib import Path

from histo.model_files import by_model


def test_files_are_split_in_the_order_of_the_models():
    paths = ["a/0", "a/1", "b/0", "b/1"]
    assert by_model(paths, ["a", "b"]) == {"a": [Path("a/0"), Path("a/1")], "b": [Path("b/0"), Path("b/1")]}


def test_no_models_have_no_files():
    assert by_model([], []) == {}
