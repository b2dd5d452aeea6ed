"""Fixtures of several test files: real tiles, small synthetic archives, a finished run, transfers on loopback."""

import shutil
import signal
from pathlib import Path

import numpy as np
import pytest

from histo.remote import partial_download
from support import REAL_ARCHIVE
from support.archives import Archive
from support.chain import DATASET, snakemake

# A shell without job control starts what it puts into the background with SIGINT ignored, and children inherit that:
# tests that interrupt a process would wait for nothing.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def real_archive() -> Path:
    """The archive of real tiles: $PCAM_REAL_ARCHIVE, or ../shared/data/pcam-real.zip."""
    if not REAL_ARCHIVE.is_file():
        pytest.skip(f"no archive of real tiles at {REAL_ARCHIVE}; set PCAM_REAL_ARCHIVE")
    return REAL_ARCHIVE


@pytest.fixture
def loopback(monkeypatch) -> None:
    """Transfers that reach servers on loopback whatever proxy this machine uses, and try again at once."""
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(partial_download, "PAUSE", 0.01)


@pytest.fixture
def random() -> np.random.Generator:
    """Random numbers, the same in every run."""
    return np.random.default_rng(20181107)


@pytest.fixture
def archive(random: np.random.Generator) -> Archive:
    """A small synthetic archive without faults; tests change it before they write it."""
    return Archive(random)


@pytest.fixture(scope="session")
def tiny_run(tmp_path_factory) -> Path:
    """Folder with a finished run of the settings of tests/config/tiny.yaml on DATASET; not to be changed."""
    folder = tmp_path_factory.mktemp("tiny")
    Archive(np.random.default_rng(5), train=40, test=10).write(folder / "archive.zip")
    done = snakemake(folder, "submission", DATASET)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture
def tiny_copy(tiny_run: Path, tmp_path: Path) -> Path:
    """A copy of `tiny_run`, in which other settings run again what depends on them."""
    return shutil.copytree(tiny_run, tmp_path / "tiny", symlinks=True)
