"""How a section reads its values: from YAML, and from the text that Snakemake makes of nested command line settings."""

from typing import Annotated, Literal

import pytest
from pydantic import Field, ValidationError

from histo.config.section import Name, Section, Seed, Unique, UserPath


class Example(Section):
    count: int = 1
    share: float | None = 0.5
    flag: bool = False
    name: Name = "a"
    side: Literal[32, 64] = 32
    seed: Seed = 1
    path: UserPath = "none"
    folds: Annotated[list[int], Unique] = Field([])


@pytest.mark.parametrize(
    ("key", "written", "expected"),
    [
        ("count", "3", 3),
        ("count", 3.0, 3),
        ("count", "3e0", 3),
        ("share", 0, 0.0),
        ("share", "1e-3", 0.001),
        ("share", "null", None),
        ("flag", "true", True),
        ("name", "123", "123"),
        ("name", "null", "null"),
        ("side", "64", 64),
        ("folds", ["0", 1], [0, 1]),
    ],
)
def test_text_and_numbers_become_the_type_of_the_setting(key, written, expected):
    value = getattr(Example(**{key: written}), key)
    assert (value, type(value)) == (expected, type(expected))


@pytest.mark.parametrize(
    ("key", "written"),
    [
        ("count", True),
        ("count", "three"),
        ("count", 2.5),
        ("share", float("nan")),
        ("share", "inf"),
        ("flag", 1),
        ("flag", "maybe"),
        ("name", "a/b"),
        ("name", "a\n"),
        ("side", 48),
        ("seed", -1),
        ("folds", [1, 1]),
        ("folds", "1"),
        ("cuont", 1),
    ],
)
def test_other_values_are_refused(key, written):
    with pytest.raises(ValidationError):
        Example(**{key: written})


def test_the_home_folder_in_a_path(monkeypatch):
    monkeypatch.setenv("HOME", "/home/someone")
    assert Example(path="~/tiles.zip").path == "/home/someone/tiles.zip"


def test_settings_do_not_change():
    with pytest.raises(ValidationError, match="frozen"):
        Example().count = 2
