"""Pinned versions: pip and conda install the same ones, and they are the installed ones."""

import re
import sys
from importlib.metadata import version

import pytest
import yaml

from support import ROOT


def pins(text):
    return dict(re.findall(r"^\s*(?:- )?([a-z0-9-]+)==([\w.]+)\s*$", text, flags=re.MULTILINE))


def test_conda_and_pip_pin_the_same_versions():
    text = (ROOT / "envs" / "requirements.txt").read_text()
    blocks = dict(re.findall(r"^# --- (\w+)\n([^#]+)", text, flags=re.MULTILINE))
    for file, names in (
        ("histo", ["jobs"]),
        ("export", ["jobs", "export"]),
        ("slides", ["jobs", "slides"]),
        ("track", ["jobs", "track"]),
    ):
        packages = yaml.safe_load((ROOT / "envs" / f"{file}.yaml").read_text())["dependencies"][-1]["pip"]
        expected = "".join(blocks[name] for name in names)
        assert packages == expected.splitlines()
        assert len(pins(expected)) == len(packages) > 10


@pytest.mark.parametrize("file", ["requirements.txt", "development.txt"])
def test_installed_versions_are_the_pinned_ones(file):
    for name, wanted in pins((ROOT / "envs" / file).read_text()).items():
        assert version(name).split("+")[0] == wanted, name


def test_python_version_is_supported():
    minimum = re.search(r'requires-python = ">=(\d+)\.(\d+)"', (ROOT / "pyproject.toml").read_text())
    assert sys.version_info[:2] >= tuple(int(part) for part in minimum.groups())


def test_pins_contain_no_path_or_package_index():
    for path in (ROOT / "envs").iterdir():
        assert not re.search(r"https?://|--index|--find-links|file:", path.read_text()), path
