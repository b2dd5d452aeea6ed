"""The identity of the user's files changes with their content alone."""

import os

import pytest

from histo import user_files
from histo.errors import InputError
from histo.user_files import identity


def test_a_small_file_is_its_content(tmp_path):
    one, copy, other = (tmp_path / name for name in ("one.csv", "copy.csv", "other.csv"))
    one.write_bytes(b"id,slide\na,1\n")
    copy.write_bytes(b"id,slide\na,1\n")
    other.write_bytes(b"id,slide\na,2\n")
    os.utime(copy, (0, 0))
    assert identity(one) == identity(copy) != identity(other)
    os.utime(other, (0, 0))
    assert identity(other) != identity(copy)


def test_a_file_that_is_replaced_while_the_workflow_runs(tmp_path):
    path = tmp_path / "slides.csv"
    path.write_bytes(b"one")
    before = identity(path)
    path.write_bytes(b"two")
    os.utime(path, (0, 0))
    assert identity(path) != before


def test_a_large_file_is_its_size_and_date(tmp_path, monkeypatch):
    monkeypatch.setattr(user_files, "SMALL", 10)
    path, copy = tmp_path / "a.zip", tmp_path / "copy.zip"
    path.write_bytes(bytes(11))
    copy.write_bytes(bytes(11))
    os.utime(path, ns=(0, 5_000_000_001))
    os.utime(copy, ns=(0, 5_000_000_001))
    assert identity(path) == identity(copy)
    os.utime(copy, ns=(0, 5_000_000_000))
    assert identity(path) != identity(copy)
    copy.write_bytes(bytes(12))
    os.utime(copy, ns=(0, 5_000_000_001))
    assert identity(path) != identity(copy)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match=r"none\.csv: expected a file that can be read"):
        identity(tmp_path / "none.csv")
