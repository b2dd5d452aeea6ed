"""What tests of several stages need: the real archive where it is at hand, and small made ones."""

import hashlib
import os
import signal
import zipfile
from pathlib import Path

import numpy as np
import pytest

import histo.transfer
from histo.tiff import tiff

ROOT = Path(__file__).resolve().parent.parent

# A shell without job control starts what it puts into the background with SIGINT ignored, and children inherit that:
# tests that interrupt a process would wait for nothing.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def real_archive() -> Path:
    """The archive of real tiles: $PCAM_REAL_ARCHIVE, or ../shared/data/pcam-real.zip."""
    path = Path(os.environ.get("PCAM_REAL_ARCHIVE", ROOT.parent / "shared" / "data" / "pcam-real.zip"))
    if not path.is_file():
        pytest.skip(f"no archive of real tiles at {path}; set PCAM_REAL_ARCHIVE")
    return path


@pytest.fixture
def loopback(monkeypatch) -> None:
    """Transfers that reach servers on loopback whatever proxy this machine uses, and try again at once."""
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(histo.transfer, "PAUSE", 0.01)


@pytest.fixture
def random() -> np.random.Generator:
    """Random numbers, the same in every run."""
    return np.random.default_rng(20181107)


def sha1(pixels: np.ndarray) -> str:
    """The id of a tile: the SHA-1 of its pixels, uint8 [96, 96, 3]."""
    return hashlib.sha1(pixels.tobytes()).hexdigest()


class Archive:
    """A small archive in Kaggle's layout, of random tiles, to be spoilt before it is written."""

    def __init__(self, random: np.random.Generator, train: int = 12, test: int = 6) -> None:
        pixels = random.integers(0, 256, (train + test, 96, 96, 3), dtype=np.uint8)
        self.pixels = {sha1(tile): tile for tile in pixels}
        ids = list(self.pixels)
        self.train, self.test = sorted(ids[:train]), sorted(ids[train:])
        self.labels = {name: str(i % 2) for i, name in enumerate(self.train)}
        self.files = {f"train/{name}.tif": tiff(self.pixels[name]) for name in self.train}
        self.files |= {f"test/{name}.tif": tiff(self.pixels[name]) for name in self.test}
        self.tables = {
            "train_labels.csv": "id,label\n" + "".join(f"{k},{v}\n" for k, v in self.labels.items()),
            "sample_submission.csv": "id,label\n" + "".join(f"{k},0\n" for k in reversed(self.test)),
        }

    def write(self, path: Path, method: int = zipfile.ZIP_DEFLATED) -> Path:
        """Write the archive as it is now."""
        with zipfile.ZipFile(path, "w", method) as file:
            for name, content in {**self.tables, **self.files}.items():
                file.writestr(name, content)
        return path


@pytest.fixture
def made(random: np.random.Generator) -> Archive:
    """A small archive that is all right until a test spoils it."""
    return Archive(random)
