"""Files of several models, grouped by model."""

from pathlib import Path

from histo.model_files import by_model


def test_files_are_grouped_by_the_folder_of_their_model():
    paths = ["predict/a/fold-0/x", "predict/a/fold-1/x", "predict/b/full-0/x"]
    assert by_model(paths, ["b", "a"]) == {
        "b": [Path("predict/b/full-0/x")],
        "a": [Path("predict/a/fold-0/x"), Path("predict/a/fold-1/x")],
    }


def test_no_models_have_no_files():
    assert by_model([], []) == {}
