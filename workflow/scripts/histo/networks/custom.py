"""A network that a function in a Python file of the user's builds."""

from typing import Any

import torch
from torch import Tensor, nn

from histo.errors import InputError
from histo.geometry import COMPETITION, Geometry
from histo.user_functions import failure, load_function

SETTING = "network.builder"


def build_body(
    size: int, geometry: Geometry = COMPETITION, *, builder: str, options: dict[str, Any] | None = None
) -> nn.Module:
    """Call `function(size, outputs, **options)` of a file and return the network that it builds.

    size: side of the network's input, pixels; builder: `path/to/file.py:function`, the path relative to the working
    directory. The network maps float32 [N, 3, size, size] to logits [N, outputs]. Raises InputError if the file or the
    function fails, or if the network's output has another shape.
    """
    function = load_function(builder, SETTING)
    try:
        body = function(size, geometry.outputs, **(options or {}))
    except Exception as error:  # whatever the user's code raises
        raise failure(builder, SETTING, error) from error
    if not isinstance(body, nn.Module):
        raise InputError(f"{SETTING} {builder}: expected a torch.nn.Module, found {type(body).__name__}.")
    _check_output(builder, body, (2, 3, size, size), (2, geometry.outputs))
    return body


def _check_output(builder: str, body: nn.Module, size: tuple[int, ...], expected: tuple[int, ...]) -> None:
    training = body.training
    try:
        with torch.inference_mode():
            output: Tensor = body.eval()(torch.zeros(size))
    except Exception as error:
        raise failure(builder, SETTING, error) from error
    finally:
        body.train(training)
    if not isinstance(output, Tensor) or tuple(output.shape) != expected:
        found = list(output.shape) if isinstance(output, Tensor) else type(output).__name__
        raise InputError(
            f"{SETTING} {builder}: expected logits {list(expected)} for tiles {list(size)}, found {found}."
        )
