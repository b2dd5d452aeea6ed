"""Tiles that training runs of several test files use."""

import pytest

from support.training import make_split, write_folds


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A folder with two training shards of 126 tiles and their folds, and the paths of the shards."""
    folder = tmp_path_factory.mktemp("data")
    shards, frame = make_split(folder, "train", (60, 66))
    write_folds(frame, folder / "folds.parquet")
    return folder, shards
