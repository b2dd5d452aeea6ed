"""Disk space that is needed against what is free: one message, or nothing."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from histo import disk_space
from histo.disk_space import require_space
from histo.errors import InputError


@pytest.fixture(autouse=True)
def disk(monkeypatch):
    """Every disk has 10 GB free."""
    monkeypatch.setattr(disk_space.shutil, "disk_usage", lambda folder: SimpleNamespace(free=10 * 10**9))


def test_needs_of_one_disk_are_added(tmp_path):
    needs = [(tmp_path / "a/b", 6 * 10**9, "shards"), (tmp_path, 0, "archive"), (tmp_path, 5 * 10**9, "trainings")]
    with pytest.raises(InputError) as caught:
        require_space(needs)
    assert str(caught.value) == (
        f"Not enough disk space in {tmp_path}: 11.00 GB are needed (shards 6.00 GB; trainings 5.00 GB), 10.00 GB are "
        "free. Free some space, or move the folder to a larger disk."
    )


def test_disks_have_their_own_space(tmp_path):
    other = Path("/proc")  # another file system than that of the tests
    require_space([(tmp_path, 6 * 10**9, "shards"), (other, 6 * 10**9, "archive")])
    require_space([(tmp_path, 10 * 10**9, "shards")])
