"""Networks of timm by their names there, and their pretrained weights from a file.

timm is an optional package. It is imported when such a network is built.
"""

import copy
import importlib
from pathlib import Path
from types import ModuleType
from typing import Any, cast

import torch
from torch import nn

from histo.errors import InputError
from histo.geometry import COMPETITION, Geometry


def _timm() -> ModuleType:
    try:
        return importlib.import_module("timm")
    except ImportError:
        raise InputError(
            "network.name: timm: expected the package timm, found none. Install it: pip install timm."
        ) from None


def _create(model: str, size: int, outputs: int, **options: Any) -> nn.Module:
    timm = _timm()
    if timm.get_pretrained_cfg(model).fixed_input_size:
        options["img_size"] = size
    body: nn.Module = timm.create_model(model, num_classes=outputs, **options)
    return body


def build_body(size: int, geometry: Geometry = COMPETITION, *, model: str) -> nn.Module:
    """Build the network `model` of timm: normalised tiles, float [N, 3, size, size], to logits [N, outputs].

    The weights are random. Raises InputError without the package, for a name that it does not have, and where the
    architecture does not support tiles of that size.
    """
    if not _timm().is_model(model):
        raise InputError(f"network.model: expected a name of timm's list_models(), found {model!r}. Correct it.")
    try:
        body = _create(model, size, geometry.outputs)
        with torch.no_grad():  # the device "meta" computes shapes only
            shape = tuple(copy.deepcopy(body).to("meta").eval()(torch.empty(2, 3, size, size, device="meta")).shape)
    except (AssertionError, RuntimeError, TypeError, ValueError) as error:
        text = (str(error).splitlines() or [""])[0]
        raise InputError(
            f"network {model} of timm cannot be built for tiles of {size} pixels ({text}). Set another input_size, or "
            "choose another network."
        ) from None
    if shape != (2, geometry.outputs):
        raise InputError(
            f"network {model} of timm: expected an output of shape (2, {geometry.outputs}) for 2 tiles, found {shape}. "
            "Choose another network."
        )
    return body


def load_weights(body: nn.Module, settings: dict[str, Any], crop: int, path: str | Path) -> None:
    """Load the weights in a file, except those of its head, into a body that `build_body` built.

    settings: the block `network` of a model; path: safetensors or a state dict, as timm publishes it for this network.
    Position embeddings are interpolated to the tile's size. Raises InputError for a file that is missing, unreadable,
    or of another network.
    """
    expected = f"{path}: expected the weights of timm's {settings['model']}"
    if not Path(path).is_file():
        raise InputError(f"{expected}, found no such file. Correct network.weights.")
    try:
        loaded = _create(
            settings["model"],
            crop,
            cast(int, body.num_classes),
            pretrained=True,
            pretrained_cfg_overlay={"file": str(path)},
        )
    except Exception as error:  # any error of safetensors, pickle or timm's conversion
        text = (str(error).splitlines() or [""])[0]
        raise InputError(
            f"{expected}, found a file that does not fit or cannot be read ({type(error).__name__}: {text}). Correct "
            "network.model or network.weights."
        ) from None
    head = head_parameters(body)
    body.load_state_dict({key: value for key, value in loaded.state_dict().items() if key not in head}, strict=False)


def head_parameters(body: nn.Module) -> set[str]:
    """Names of the parameters of `body` whose shapes depend on the number of classes."""
    names = cast(dict[str, Any], body.pretrained_cfg)["classifier"]
    prefixes = tuple(f"{name}." for name in ((names,) if isinstance(names, str) else names))
    return {key for key in body.state_dict() if key.startswith(prefixes)}


def normalisation(settings: dict[str, Any]) -> tuple[list[float], list[float]]:
    """Mean and standard deviation per channel, in 0..1, that the pretrained weights of a network expect.

    settings: the block `network` of a model.
    """
    published = _timm().get_pretrained_cfg(settings["model"])
    return list(published.mean), list(published.std)
