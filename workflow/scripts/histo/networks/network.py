"""Networks that map tiles to logits: one of two classes, else one per class.

Every network is a `Network`: centre crop and channel normalisation, followed by a body that one of `BUILDERS` builds.
The crop is part of the module and the normalisation of its state dict, so training and test tiles are always treated
alike.

The module of a body may have, besides its builder: INVARIANT, whether the eight flips and 90° rotations of a tile have
equal logits; `load_weights` from a file, or `load_imagenet_weights` from a package; IMAGENET_MEAN and IMAGENET_STD, the
normalisation that its ImageNet weights expect, if not that of torchvision.
"""

from collections.abc import Callable
from functools import partial
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from histo.errors import InputError
from histo.geometry import COMPETITION, Geometry
from histo.networks.names import BUILDERS, OWN, TORCHVISION, network_module

# Mean and standard deviation per channel, in 0..1. Those of the PatchCamelyon training tiles are placeholders: training
# replaces them by those of its own tiles or of ImageNet (setting `normalisation`).
PCAM_MEAN = (0.7024, 0.5462, 0.6965)
PCAM_STD = (0.2389, 0.2821, 0.2163)
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class Network(nn.Module):
    """Crop, normalise, resize, classify.

    Input: uint8 [N, 3, S, S] (0..255) or float [N, 3, S, S] (0..1) with S ≥ `crop`. Output: logits of label 1 (tumour
    in the central square), float32 [N]; with more than two classes, of each class, float32 [N, classes].

    Attribute `invariant`: whether the eight flips and 90° rotations of a tile have equal logits up to rounding.
    """

    body: nn.Module
    mean: Tensor
    std: Tensor

    def __init__(self, body: nn.Module, crop: int, input_size: int | None = None, *, invariant: bool = False) -> None:
        """input_size: side to which the crop is resized (bilinear), pixels; None: as it is."""
        super().__init__()
        self.crop, self.input_size, self.invariant = crop, input_size, invariant
        self.register_buffer("mean", torch.tensor(PCAM_MEAN).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(PCAM_STD).view(1, 3, 1, 1))
        self.body = body

    def set_normalisation(self, mean: list[float], std: list[float]) -> None:
        """Set mean and standard deviation per channel, in 0..1."""
        self.mean.copy_(torch.tensor(mean).view(1, 3, 1, 1))
        self.std.copy_(torch.tensor(std).view(1, 3, 1, 1))

    def forward(self, tiles: Tensor) -> Tensor:
        margin = (tiles.shape[-1] - self.crop) // 2
        tiles = tiles[..., margin : margin + self.crop, margin : margin + self.crop]
        unit = 1 / (255 * self.std) if tiles.dtype == torch.uint8 else 1 / self.std
        # Normalise in float32: autocast rounds to bfloat16 in the body, after the mean is subtracted.
        normalised = torch.addcmul(-self.mean / self.std, tiles.float(), unit)
        if self.input_size is not None:
            normalised = functional.interpolate(normalised, (self.input_size, self.input_size), mode="bilinear")
        logits: Tensor = self.body(normalised.contiguous(memory_format=torch.channels_last))
        return logits.float().squeeze(1)


def builder(name: str) -> Callable[..., nn.Module]:
    """Return the function that builds the body of the network `name`, a key of BUILDERS; see there."""
    function: Callable[..., nn.Module] = getattr(_module(name), BUILDERS[name].partition(":")[2])
    return partial(function, name) if name in TORCHVISION else function


def _module(name: str) -> ModuleType:
    """Import the module of one network by its name.

    An import statement would make its fingerprint one of all networks.
    """
    return import_module(network_module(name))


def build(
    settings: dict[str, Any], crop: int, geometry: Geometry = COMPETITION, *, input_size: int | None = None
) -> Network:
    """Build the network `settings["name"]` for a centre crop of `crop` pixels, with random weights.

    geometry: of the tiles. The crop is resized to `input_size` pixels, if given. The other settings are options of the
    body. `load_pretrained` loads pretrained weights. Raises InputError for a name that is not in BUILDERS, for options
    that the network does not have, and for a size of the input that it does not support.
    """
    smallest, largest = geometry.centre_side, geometry.tile_side
    if not smallest <= crop <= largest:
        raise InputError(f"center_crop: expected {smallest} to {largest} pixels, found {crop}. Correct it.")
    options = {key: value for key, value in settings.items() if key != "name"}
    name = settings.get("name")
    if name not in BUILDERS:
        raise InputError(
            f"network.name: expected one of {', '.join(OWN)}, custom, timm or a classification network of "
            f"torchvision, found {name!r}."
        )
    size = input_size or crop
    if name not in TORCHVISION:
        options.pop("weights", None)  # see load_pretrained
    if name in OWN:
        size = crop
    try:
        body = builder(name)(size, geometry, **options)
    except TypeError as error:
        raise InputError(
            f"network {name}: its options are wrong ({error}). Correct the settings under `network`."
        ) from None
    network = Network(body, crop, input_size, invariant=getattr(_module(name), "INVARIANT", False))
    return network.to(memory_format=torch.channels_last)


def load_pretrained(network: Network, settings: dict[str, Any], path: str | Path | None) -> None:
    """Load the weights that `settings["weights"]` names into the body of a network that `build` built.

    path: the file of weights of a network of torchvision or timm, see their `load_weights`; None for networks whose
    ImageNet weights come with a package. Raises InputError where the weights cannot be loaded.
    """
    module = _module(settings["name"])
    if hasattr(module, "load_imagenet_weights"):
        module.load_imagenet_weights(network.body)
    elif path is None:
        raise InputError(
            f"network.weights: {settings['weights']} needs a file of pretrained weights, but none was given."
        )
    else:
        module.load_weights(network.body, settings, network.input_size or network.crop, path)


def imagenet_normalisation(settings: dict[str, Any]) -> tuple[list[float], list[float]]:
    """Mean and standard deviation per channel, in 0..1, that the ImageNet weights of a network expect.

    settings: the block `network` of a model.
    """
    module = _module(settings["name"])
    if hasattr(module, "normalisation"):
        found: tuple[list[float], list[float]] = module.normalisation(settings)
        return found
    return list(getattr(module, "IMAGENET_MEAN", IMAGENET_MEAN)), list(getattr(module, "IMAGENET_STD", IMAGENET_STD))


def head_parameters(network: Network, settings: dict[str, Any]) -> set[str]:
    """Names of the parameters of the network that pretrained weights do not contain."""
    if settings["name"] in TORCHVISION:
        crop = network.input_size or network.crop
        head = _module(settings["name"]).head_parameters(network.body, settings["name"], crop)
        return {f"body.{name}" for name in head}
    if settings["name"] == "timm":
        return {f"body.{name}" for name in _module("timm").head_parameters(network.body)}
    return {name for name, _ in network.named_parameters() if name.startswith("body.head.")}


def count(body: nn.Module) -> tuple[int, int]:
    """Count the parameters of a network's body: (all, trainable).

    All include the running means and variances of batch normalisation. Keras, in which the published networks were
    built, counts them as non-trainable parameters.
    """
    running = sum(b.numel() for name, b in body.named_buffers() if name.endswith(("running_mean", "running_var")))
    parameters = list(body.parameters())
    return running + sum(p.numel() for p in parameters), sum(p.numel() for p in parameters if p.requires_grad)
