"""Fingerprints of code: they change with what the code below a script does, and with nothing else."""

import os
import shutil
import subprocess
import sys

import pytest

from histo import provenance
from histo.faults import FAULTS
from histo.networks.names import network_module
from histo.provenance import code_version
from support import ROOT

FILES = {
    "one.py": "from pkg import a\nimport numpy as np\n",
    "two.py": "import pkg.b\n",
    "three.py": "def late():\n    from pkg.c import thing\n",
    "four.py": "import json\nfrom histo.config.checks import check\nfrom histo.config import checks\n"
    "from histo.progress.lines import line\n",
    "pkg/__init__.py": '"""A package."""\n',
    "pkg/a.py": "from pkg.b import x\n",
    "pkg/b.py": "x = 1\n",
    "pkg/c.py": "thing = 2\n",
    "histo/__init__.py": "",
    "histo/config/__init__.py": "",
    "histo/config/checks.py": "import histo.units\ncheck = 3\n",
    "histo/units.py": "unit = 4\n",
    "histo/progress/__init__.py": "",
    "histo/progress/lines.py": "line = 5\n",
}

# A module with everything that may or may not count.
MODULE = '''"""A module."""

import logging
from dataclasses import dataclass

from histo.errors import DivergedError, InputError

log = logging.getLogger(__name__)


@dataclass
class Size:
    """A size."""

    height: int
    width: int = 96  # pixels


@lru_cache
def scale(size: Size, factor: float = 2.0, *, mode: str = "up", **rest: int) -> list[float]:
    """Scale a size."""
    found = [size.height, size.width]
    count = len(found)
    if count in {"a", "b", 2}:
        log.info("%d sides of %s", count, f"size {size!r:>9}")
    if factor <= 0:
        raise InputError(f"factor: expected above 0, found {factor:.3f}. " + "Check it.")
    if mode != "up":
        raise DivergedError(f"mode {mode}")
    total = found[0] + found[1]
    count = 0
    return [factor * side / total for side in found]
'''

PROSE = {
    "comment": ("# pixels", "# of a tile"),
    "word of an error": ("expected above 0", "expected a number above 0"),
    "end of an error": ('. " + "Check it."', ', which is no factor. " + "Correct it."'),
    "start of an error": ('f"factor: expected above 0, found {', 'f"{'),
    "format of a number in an error": ("{factor:.3f}", "{factor:.4g}"),
    "log line": ('"%d sides of %s"', '"Found %d sides of %s."'),
    "log line's value": ("size {size!r:>9}", "the size {size!s}"),
    "docstring of the module": ('"""A module."""', '"""A useful module.\n\nIt scales.\n"""'),
    "docstring of a class": ('    """A size."""\n\n', ""),
    "docstring of a function": ("Scale a size.", "Return the sides of a scaled size."),
    "annotation of an argument": ("factor: float = 2.0", "factor: int | float = 2.0"),
    "annotation of further arguments": ("**rest: int", "**rest"),
    "annotation of the result": (" -> list[float]", ""),
    "annotation of a local variable": ("count = len(found)", "count: int = len(found)"),
    "line break": ("found[0] + found[1]", "(\n        found[0]\n        + found[1]\n    )"),
    "blank lines": ("    count = 0\n", "\n\n    count = 0\n\n"),
    "quotes": ('mode != "up"', "mode != 'up'"),
    "parentheses": ("factor * side / total", "((factor * side) / total)"),
    "local variable": ("total", "sum_of_sides"),
    "variable of a comprehension": ("factor * side / total for side in", "factor * s / total for s in"),
}

ACTS = {
    "operator": ("found[0] + found[1]", "found[0] - found[1]"),
    "comparison": ("factor <= 0", "factor < 0"),
    "constant": ("count = 0", "count = 1"),
    "type of a constant": ("count = 0", "count = 0.0"),
    "member of a set": ('{"a", "b", 2}', '{"a", "b", 3}'),
    "default value": ("factor: float = 2.0", "factor: float = 3.0"),
    "default of a keyword": ('mode: str = "up"', 'mode: str = "down"'),
    "string that is no message": ('mode != "up"', 'mode != "top"'),
    "text of an error that gets into results": ('f"mode {mode}"', 'f"the mode {mode}"'),
    "value in an error": ("found {factor:.3f}", "found {mode}"),
    "kind of an error": ("raise InputError", "raise ValueError"),
    "no error": ("    if factor <= 0:", "    if False:"),
    "order of statements": (
        "    total = found[0] + found[1]\n    count = 0\n",
        "    count = 0\n    total = found[0] + found[1]\n",
    ),
    "argument": ("factor", "scale_factor"),
    "keyword-only argument": ('mode: str = "up"', 'kind: str = "up"'),
    "keyword-only instead of positional": ("2.0, *, mode", "2.0, mode"),
    "decorator": ("@lru_cache\n", ""),
    "annotation of a dataclass field": ("height: int", "height: float"),
    "dataclass field": ("    height: int\n    width: int = 96", "    width: int = 96"),
    "attribute": ("size.height, size.width", "size.width, size.height"),
    "import": ("import logging\n", "import logging\nimport json\n"),
    "log line gone": ('        log.info("%d sides of %s", count, f"size {size!r:>9}")\n', "        pass\n"),
}

# The modules that the fingerprints of three stages cover, without those of a model's network. A module that is missing
# here, or too many, is no mistake in itself: the list makes a new import visible, since an edit to the module then
# trains or packs everything again.
COVERED = {
    "train": """
        histo/__init__ histo/augmentation/__init__ histo/augmentation/changes histo/augmentation/matrices
        histo/augmentation/fused histo/augmentation/own
        histo/augmentation/plans histo/class_metrics histo/errors histo/files histo/geometry histo/gpus histo/hashes
        histo/job histo/logits histo/metrics histo/networks/__init__ histo/networks/dihedral histo/networks/network
        histo/overrides histo/tables histo/tiles/__init__ histo/tiles/node_copies histo/tiles/shards
        histo/training/__init__
        histo/training/checkpoints histo/training/devices histo/training/engine histo/training/launch
        histo/training/loader histo/training/loop histo/training/memory histo/training/own_optimizer
        histo/training/processes
        histo/training/pseudo_labels histo/training/requeue histo/training/resume histo/training/slices
        histo/training/stream histo/training/whole_batch histo/user_functions train
    """,
    "predict": """
        histo/__init__ histo/errors histo/files histo/geometry histo/gpus histo/job histo/logits
        histo/networks/__init__ histo/networks/dihedral histo/networks/network histo/tables histo/tiles/__init__
        histo/tiles/node_copies histo/tiles/shards
        histo/training/__init__ histo/training/checkpoints histo/training/devices histo/training/engine
        histo/training/loader histo/training/memory histo/training/own_optimizer histo/training/prediction
        histo/training/processes histo/training/stream histo/training/whole_batch histo/user_functions predict
    """,
    "pack": """
        histo/__init__ histo/errors histo/files histo/geometry histo/job histo/tables histo/tiles/__init__
        histo/tiles/decoding histo/tiles/shards histo/tiles/source histo/tiles/tile_file histo/tiles/zip_archive
        pack
    """,
}


# What the fingerprint of a model has beside these, by network.
OF_NETWORKS = {
    "p4m_residual": {"equivariant"},
    "residual": {"residual", "head"},
    "efficientnet_lite0": {"efficientnet_lite", "depthwise", "head"},
    "plain_2conv": {"published"},
    "resnet34": {"torchvision"},
    "custom": {"custom"},
}


@pytest.fixture
def scripts(tmp_path, monkeypatch):
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(provenance, "SCRIPTS", tmp_path)
    forget()
    yield tmp_path
    forget()


def forget():
    provenance._module.cache_clear()
    provenance._files.cache_clear()


def versions():
    forget()
    return {name: code_version(name) for name in ("one", "two", "three", "four")}


def test_imports_are_followed(scripts):
    found = {name: set(version) for name, version in versions().items()}
    assert found == {
        "one": {"one.py", "pkg/__init__.py", "pkg/a.py", "pkg/b.py"},
        "two": {"two.py", "pkg/__init__.py", "pkg/b.py"},
        "three": {"three.py", "pkg/__init__.py", "pkg/c.py"},
        "four": {
            "four.py",
            "histo/__init__.py",
        },  # neither histo/config/ nor histo/progress/, nor what only they import
    }


@pytest.mark.parametrize(
    ("edited", "affected"),
    [
        ("pkg/b.py", {"one", "two"}),
        ("pkg/a.py", {"one"}),
        ("pkg/c.py", {"three"}),
        ("pkg/__init__.py", {"one", "two", "three"}),
        ("four.py", {"four"}),
        ("histo/config/checks.py", set()),
        ("histo/units.py", set()),
        ("histo/progress/lines.py", set()),
        ("histo/__init__.py", {"four"}),
    ],
)
def test_an_edit_changes_exactly_what_imports_it(scripts, edited, affected):
    before = versions()
    (scripts / edited).write_text(FILES[edited] + "edited = True\n")
    after = versions()
    assert {name for name in before if before[name] != after[name]} == affected
    changed = {file for name in affected for file in after[name] if after[name][file] != before[name][file]}
    assert changed == ({edited} if affected else set())


def test_touching_changes_nothing(scripts):
    before = versions()
    (scripts / "pkg/b.py").touch()
    assert versions() == before


def test_a_fingerprint_is_16_hexadecimal_digits(scripts):
    for version in versions().values():
        assert list(version) == sorted(version)
        assert all(len(digest) == 16 and int(digest, 16) >= 0 for digest in version.values())


def fingerprint(scripts, text):
    (scripts / "one.py").write_text(text)
    forget()
    return code_version("one")["one.py"]


@pytest.mark.parametrize(("old", "new"), PROSE.values(), ids=PROSE)
def test_prose_and_form_do_not_count(scripts, old, new):
    assert old in MODULE
    assert fingerprint(scripts, MODULE.replace(old, new)) == fingerprint(scripts, MODULE)


@pytest.mark.parametrize(("old", "new"), ACTS.values(), ids=ACTS)
def test_what_the_code_does_counts(scripts, old, new):
    assert old in MODULE
    assert fingerprint(scripts, MODULE.replace(old, new)) != fingerprint(scripts, MODULE)


def test_variables_that_inner_functions_read(scripts):
    """Their names do not count; their alphabetical order does, since it is the order in which they are stored."""
    text = "def outer():\n    first, second = 1, 2\n    def inner():\n        return first - second\n    return inner\n"
    assert fingerprint(scripts, text) == fingerprint(scripts, text.replace("second", "other"))
    assert fingerprint(scripts, text) != fingerprint(scripts, text.replace("second", "a"))
    assert fingerprint(scripts, text) != fingerprint(scripts, text.replace("first - second", "second - first"))


def test_a_module_of_prose_alone_is_as_good_as_empty(scripts):
    assert fingerprint(scripts, "") == fingerprint(scripts, '"""Text."""\n# more\n"text"\n')


def test_a_syntax_error_names_the_file(scripts):
    with pytest.raises(SyntaxError, match=r"one\.py"):
        fingerprint(scripts, "def (:\n")


def test_the_process_and_the_folder_do_not_count(tmp_path):
    """Neither the seed of hashes, nor the path of the checkout, nor whether the modules have been compiled before."""
    copy = tmp_path / "other place" / "scripts"
    shutil.copytree(ROOT / "workflow" / "scripts", copy, ignore=shutil.ignore_patterns("__pycache__"))
    code = (
        "from histo.provenance import code_version\nfor s in ('train', 'audit_page', 'submit'): print(code_version(s))"
    )
    found = set()
    for folder, seed in ((ROOT / "workflow" / "scripts", "1"), (copy, "2"), (copy, "3")):
        variables = os.environ | {"PYTHONPATH": str(folder), "PYTHONHASHSEED": seed}
        command = [sys.executable, "-c", code]
        found.add(subprocess.run(command, env=variables, cwd=tmp_path, capture_output=True, check=True).stdout)
    assert len(found) == 1
    assert found.pop().count(b"histo/__init__.py") == 3


@pytest.mark.parametrize("stage", COVERED)
def test_the_modules_behind_a_stage(stage):
    expected, found = {f"{name}.py" for name in COVERED[stage].split()}, set(code_version(stage))
    assert found == expected, (
        f"The imports of {stage} have changed: new {sorted(found - expected)}, gone {sorted(expected - found)}. An "
        f"edit to any of these modules runs {stage} again. If that is meant, update COVERED in this file."
    )


@pytest.mark.parametrize("name", OF_NETWORKS)
def test_the_modules_behind_a_network(name):
    found = set(code_version("train", [network_module(name)])) - set(code_version("train"))
    assert found == {f"histo/networks/{module}.py" for module in OF_NETWORKS[name]}


def test_modules_that_are_imported_by_name(scripts):
    before = code_version("one", ["pkg.c"])
    assert set(before) == set(code_version("one")) | {"pkg/c.py"}
    (scripts / "pkg/c.py").write_text("thing = 3\n")
    forget()
    after = code_version("one", ["pkg.c"])
    assert {file for file in after if after[file] != before[file]} == {"pkg/c.py"}


def test_only_pages_depend_on_the_texts_of_faults():
    stages = [path.stem for path in provenance.SCRIPTS.glob("*.py")]
    assert {stage for stage in stages if "histo/faults.py" in code_version(stage)} == {"audit_page", "report"}
    # The stages write each code as a plain string.
    writers = [
        ROOT / "workflow/scripts" / name for name in ("index.py", "audit.py", "validate.py", "histo/tiles/decoding.py")
    ]
    text = "".join(path.read_text() for path in writers)
    assert [code for code in FAULTS if f'"{code}"' not in text] == []
