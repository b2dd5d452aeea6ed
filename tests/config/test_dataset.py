"""Sources of tiles, each with its own settings."""

import pytest
from pydantic import TypeAdapter, ValidationError

from histo.config.dataset import ArchiveSource, Dataset, KaggleSource

DATASET = TypeAdapter(Dataset)


def test_a_source_has_its_own_settings():
    dataset = DATASET.validate_python({"name": "mine", "source": "archive", "archive": "tiles.zip"})
    assert isinstance(dataset, ArchiveSource)
    assert dataset.archive == "tiles.zip"


def test_a_path_of_another_source_is_refused():
    with pytest.raises(ValidationError, match="Extra inputs"):
        DATASET.validate_python({"name": "mine", "source": "kaggle", "archive": "tiles.zip"})


def test_null_says_nothing():
    """A file can so take back the path that an earlier file names."""
    dataset = DATASET.validate_python({"name": "mine", "source": "kaggle", "archive": None, "folder": None})
    assert dataset == KaggleSource(name="mine", source="kaggle")
