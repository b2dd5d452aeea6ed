"""The networks of public attempts at this data, rebuilt for comparison; config/published.yaml has their recipes.

Layers start and average as in Keras, whose way of counting parameters the attempts share: Glorot uniform weights
(Glorot & Bengio 2010), zero biases, batch normalisation with ε 0.001 and a running mean that keeps 0.99 a step.
Convolutions are 3 × 3, pooling takes the maximum of 2 × 2, and one unit without activation gives the logit. Each
builder returns a module from normalised tiles, float [N, 3, crop, crop], to logits [N, 1]; what is flattened sets the
size of the dense layer, so that another crop changes the number of parameters. These numbers include running means and
variances; where an attempt stated its own, it is met.
"""

from collections.abc import Sequence

from torch import nn

from histo.errors import InputError
from histo.tiles.geometry import CENTRE


def _start_as_keras(body: nn.Module) -> nn.Module:
    for module in body.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.xavier_uniform_(module.weight)
            nn.init.zeros_(module.bias)
        elif isinstance(module, nn.BatchNorm2d | nn.BatchNorm1d):
            module.eps, module.momentum = 1e-3, 0.01
    return body


def _convolution(inputs: int, outputs: int, *, same: bool = False, norm: bool = False) -> list[nn.Module]:
    """3 × 3 convolution with ReLU; same: zeros around the map keep its side, which else shrinks by 2."""
    between = [nn.BatchNorm2d(outputs)] if norm else []
    return [nn.Conv2d(inputs, outputs, 3, padding=int(same)), *between, nn.ReLU(inplace=True)]


def _valid(side: int, layers: str) -> int:
    """Side of the map after valid convolutions (c) and poolings (p)."""
    for layer in layers:
        side = side - 2 if layer == "c" else side // 2
    return side


def _dense(inputs: int, outputs: int) -> list[nn.Module]:
    return [nn.Linear(inputs, outputs), nn.ReLU(inplace=True)]


def plain_2conv(crop: int) -> nn.Module:
    """A first try: two valid convolutions of 16 and 32 channels, each pooled, one dense layer of 64; 996,449 parameters
    at 96 pixels, nearly all of them in the dense layer."""
    side = _valid(crop, "cpcp")
    return _start_as_keras(
        nn.Sequential(
            *_convolution(3, 16), nn.MaxPool2d(2),
            *_convolution(16, 32), nn.MaxPool2d(2),
            nn.Flatten(), *_dense(32 * side**2, 64), nn.Linear(64, 1),
        )
    )  # fmt: skip


def plain_5conv(crop: int) -> nn.Module:
    """The same attempt's deeper network: five valid convolutions of 32, 32, 64, 64 and 128 channels, pooled after the
    second, fourth and fifth, dense 128 with dropout; 1,466,785 parameters at 96 pixels."""
    side = _valid(crop, "ccpccpcp")
    return _start_as_keras(
        nn.Sequential(
            *_convolution(3, 32), *_convolution(32, 32), nn.MaxPool2d(2),
            *_convolution(32, 64), *_convolution(64, 64), nn.MaxPool2d(2),
            *_convolution(64, 128), nn.MaxPool2d(2),
            nn.Flatten(), *_dense(128 * side**2, 128), nn.Dropout(0.5), nn.Linear(128, 1),
        )
    )  # fmt: skip


def batchnorm_gap(
    crop: int,
    *,
    filters: Sequence[int] = (32, 64, 128),
    convolutions: int = 2,
    dropout: float = 0.4,
    dense: int = 128,
) -> nn.Module:
    """The same attempt's best: three blocks of `convolutions` (1 or 2) convolutions with `filters` channels, batch
    normalisation after the first of each block, pooling after each block, global average pooling, dropout, one dense
    layer; 304,545 parameters, of which 304,097 train. Its search varied the other three options, with one
    convolution per block. The attempt says nothing of padding: the maps keep their side."""
    if len(filters) != 3 or convolutions not in (1, 2):
        raise InputError(
            "network batchnorm_gap: expected three numbers of filters and 1 or 2 convolutions per block, found "
            f"filters: {list(filters)}, convolutions: {convolutions}."
        )
    layers: list[nn.Module] = []
    channels = 3
    for wide in filters:
        layers += _convolution(channels, wide, same=True, norm=True)
        if convolutions == 2:
            layers += _convolution(wide, wide, same=True)
        layers.append(nn.MaxPool2d(2))
        channels = wide
    layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(dropout), *_dense(channels, dense)]
    return _start_as_keras(nn.Sequential(*layers, nn.Linear(dense, 1)))


def plain_3conv(crop: int) -> nn.Module:
    """Another attempt's network: three valid convolutions of 32, 64 and 128 channels, each pooled, dense 128 with
    dropout; 1,731,905 parameters at 96 pixels."""
    side = _valid(crop, "cpcpcp")
    return _start_as_keras(
        nn.Sequential(
            *_convolution(3, 32), nn.MaxPool2d(2),
            *_convolution(32, 64), nn.MaxPool2d(2),
            *_convolution(64, 128), nn.MaxPool2d(2),
            nn.Flatten(), *_dense(128 * side**2, 128), nn.Dropout(0.5), nn.Linear(128, 1),
        )
    )  # fmt: skip


def batchnorm_4conv(crop: int) -> nn.Module:
    """A third attempt's network: four convolutions of 32, 64, 128 and 256 channels that keep the map's side, each with
    batch normalisation and pooled, dense 512 with batch normalisation and dropout; 5,112,001 parameters at 96 pixels,
    of which 5,110,017 train. Where its three dropouts of 0.2, 0.3 and 0.3 stand is not said: here after the second to
    fourth pooling, the usual place for three of them in four blocks."""
    layers: list[nn.Module] = []
    channels = 3
    for wide, dropout in ((32, 0.0), (64, 0.2), (128, 0.3), (256, 0.3)):
        layers += [*_convolution(channels, wide, same=True, norm=True), nn.MaxPool2d(2)]
        layers += [nn.Dropout(dropout)] if dropout else []
        channels = wide
    layers += [nn.Flatten(), nn.Linear(256 * (crop // 16) ** 2, 512), nn.BatchNorm1d(512), nn.ReLU(inplace=True)]
    return _start_as_keras(nn.Sequential(*layers, nn.Dropout(0.5), nn.Linear(512, 1)))


def center32_3conv(crop: int) -> nn.Module:
    """A fourth attempt's network, which sees what decides the label and nothing else: three valid convolutions of 32,
    64 and 128 channels on the central 32 × 32 pixels, the last one's pooling of 1 × 1 left out since it does nothing,
    dense 128 with dropout; 355,649 parameters. Raises InputError for another crop."""
    if crop != CENTRE:
        raise InputError(f"network center32_3conv sees the central {CENTRE} × {CENTRE} pixels: set center_crop: {CENTRE}, "
                         f"found {crop}.")  # fmt: skip
    side = _valid(crop, "cpcpc")
    return _start_as_keras(
        nn.Sequential(
            *_convolution(3, 32), nn.MaxPool2d(2),
            *_convolution(32, 64), nn.MaxPool2d(2),
            *_convolution(64, 128),
            nn.Flatten(), *_dense(128 * side**2, 128), nn.Dropout(0.5), nn.Linear(128, 1),
        )
    )  # fmt: skip


BODIES = {
    builder.__name__: builder
    for builder in (plain_2conv, plain_5conv, batchnorm_gap, plain_3conv, batchnorm_4conv, center32_3conv)
}
