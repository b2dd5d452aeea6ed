"""A network that a function in a Python file of the user's builds."""

import importlib.util
import traceback
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from histo.errors import InputError
from histo.geometry import COMPETITION, Geometry
from histo.networks.names import builder_parts


def build_body(
    size: int, geometry: Geometry = COMPETITION, *, builder: str, options: dict[str, Any] | None = None
) -> nn.Module:
    """Call `function(size, outputs, **options)` of a file and return the network that it builds.

    size: side of the network's input, pixels; builder: `path/to/file.py:function`, the path relative to the working
    directory. The network maps float32 [N, 3, size, size] to logits [N, outputs]. Raises InputError if the file or the
    function fails, or if the network's output has another shape.
    """
    function = _function(builder)
    try:
        body = function(size, geometry.outputs, **(options or {}))
    except Exception as error:  # whatever the user's code raises
        raise _failure(builder, error) from error
    if not isinstance(body, nn.Module):
        raise InputError(f"network.builder {builder}: expected a torch.nn.Module, found {type(body).__name__}.")
    _check_output(builder, body, (2, 3, size, size), (2, geometry.outputs))
    return body


def _function(builder: str) -> Callable[..., Any]:
    path, name = builder_parts(builder)
    if not Path(path).is_file():
        raise InputError(f"network.builder {builder}: no such file: {path}. Run Snakemake where the path leads to it.")
    spec = importlib.util.spec_from_file_location(f"histo_custom_{Path(path).stem}", path)
    assert spec is not None and spec.loader is not None
    module: ModuleType = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise _failure(builder, error) from error
    function = getattr(module, name, None)
    if not callable(function):
        raise InputError(f"network.builder {builder}: expected a function {name} in {path}, found none.")
    checked: Callable[..., Any] = function
    return checked


def _failure(builder: str, error: Exception) -> InputError:
    """The error that names the last line of the user's file that was running."""
    path, _ = builder_parts(builder)
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename.endswith(path)]
    where = f" (line {lines[-1]})" if lines else ""
    return InputError(f"network.builder {builder}: {path}{where} failed with {type(error).__name__}: {error}")


def _check_output(builder: str, body: nn.Module, size: tuple[int, ...], expected: tuple[int, ...]) -> None:
    training = body.training
    try:
        with torch.inference_mode():
            output: Tensor = body.eval()(torch.zeros(size))
    except Exception as error:
        raise _failure(builder, error) from error
    finally:
        body.train(training)
    if not isinstance(output, Tensor) or tuple(output.shape) != expected:
        found = list(output.shape) if isinstance(output, Tensor) else type(output).__name__
        raise InputError(
            f"network.builder {builder}: expected logits {list(expected)} for tiles {list(size)}, found {found}."
        )
