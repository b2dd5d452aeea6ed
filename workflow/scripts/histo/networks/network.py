"""Networks: from tiles to one logit each, normalisation included.

Every network is a `Network`: a centre crop and a normalisation, which are part of the module and of its state dict, so
that training and test tiles cannot be treated differently, around a body that `BODIES` or torchvision names.
"""

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from histo.errors import InputError
from histo.networks import published, torchvision
from histo.networks.equivariant import p4m_residual
from histo.networks.names import TORCHVISION
from histo.tiles.geometry import CENTRE, SIDE

# Per-channel mean and standard deviation of the PatchCamelyon training tiles, in 0..1. Training replaces them with
# those of its own tiles or of ImageNet.
PCAM_MEAN = (0.7024, 0.5462, 0.6965)
PCAM_STD = (0.2389, 0.2821, 0.2163)
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class Network(nn.Module):
    """Crop, normalise, classify.

    Input: uint8 [N, 3, S, S] (0..255) or float [N, 3, S, S] (0..1), S ≥ `crop`; output: logits, float32 [N]. The logit
    is of label 1: tumour in the central 32 × 32 pixels.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, body: nn.Module, crop: int) -> None:
        super().__init__()
        self.crop = crop
        self.register_buffer("mean", torch.tensor(PCAM_MEAN).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(PCAM_STD).view(1, 3, 1, 1))
        self.body = body

    def set_normalisation(self, mean: list[float], std: list[float]) -> None:
        """Use these per-channel values, in 0..1."""
        self.mean.copy_(torch.tensor(mean).view(1, 3, 1, 1))
        self.std.copy_(torch.tensor(std).view(1, 3, 1, 1))

    def forward(self, tiles: Tensor) -> Tensor:
        margin = (tiles.shape[-1] - self.crop) // 2
        tiles = tiles[..., margin : margin + self.crop, margin : margin + self.crop]
        unit = 1 / (255 * self.std) if tiles.dtype == torch.uint8 else 1 / self.std
        # In float32: rounding to bfloat16 comes after the mean is gone.
        normal = torch.addcmul(-self.mean / self.std, tiles.float(), unit)
        return self.body(normal.contiguous(memory_format=torch.channels_last)).float().flatten()


class Block(nn.Module):
    """Residual block of two 3 × 3 convolutions (He et al. 2016, arXiv:1512.03385), halving shortcuts by averaging
    (He et al. 2019, arXiv:1812.01187); the last scale starts at 0, so that a block starts as the identity."""

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


class CentreHead(nn.Module):
    """Average over the whole map beside the average over the part above the central 32 × 32 pixels, then one logit:
    the surroundings inform, the centre decides."""

    def __init__(self, channels: int, crop: int, dropout: float) -> None:
        super().__init__()
        self.share = CENTRE / crop
        self.dropout = nn.Dropout(dropout)
        self.linear = nn.Linear(2 * channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        side = x.shape[-1]
        centre = max(1, round(side * self.share))
        start = (side - centre) // 2
        middle = x[..., start : start + centre, start : start + centre]
        features = torch.cat([x.mean((2, 3)), middle.mean((2, 3))], dim=1)
        return self.linear(self.dropout(features))


def residual(crop: int, *, width: int, blocks: int, dropout: float) -> nn.Module:
    """Small residual CNN that learns from scratch: stem of stride 2, four stages of `blocks` blocks with `width`,
    2 `width`, 4 `width` and 8 `width` channels, the last at 1/16 of the tile's resolution."""
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
    layers.append(CentreHead(channels, crop, dropout))
    return nn.Sequential(*layers)


# Another one is also named in histo/networks/names.py.
BODIES: dict[str, Callable[..., nn.Module]] = {
    "p4m_residual": p4m_residual,
    "residual": residual,
    **published.BODIES,
}


def build(settings: dict[str, Any], crop: int) -> Network:
    """Build the network `settings["name"]` for a centre crop of `crop` pixels; the other settings go to its body.

    Raises InputError for a name that is neither in BODIES nor one of torchvision's, for settings that the network does
    not have and for a crop that it cannot take. Weights are random; `torchvision.load` reads others.
    """
    if not CENTRE <= crop <= SIDE:
        raise InputError(f"center_crop: expected {CENTRE} to {SIDE} pixels, found {crop}.")
    options = {key: value for key, value in settings.items() if key != "name"}
    name = settings.get("name")
    if name not in BODIES and name not in TORCHVISION:
        raise InputError(f"network.name: expected one of {', '.join(BODIES)} or one of torchvision's, found {name!r}.")
    body = functools.partial(torchvision.body, name) if name in TORCHVISION else BODIES[name]
    try:
        made = body(crop, **options)
    except TypeError as error:
        raise InputError(f"network {name}: settings do not fit ({error}).") from None
    return Network(made, crop).to(memory_format=torch.channels_last)


def count(body: nn.Module) -> tuple[int, int]:
    """(parameters, of which trainable).

    All that a network learns counts, running means and variances of batch normalisation included, which are learnt but
    not trained; so does Keras, in which the published networks were made.
    """
    running = sum(b.numel() for name, b in body.named_buffers() if name.endswith(("running_mean", "running_var")))
    parameters = list(body.parameters())
    return running + sum(p.numel() for p in parameters), sum(p.numel() for p in parameters if p.requires_grad)
