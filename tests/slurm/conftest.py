"""One SLURM for all tests of this folder; they are skipped where it cannot be started."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from slurm.cluster import Cluster, NotStartedError


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """A SLURM that runs on this machine until the tests are done."""
    # Not below pytest's folder: the path of a socket has at most 108 characters.
    # A step of a job that ends late may still write.
    with tempfile.TemporaryDirectory(prefix="slurm-", ignore_cleanup_errors=True) as folder:
        try:
            running = Cluster(Path(folder))
        except NotStartedError as error:
            pytest.skip(str(error))
        try:
            yield running
        finally:
            running.stop()
