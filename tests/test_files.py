"""Atomic writes and JSON files."""

import os

import pytest
from jinja2 import Template

from histo.errors import InputError
from histo.files import atomic_write, read_json, write_json


def test_a_file_appears_when_the_block_ends(tmp_path):
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
    with pytest.raises(InputError, match=r"d\.json: expected JSON, found something else .*Delete the file"):
        read_json(tmp_path / "d.json")
    with pytest.raises(InputError, match=r"e\.json: no such file\. Run the stage that writes it\."):
        read_json(tmp_path / "e.json")


def test_an_error_of_writing_json_leaves_the_old_file(tmp_path):
    path = tmp_path / "a.json"
    write_json(path, {"a": 1})
    assert path.read_text() == '{\n "a": 1\n}\n'
    with pytest.raises(ValueError, match="Out of range"):
        write_json(path, [float("inf")])
    assert read_json(path) == {"a": 1}
    assert list(tmp_path.iterdir()) == [path]


def test_the_content_is_on_the_disk_before_the_name(tmp_path, monkeypatch):
    events = []
    monkeypatch.setattr(os, "fsync", lambda number: events.append("fsync"))
    replace = os.replace
    monkeypatch.setattr(os, "replace", lambda *paths: (events.append("replace"), replace(*paths)))
    with atomic_write(tmp_path / "a") as temporary:
        temporary.write_text("x")
        assert events == []
    assert events == ["fsync", "replace"]
    assert (tmp_path / "a").read_text() == "x"


@pytest.mark.parametrize("text", ["", '{"a": 1', "[1]", "null", "5", "[" * 100_000, "\xff"])
def test_json_that_is_cut_or_no_mapping(tmp_path, text):
    path = tmp_path / "a.json"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(
        InputError, match=r"a\.json: expected (a mapping in )?JSON, found .* Delete the file and run again"
    ):
        read_json(path)


@pytest.mark.parametrize(("keys", "found"), [(["b"], "'a', 'c'"), (["a", "b"], "'d'"), (["c", "b"], "no key")])
def test_a_key_that_json_lacks(tmp_path, keys, found):
    path = tmp_path / "a.json"
    path.write_text('{"a": {"d": 1}, "c": {}}')
    with pytest.raises(InputError) as caught:
        value = read_json(path)
        for key in keys:
            value = value[key]
    assert str(caught.value) == f"{path}: expected the key 'b', found {found}. Delete the file and run again."
    assert read_json(path) == {"a": {"d": 1}, "c": {}}
    assert Template("{% if value.b %}yes{% else %}no{% endif %}").render(value=read_json(path)) == "no"
    assert "b" not in read_json(path) and read_json(path).get("b") is None


def test_what_a_killed_job_left_is_swept(tmp_path):
    left = tmp_path / ".report.24310.part.html"
    others = [tmp_path / name for name in (".report.x.part.html", ".report-2.1.part.html", ".report.1.part.csv")]
    for path in (left, *others):
        path.write_text("half")
    with atomic_write(tmp_path / "report.html") as temporary:
        temporary.write_text("all")
    assert sorted(tmp_path.iterdir()) == sorted([*others, tmp_path / "report.html"])
