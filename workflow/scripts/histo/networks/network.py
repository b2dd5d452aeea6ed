"""Networks that map tiles to logits: one of two classes, else one per class.

Every network is a `Network`: centre crop and channel normalisation, followed by a body from `BODIES` or torchvision.
The crop is part of the module and the normalisation of its state dict, so training and test tiles are always treated
alike.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from histo.errors import InputError
from histo.geometry import COMPETITION, Geometry
from histo.networks import custom, efficientnet_lite0, published, torchvision
from histo.networks.equivariant import p4m_residual
from histo.networks.head import CentreHead
from histo.networks.names import TORCHVISION

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


class Block(nn.Module):
    """Residual block of two 3 × 3 convolutions (He et al. 2016, arXiv:1512.03385).

    A shortcut with stride downsamples by average pooling (He et al. 2019, arXiv:1812.01187). The scale of the last
    batch normalisation is initialised to 0, so a block without downsampling starts as the identity of non-negative
    input.
    """

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(outputs)
        nn.init.zeros_(self.norm2.weight)
        self.shortcut = nn.Sequential()
        if stride > 1:
            self.shortcut.append(nn.AvgPool2d(stride))
        if inputs != outputs:
            self.shortcut.append(nn.Conv2d(inputs, outputs, 1, bias=False))
            self.shortcut.append(nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        y = functional.relu(self.norm1(self.conv1(x)), inplace=True)
        return functional.relu(self.norm2(self.conv2(y)) + self.shortcut(x), inplace=True)


def residual(crop: int, geometry: Geometry = COMPETITION, *, width: int, blocks: int, dropout: float) -> nn.Module:
    """Build a small residual CNN that is trained from scratch.

    A stem of stride 2 and four stages of `blocks` residual blocks with `width`, 2 `width`, 4 `width` and 8 `width`
    channels; the last stage has 1/16 of the tile's resolution. dropout: share of the head's features dropped in
    training.
    """
    layers: list[nn.Module] = [
        nn.Conv2d(3, width, 3, 2, 1, bias=False),
        nn.BatchNorm2d(width),
        nn.ReLU(inplace=True),
    ]
    channels = width
    for stage in range(4):
        for block in range(blocks):
            first = block == 0 and stage > 0
            layers.append(Block(channels, width << stage, 2 if first else 1))
            channels = width << stage
    layers.append(CentreHead(channels, crop, dropout, geometry))
    return nn.Sequential(*layers)


# Builders of the networks of this project. A new name must be added to OWN in histo/networks/names.py too.
BODIES: dict[str, Callable[..., nn.Module]] = {
    "p4m_residual": p4m_residual,
    "residual": residual,
    "efficientnet_lite0": efficientnet_lite0.build_body,
    **published.BODIES,
}


def build(
    settings: dict[str, Any], crop: int, geometry: Geometry = COMPETITION, *, input_size: int | None = None
) -> Network:
    """Build the network `settings["name"]` for a centre crop of `crop` pixels, with random weights.

    geometry: of the tiles. The crop is resized to `input_size` pixels, if given. The other settings are options of the
    body. `load_pretrained` loads pretrained weights. Raises InputError for a name that is neither in BODIES nor a
    classification network of torchvision, for options that the network does not have, and for a size of the input that
    it does not support.
    """
    smallest, largest = geometry.centre_side, geometry.tile_side
    if not smallest <= crop <= largest:
        raise InputError(f"center_crop: expected {smallest} to {largest} pixels, found {crop}. Correct it.")
    options = {key: value for key, value in settings.items() if key != "name"}
    name = settings.get("name")
    if name not in BODIES and name not in TORCHVISION and name != "custom":
        raise InputError(
            f"network.name: expected one of {', '.join(BODIES)}, custom or a classification network of torchvision, "
            f"found {name!r}."
        )
    try:
        if name == "custom":
            body = custom.build_body(input_size or crop, geometry, **options)
        elif name in TORCHVISION:
            body = torchvision.build_body(name, input_size or crop, geometry, **options)
        else:
            options.pop("weights", None)  # see load_pretrained
            body = BODIES[name](crop, geometry, **options)
    except TypeError as error:
        raise InputError(
            f"network {name}: its options are wrong ({error}). Correct the settings under `network`."
        ) from None
    network = Network(body, crop, input_size, invariant=name == "p4m_residual")
    return network.to(memory_format=torch.channels_last)


def load_pretrained(network: Network, settings: dict[str, Any], path: str | Path | None) -> None:
    """Load the weights that `settings["weights"]` names into the body of a network that `build` built.

    path: the file of weights of a network of torchvision, see `torchvision.load_weights`; None for networks whose
    ImageNet weights come with a package. Raises InputError where the weights cannot be loaded.
    """
    if settings["name"] == "efficientnet_lite0":
        efficientnet_lite0.load_imagenet_weights(network.body)
    elif path is None:
        raise InputError(
            f"network.weights: {settings['weights']} needs a file of pretrained weights, but none was given."
        )
    else:
        torchvision.load_weights(network.body, settings, network.input_size or network.crop, path)


def imagenet_normalisation(name: str) -> tuple[list[float], list[float]]:
    """Mean and standard deviation per channel, in 0..1, that the ImageNet weights of the network `name` expect."""
    if name == "efficientnet_lite0":
        return list(efficientnet_lite0.MEAN), list(efficientnet_lite0.STD)
    return list(IMAGENET_MEAN), list(IMAGENET_STD)


def head_parameters(network: Network, settings: dict[str, Any]) -> set[str]:
    """Names of the parameters of the network that pretrained weights do not contain."""
    if settings["name"] in TORCHVISION:
        crop = network.input_size or network.crop
        return {f"body.{name}" for name in torchvision.head_parameters(network.body, settings["name"], crop)}
    return {name for name, _ in network.named_parameters() if name.startswith("body.head.")}


def count(body: nn.Module) -> tuple[int, int]:
    """Count the parameters of a network's body: (all, trainable).

    All include the running means and variances of batch normalisation. Keras, in which the published networks were
    built, counts them as non-trainable parameters.
    """
    running = sum(b.numel() for name, b in body.named_buffers() if name.endswith(("running_mean", "running_var")))
    parameters = list(body.parameters())
    return running + sum(p.numel() for p in parameters), sum(p.numel() for p in parameters if p.requires_grad)
