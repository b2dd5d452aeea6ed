"""Fingerprints of code: they change with what a script imports, however deep, and with nothing else."""

import pytest

from histo import provenance

FILES = {
    "one.py": "from pkg import a\nimport numpy as np\n",
    "two.py": "import pkg.b\n",
    "three.py": "def late():\n    from pkg.c import thing\n",
    "four.py": "import json\n",
    "pkg/__init__.py": "",
    "pkg/a.py": "from pkg.b import x\n",
    "pkg/b.py": "x = 1\n",
    "pkg/c.py": "thing = 2\n",
}


@pytest.fixture
def scripts(tmp_path, monkeypatch):
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(provenance, "SCRIPTS", tmp_path)
    return tmp_path


def versions():
    provenance._imports.cache_clear()
    provenance._digest.cache_clear()
    return {name: provenance.code_version(name) for name in ("one", "two", "three", "four")}


def test_imports_are_followed(scripts):
    found = {name: set(version) for name, version in versions().items()}
    assert found == {
        "one": {"one.py", "pkg/__init__.py", "pkg/a.py", "pkg/b.py"},
        "two": {"two.py", "pkg/__init__.py", "pkg/b.py"},
        "three": {"three.py", "pkg/__init__.py", "pkg/c.py"},
        "four": {"four.py"},
    }


@pytest.mark.parametrize(
    ("edited", "affected"),
    [
        ("pkg/b.py", {"one", "two"}),
        ("pkg/a.py", {"one"}),
        ("pkg/c.py", {"three"}),
        ("pkg/__init__.py", {"one", "two", "three"}),
        ("four.py", {"four"}),
    ],
)
def test_an_edit_changes_exactly_what_imports_it(scripts, edited, affected):
    before = versions()
    (scripts / edited).write_text(FILES[edited] + "# edited\n")
    after = versions()
    assert {name for name in before if before[name] != after[name]} == affected


def test_touching_changes_nothing(scripts):
    before = versions()
    (scripts / "pkg/b.py").touch()
    assert versions() == before
