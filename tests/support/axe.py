"""axe-core, which checks the accessibility of pages. `make axe-core` fetches it from npm's package index, once."""

import base64
import hashlib
import os
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

import pytest

VERSION = "4.14.1"
INTEGRITY = "sha512-FHfa+lmNjQZfJz1q8wKqIDwC6DExcHt/pkjNQb09a3NPjCKg2rhu5qb2S4r76ASyFNNtuFooJpZe37OgudVGtQ=="
PACKAGE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / f"histo/axe-core-{VERSION}.tgz"


def integrity(package: bytes) -> str:
    """Return the digest of a package as npm writes it."""
    return f"sha512-{base64.b64encode(hashlib.sha512(package).digest()).decode()}"


def fetch() -> None:
    """Put the package into the cache. Raises CalledProcessError or OSError without npm or its package index."""
    with tempfile.TemporaryDirectory() as folder:
        command = ["npm", "pack", f"axe-core@{VERSION}", "--silent", "--pack-destination", folder]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, timeout=120)
        package = (Path(folder) / PACKAGE.name).read_bytes()
    if (found := integrity(package)) != INTEGRITY:
        sys.exit(f"{PACKAGE.name}: expected {INTEGRITY}, found {found}")
    PACKAGE.parent.mkdir(parents=True, exist_ok=True)
    part = PACKAGE.with_suffix(".part")
    part.write_bytes(package)
    part.replace(PACKAGE)


def script() -> str:
    """Return the source of axe-core; skips the test where `make axe-core` has not put it into the cache."""
    if not PACKAGE.is_file():
        pytest.skip("axe-core is not there; `make axe-core` fetches it")
    assert integrity(PACKAGE.read_bytes()) == INTEGRITY, f"{PACKAGE} is damaged; delete it"
    with tarfile.open(PACKAGE) as package:
        source = package.extractfile("package/axe.min.js")
        assert source is not None
        return source.read().decode()


if __name__ == "__main__":
    if not PACKAGE.is_file():
        fetch()
