"""Files that appear whole or not at all."""

import pytest

from histo.errors import InputError
from histo.files import atomic_write, read_json, write_json


def test_a_file_appears_at_the_end(tmp_path):
    path = tmp_path / "folder" / "a.txt"
    with atomic_write(path) as temporary:
        temporary.write_text("new")
        assert not path.exists()
        assert temporary.suffix == ".txt"
    assert path.read_text() == "new"
    assert list(path.parent.iterdir()) == [path]


def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(RuntimeError, match="stop"), atomic_write(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError("stop")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_json(tmp_path):
    write_json(tmp_path / "a.json", {"b": [1, 2.5, None]})
    assert read_json(tmp_path / "a.json") == {"b": [1, 2.5, None]}
    with pytest.raises(ValueError, match="Out of range"):
        write_json(tmp_path / "c.json", float("nan"))
    assert not (tmp_path / "c.json").exists()
    (tmp_path / "d.json").write_text("{")
    with pytest.raises(InputError, match="expected JSON"):
        read_json(tmp_path / "d.json")
    with pytest.raises(InputError, match="no such file"):
        read_json(tmp_path / "e.json")
