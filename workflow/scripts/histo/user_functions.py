"""Functions in Python files of the user's, named in settings as `path/to/file.py:function`."""

import importlib.util
import re
import traceback
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from histo.errors import InputError

PATTERN = r"^[^\n]+\.py:[A-Za-z_]\w*$"


def own_functions(settings: dict[str, Any]) -> dict[str, str]:
    """Functions of the user's that all settings of a model name, by dotted name of the setting."""
    named = {name: settings.get(name) for name in ("loss", "optimizer", "augmentation")}
    named["network.builder"] = settings["network"].get("builder")
    return {name: value for name, value in named.items() if value and re.match(PATTERN, value)}


def function_parts(reference: str) -> tuple[str, str]:
    """File and function of a setting such as `network.builder`, `path/to/file.py:function`."""
    path, _, name = reference.rpartition(":")
    return path, name


def load_function(reference: str, setting: str) -> Callable[..., Any]:
    """Run a file and return its function; the path is relative to the working directory.

    setting: dotted name, for errors. Raises InputError if the file fails or has no such function.
    """
    path, name = function_parts(reference)
    if not Path(path).is_file():
        raise InputError(f"{setting} {reference}: no such file: {path}. Run Snakemake where the path leads to it.")
    spec = importlib.util.spec_from_file_location(f"histo_custom_{Path(path).stem}", path)
    assert spec is not None and spec.loader is not None
    module: ModuleType = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # whatever the user's code raises
        raise failure(reference, setting, error) from error
    function = getattr(module, name, None)
    if not callable(function):
        raise InputError(f"{setting} {reference}: expected a function {name} in {path}, found none.")
    checked: Callable[..., Any] = function
    return checked


def failure(reference: str, setting: str, error: Exception) -> InputError:
    """The error that names the last line of the user's file that was running."""
    path, _ = function_parts(reference)
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename.endswith(path)]
    where = f" (line {lines[-1]})" if lines else ""
    return InputError(f"{setting} {reference}: {path}{where} failed with {type(error).__name__}: {error}")
