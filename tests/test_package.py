"""The installed package: all modules, the command, and the programs of docs/shards.md as they stand there."""

import ast
import re
import shutil
import subprocess
import sys
import sysconfig
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import numpy as np
import pytest

from histo.networks.names import BUILDERS, network_module
from histo.tiles.shards import Shard
from support import ROOT
from support.finished_run import write_run
from support.imports import loaded_modules

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


@pytest.fixture(scope="module")
def python(tmp_path_factory) -> Path:
    """Python of an environment with the installed package; its dependencies are those of the tests."""
    folder = tmp_path_factory.mktemp("package")
    source, environment = folder / "source", folder / "environment"
    shutil.copytree(ROOT / "workflow/scripts", source / "workflow/scripts")  # building writes beside the source
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    run = [*pip, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", folder, source]
    subprocess.run(run, check=True, capture_output=True)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", environment], check=True)
    (wheel,) = folder.glob("*.whl")
    python = environment / "bin" / "python"
    subprocess.run([*pip, "--python", python, "install", "--no-index", "--no-deps", wheel], check=True)
    packages = f"lib/python{sys.version_info.major}.{sys.version_info.minor}/site-packages"
    (environment / packages / "tests.pth").write_text(sysconfig.get_path("purelib"))
    return python


def run(python: Path, *arguments: str, folder: Path) -> str:
    done = subprocess.run([python, *arguments], cwd=folder, env={}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_package_has_all_modules_and_no_script(python, tmp_path):
    installed = Path(run(python, "-c", "import histo; print(histo.__path__[0])", folder=tmp_path).strip())
    assert installed.is_relative_to(python.parents[1])

    def modules(folder):
        return {path.relative_to(folder) for path in folder.rglob("*.py")}

    assert modules(installed) == modules(ROOT / "workflow/scripts/histo")
    assert not (installed.parent / "train.py").exists()


def test_the_command_is_installed(python, tmp_path):
    help_text = run(python, str(python.with_name("histo-apply")), "--help", folder=tmp_path)
    assert "--tiles TILES" in help_text


def test_the_documented_programs_read_the_tiles(python, tmp_path):
    folder = tmp_path / "results" / "demo"
    write_run(folder, train=80, test=10)
    programs = re.findall(r"```python\n(.*?)```", (ROOT / "docs/shards.md").read_text(), re.S)
    assert len(programs) == 2
    shard = Shard(folder / "pack" / "train-00000.h5")
    out = run(python, "-c", programs[0], folder=tmp_path)
    rows = np.sort(np.random.default_rng(0).choice(80, 50, replace=False))
    assert out.startswith(f"{shard.ids[rows[0]]} {shard.labels[rows[0]]}\n")
    found = [float(value) for value in re.findall(r"\d+\.\d+", out)]
    np.testing.assert_allclose(found, shard.images[rows].mean(axis=(0, 1, 2)), rtol=1e-6)
    asserts = """
assert len(training) == 40 and images.dtype == torch.float32
image, label = training[3]
row = folds[folds["fold"] != 0].iloc[3]
tile = training.shards[row["shard"]].images[row["row"]]
assert label == row["label"] and torch.equal((image * 255).round().byte(), torch.tensor(tile).permute(2, 0, 1))
"""
    assert run(python, "-c", programs[1] + asserts, folder=tmp_path).startswith("torch.Size([32, 3, 96, 96]) tensor(0.")


@pytest.mark.parametrize(
    ("module", "extras"),
    [
        ("histo.tiles.shards", []),
        ("histo.apply.__main__", ["apply"]),
        ("histo.apply.slides", ["apply", "slides"]),
    ],
)
def test_dependencies_are_what_the_modules_import(module, extras):
    """All third-party packages that a module and those it imports use, whether at once or in a function."""
    declared = {name for extra in extras for name in PROJECT["optional-dependencies"][extra]}
    imported = set()
    modules = loaded_modules(module)
    if (
        "histo.networks.names" in modules
    ):  # the module of a network is imported by its name; timm is an extra of its own
        modules = loaded_modules(module, *(network_module(name) for name in BUILDERS if name != "timm"))
    for name in modules:
        path = ROOT / "workflow/scripts" / f"{name.replace('.', '/')}.py"
        for node in ast.walk(ast.parse(path.read_text())) if path.is_file() else ():
            if isinstance(node, ast.Import):
                imported |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                imported.add(node.module.partition(".")[0])
    packages = packages_distributions()
    found = {packages[name][0].lower() for name in imported if name in packages}
    if "openslide-python" in found:
        found.add("openslide-bin")  # the library that it loads
    assert found == declared.union(PROJECT["dependencies"])
