"""The order of the rooms: which package of `histo` may import which, read from the source without running it."""

import ast
from functools import cache

import pytest

from support import ROOT

SCRIPTS = ROOT / "workflow" / "scripts"
BASE = "histo"  # modules directly in histo/

# What the modules of a room may import beside the base and their own room. The order has no cycles.
MAY_IMPORT = {
    BASE: set(),
    "tiles": set(),
    "synthetic": set(),
    "remote": set(),
    "statistics": set(),
    "networks": set(),
    "progress": set(),
    "config": {"networks"},
    "augmentation": {"networks", "config"},
    "training": {"tiles", "networks", "config", "augmentation", "progress"},
    "apply": {"tiles", "networks", "training"},
    "export": {"networks", "training"},
    "pages": {"tiles", "statistics"},
}

MODULES = {
    ".".join(path.relative_to(SCRIPTS).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted((SCRIPTS / "histo").rglob("*.py"))
}


def room(module):
    """Return the room of a module of histo, BASE for one directly in it."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 and (SCRIPTS / "histo" / parts[1]).is_dir() else BASE


@cache
def imports(path):
    """Return the modules of this project that a file imports by itself, including inside functions."""
    known = MODULES.keys() | {script.stem for script in SCRIPTS.glob("*.py")}
    found = set()
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}, line {node.lineno}: relative import"
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        else:
            continue
        for name in names:
            # A package is a docstring; what counts is the module.
            if name in known and (name not in MODULES or MODULES[name].name != "__init__.py"):
                found.add(name)
    return frozenset(found)


def reached(path, without=()):
    """Return all modules of histo that importing a file imports; without: modules that are not followed."""
    todo, found = [path], set()
    while todo:
        new = imports(todo.pop()) - found - set(without)
        found |= new
        todo += [MODULES[name] for name in new if name in MODULES]
    return found


def test_every_module_is_in_a_known_room_or_directly_in_histo():
    folders = {path.name for path in (SCRIPTS / "histo").iterdir() if path.is_dir() and path.name != "__pycache__"}
    assert folders == MAY_IMPORT.keys() - {BASE}
    deeper = [name for name in MODULES if name.count(".") > 2]
    assert deeper == []


def test_the_order_has_no_cycles():
    done, left = set(), dict(MAY_IMPORT)
    while left:
        free = [name for name, others in left.items() if others <= done]
        assert free, f"these rooms import each other: {sorted(left)}"
        done.update(free)
        left = {name: others for name, others in left.items() if name not in free}


@pytest.mark.parametrize("name", MAY_IMPORT)
def test_a_room_imports_only_rooms_below_it(name):
    allowed = MAY_IMPORT[name] | {name, BASE}
    wrong = {
        f"{module} imports {other}"
        for module, path in MODULES.items()
        if room(module) == name
        for other in imports(path)
        if other not in MODULES or room(other) not in allowed
    }
    assert wrong == set(), f"{name} may import the base and {sorted(MAY_IMPORT[name]) or 'no room'}"


def test_config_takes_names_alone_from_networks():
    """Settings are checked when the workflow starts, without PyTorch."""
    found = {other for module, path in MODULES.items() if room(module) == "config" for other in imports(path)}
    assert {other for other in found if room(other) == "networks"} <= {"histo.networks.names"}
    assert imports(MODULES["histo.networks.names"]) == frozenset()


@pytest.mark.parametrize("name", MAY_IMPORT)
def test_the_init_of_a_room_is_one_docstring(name):
    path = SCRIPTS / "histo" / ("" if name == BASE else name) / "__init__.py"
    tree = ast.parse(path.read_text())
    assert len(tree.body) == 1
    assert ast.get_docstring(tree)


def test_scripts_import_no_script():
    wrong = {
        f"{path.name} imports {other}"
        for path in SCRIPTS.glob("*.py")
        for other in imports(path)
        if other not in MODULES
    }
    assert wrong == set()


def test_downloading_weights_imports_no_kaggle_code():
    found = reached(SCRIPTS / "imagenet_weights.py")
    assert "histo.remote.http" in found
    assert "histo.remote.kaggle" not in found
