"""Files of weights that run code when pickle reads them: refused, and nothing is run."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from histo.errors import InputError
from histo.networks import torchvision
from histo.training import checkpoints
from histo.training.resume import ResumeFile


class Command:
    """Pickle makes a folder when it reads this."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self):
        return os.mkdir, (str(self.folder),)


@pytest.fixture
def hostile(tmp_path) -> Iterator[Path]:
    path = tmp_path / "weights.pt"
    torch.save({"format": 1, "identity": {}, "state": {"progress": Command(tmp_path / "made")}}, path)
    yield path
    assert not (tmp_path / "made").exists()
    torch.load(path, weights_only=False)
    assert (tmp_path / "made").is_dir()  # the file does what it should where code is run


def test_weights_of_a_run(hostile):
    with pytest.raises(InputError, match=r"weights\.pt: not a readable weights file"):
        checkpoints.load(hostile)


def test_weights_of_the_user(hostile):
    with pytest.raises(InputError, match=r"weights\.pt: expected a state dict .* cannot be read"):
        torchvision._read(hostile, "resnet34")


def test_the_state_to_resume_from(hostile, caplog):
    assert ResumeFile(hostile, {}).load() is None
    assert "not readable" in caplog.text
