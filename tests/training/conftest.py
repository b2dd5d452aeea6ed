"""Tiles that training runs of several test files use."""

import pytest

from support.training import make_training_tiles


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A folder with two training shards of 126 tiles and their folds, and the paths of the shards."""
    folder = tmp_path_factory.mktemp("data")
    return folder, make_training_tiles(folder)
