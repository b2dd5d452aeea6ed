"""After an edit of any module or script, exactly the stages that import it run again; after prose or touch, none.

The imports come from the source text, by way of `test_rooms.reached`, not from the fingerprints. Modules of networks
are imported by name: beside the stages, one row of the fingerprints is `train` of each network.
"""

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from histo import provenance
from histo.networks.names import OWN, network_module
from histo.provenance import code_version
from support import ROOT
from test_rooms import MODULES, reached

SCRIPTS = ROOT / "workflow" / "scripts"
STAGES = sorted(path.stem for path in SCRIPTS.glob("*.py"))
FILES = sorted(str(path.relative_to(SCRIPTS)) for path in SCRIPTS.rglob("*.py"))
LEFT_OUT = ("histo.config.", "histo.progress.", "histo.networks.names")  # modules without results
TRAININGS = {f"train {name}": network_module(name) for name in [*OWN, "custom", "resnet34"]}


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


def versions() -> dict[str, dict[str, str]]:
    """Return the fingerprints of each stage, and of the training of each network."""
    stages = {stage: code_version(stage) for stage in STAGES}
    return stages | {training: code_version("train", [module]) for training, module in TRAININGS.items()}


def importing() -> dict[str, set[str]]:
    """Return what imports each file, itself or through modules with results."""
    files = {name: str(path.relative_to(SCRIPTS)) for name, path in MODULES.items()}
    without = [name for name in MODULES if name.startswith(LEFT_OUT)]
    found: dict[str, set[str]] = {file: set() for file in FILES}
    for name in [*STAGES, *TRAININGS]:
        stage, module = name.partition(" ")[0], TRAININGS.get(name)
        found[f"{stage}.py"].add(name)
        imported = reached(SCRIPTS / f"{stage}.py", without)
        if module is not None:
            imported |= {module, *reached(MODULES[module], without)}
        for other in imported:
            found[files[other]].add(name)
            for depth in range(1, other.count(".") + 1):  # importing a.b.c runs the packages a and a.b too
                found["/".join(other.split(".")[:depth]) + "/__init__.py"].add(name)
    return found


def test_exactly_the_stages_that_import_a_module_run_again(copy):
    before = versions()
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
        acted[file] = {name for name in before if file in before[name]}
    assert edited == set(FILES)
    assert acted == importing()
    forgotten(copy)
    assert versions() == before  # written again, so all are touched
    print("\n" + "\n".join(f"{file:45} {', '.join(sorted(names)) or '-'}" for file, names in acted.items()))


def test_every_stage_that_builds_a_network_has_its_module_in_its_fingerprint():
    """The rules give it with `network_code`; the report takes the networks from `submission_modules`.

    sketch has no outputs that a rule could find outdated.
    """
    rules = "".join(path.read_text() for path in (ROOT / "workflow" / "rules").glob("*.smk"))
    building = {stage for stage in STAGES if "histo/networks/network.py" in code_version(stage)} - {"sketch"}
    assert building == set(re.findall(r'network_code\(\s*"(\w+)"', rules))


def test_an_edit_of_a_page_trains_no_model_of_a_search_again():
    """`train` reads best.yaml, which search_best writes; the page is that of search_page."""
    assert not {file for file in code_version("search_best") if "/pages/" in file}
    assert "histo/pages/charts.py" in code_version("search_page")
