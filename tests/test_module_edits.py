"""After an edit of any module or script, exactly the stages that import it run again; after prose or touch, none.

The imports come from the source text, by way of `test_rooms.reached`, not from the fingerprints.
"""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from histo import provenance
from histo.provenance import code_version
from support import ROOT
from test_rooms import MODULES, reached

SCRIPTS = ROOT / "workflow" / "scripts"
STAGES = sorted(path.stem for path in SCRIPTS.glob("*.py"))
FILES = sorted(str(path.relative_to(SCRIPTS)) for path in SCRIPTS.rglob("*.py"))
LEFT_OUT = {"config", "progress"}  # rooms without results


@pytest.fixture
def copy(tmp_path, monkeypatch) -> Iterator[Path]:
    """A copy of the scripts, of which fingerprints are taken."""
    shutil.copytree(SCRIPTS, tmp_path / "scripts", ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(provenance, "SCRIPTS", tmp_path / "scripts")
    yield forgotten(tmp_path / "scripts")
    forgotten(tmp_path)


def forgotten(folder: Path) -> Path:
    """Forget all fingerprints."""
    provenance._module.cache_clear()
    provenance._files.cache_clear()
    return folder


def importing() -> dict[str, set[str]]:
    """Return the stages that import each file, itself or through modules of rooms with results."""
    files = {name: str(path.relative_to(SCRIPTS)) for name, path in MODULES.items()}
    without = [name for name in MODULES if name.split(".")[1:2] and name.split(".")[1] in LEFT_OUT]
    found: dict[str, set[str]] = {file: set() for file in FILES}
    for stage in STAGES:
        found[f"{stage}.py"].add(stage)
        for name in reached(SCRIPTS / f"{stage}.py", without):
            found[files[name]].add(stage)
            for depth in range(1, name.count(".") + 1):  # importing a.b.c runs the packages a and a.b too
                found["/".join(name.split(".")[:depth]) + "/__init__.py"].add(stage)
    return found


def test_exactly_the_stages_that_import_a_module_run_again(copy):
    before = {stage: code_version(stage) for stage in STAGES}
    acted, edited = {}, set()
    for file in FILES:
        path, digest = copy / file, provenance._module(file)[1]
        text = path.read_text()
        assert text.startswith('"""'), file
        path.write_text('"""Edited.' + text[3:] + "# edited\n")
        assert provenance._module.__wrapped__(file)[1] == digest, file
        path.write_text(text + "edited = True\n")
        if provenance._module.__wrapped__(file)[1] != digest:
            edited.add(file)
        path.write_text(text)
        acted[file] = {stage for stage in STAGES if file in before[stage]}
    assert edited == set(FILES)
    assert acted == importing()
    forgotten(copy)
    assert {stage: code_version(stage) for stage in STAGES} == before  # written again, so all are touched
    print("\n" + "\n".join(f"{file:45} {', '.join(sorted(stages)) or '-'}" for file, stages in acted.items()))
