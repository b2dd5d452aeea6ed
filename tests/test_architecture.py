"""The committed picture of the rooms is the generated one, and rooms do not import each other in a cycle."""

import importlib.util
import re

import pytest

from support import ROOT


@pytest.fixture(scope="module")
def architecture():
    spec = importlib.util.spec_from_file_location("architecture", ROOT / "docs" / "architecture.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def write_rooms(folder, sources):
    """A repository of {path relative to workflow/scripts: source}, with a room for every folder."""
    (folder / "workflow" / "rules").mkdir(parents=True)
    (folder / "Snakefile").write_text("")
    for name, text in {"histo/__init__.py": '"""Base."""', **sources}.items():
        path = folder / "workflow" / "scripts" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        if not (path.parent / "__init__.py").exists() and path.parent.name != "scripts":
            (path.parent / "__init__.py").write_text(f'"""The {path.parent.name}. More."""')
    return folder


def test_committed_picture_is_current(architecture):
    drawn = architecture.draw(architecture.read())
    assert architecture.PICTURE.read_text() == drawn, "docs/architecture.svg is out of date: run `make architecture`"


def test_picture_names_every_module_and_stage(architecture):
    text = architecture.PICTURE.read_text()
    words = set(re.findall(r"[\w.]+", re.sub(r"<[^>]*>", " ", text)))
    scripts = ROOT / "workflow" / "scripts"
    modules = {path.stem for path in scripts.glob("histo/**/*.py") if path.name != "__init__.py"}
    assert modules | {path.stem for path in scripts.glob("*.py")} <= words


def test_imports_of_rooms_and_stages(architecture, tmp_path):
    sources = {
        "histo/files.py": "",
        "histo/tiles/shards.py": "from histo import files\nfrom histo.files import read\nimport numpy",
        "histo/training/loop.py": "def f():\n    import histo.tiles.shards",
        "train.py": "from histo.training.loop import run",
        "folds.py": "from histo import files",
    }
    rooms = architecture.read(write_rooms(tmp_path, sources))
    assert rooms["tiles"] == architecture.Room("tiles", "The tiles.", ["shards"], set(), set())
    assert rooms["training"] == architecture.Room("training", "The training.", ["loop"], {"tiles"}, {"train"})
    assert rooms["histo"] == architecture.Room("histo", "Base.", ["files"], set(), {"folds"})
    assert architecture.levels(rooms) == [["tiles"], ["training"]]


def test_cycle_of_rooms_is_refused(architecture, tmp_path):
    sources = {
        "histo/tiles/shards.py": "from histo.training import loop",
        "histo/training/loop.py": "from histo.tiles import shards",
    }
    with pytest.raises(ValueError, match="in a cycle: tiles, training"):
        architecture.levels(architecture.read(write_rooms(tmp_path, sources)))


def test_base_that_imports_a_room_is_shown(architecture, tmp_path):
    sources = {"histo/files.py": "from histo.tiles import shards", "histo/tiles/shards.py": ""}
    drawn = architecture.draw(architecture.read(write_rooms(tmp_path, sources)))
    assert "They import tiles." in drawn
