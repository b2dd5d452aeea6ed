"""Networks of published notebooks on this data set, rebuilt for comparison; config/published.yaml has their recipes.

Layers follow the defaults of Keras, which the notebooks use: Glorot uniform weights (Glorot & Bengio 2010), zero
biases, batch normalisation with ε = 0.001 and a momentum of 0.99 (0.01 in PyTorch). Convolutions are 3 × 3, pooling is
max pooling of 2 × 2, and a linear unit without activation gives the logit.

Each builder returns a module from normalised tiles, float [N, 3, crop, crop], to logits [N, 1]. The size of a dense
layer depends on the flattened map, so the number of parameters depends on the crop. Stated numbers of parameters
include the running means and variances of batch normalisation, as in Keras; they equal the notebooks' own where those
give any.
"""

from collections.abc import Sequence

from torch import nn

from histo.errors import InputError
from histo.geometry import CENTRE, COMPETITION, Geometry


def _initialise_as_keras(body: nn.Module) -> nn.Module:
    """Initialise the weights of `body` and set its batch normalisation as Keras does; return `body`."""
    for module in body.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.xavier_uniform_(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.BatchNorm2d | nn.BatchNorm1d):
            module.eps, module.momentum = 1e-3, 0.01
    return body


def _convolution(inputs: int, outputs: int, *, same: bool = False, norm: bool = False) -> list[nn.Module]:
    """3 × 3 convolution, optional batch normalisation, ReLU.

    same: zero padding keeps the side of the map; without padding (Keras: valid) it shrinks by 2.
    """
    normalisation = [nn.BatchNorm2d(outputs)] if norm else []
    return [nn.Conv2d(inputs, outputs, 3, padding=int(same)), *normalisation, nn.ReLU(inplace=True)]


def _valid_side(side: int, layers: str) -> int:
    """Side of the map after the given layers: c is a valid convolution, p a max pooling."""
    for layer in layers:
        side = side - 2 if layer == "c" else side // 2
    return side


def _dense(inputs: int, outputs: int) -> list[nn.Module]:
    return [nn.Linear(inputs, outputs), nn.ReLU(inplace=True)]


def plain_2conv(crop: int, geometry: Geometry = COMPETITION) -> nn.Module:
    """Build the smallest network of the first notebook.

    Two valid convolutions of 16 and 32 channels, each followed by pooling; a dense layer of 64. 996,449 parameters at
    96 pixels, nearly all of them in the dense layer.
    """
    side = _valid_side(crop, "cpcp")
    return _initialise_as_keras(
        nn.Sequential(
            *_convolution(3, 16), nn.MaxPool2d(2),
            *_convolution(16, 32), nn.MaxPool2d(2),
            nn.Flatten(), *_dense(32 * side**2, 64), nn.Linear(64, geometry.outputs),
        )
    )  # fmt: skip


def plain_5conv(crop: int, geometry: Geometry = COMPETITION) -> nn.Module:
    """Build the deeper network of the first notebook.

    Five valid convolutions of 32, 32, 64, 64 and 128 channels with pooling after the second, fourth and fifth; a dense
    layer of 128 with dropout 0.5. 1,466,785 parameters at 96 pixels.
    """
    side = _valid_side(crop, "ccpccpcp")
    return _initialise_as_keras(
        nn.Sequential(
            *_convolution(3, 32), *_convolution(32, 32), nn.MaxPool2d(2),
            *_convolution(32, 64), *_convolution(64, 64), nn.MaxPool2d(2),
            *_convolution(64, 128), nn.MaxPool2d(2),
            nn.Flatten(), *_dense(128 * side**2, 128), nn.Dropout(0.5), nn.Linear(128, geometry.outputs),
        )
    )  # fmt: skip


def batchnorm_gap(
    crop: int,
    geometry: Geometry = COMPETITION,
    *,
    filters: Sequence[int] = (32, 64, 128),
    convolutions: int = 2,
    dropout: float = 0.4,
    dense: int = 128,
) -> nn.Module:
    """Build the best network of the first notebook.

    Three blocks of `convolutions` (1 or 2) convolutions with `filters` channels, batch normalisation after the first
    convolution of each block and pooling after each block; global average pooling, dropout, a dense layer of `dense`.
    304,545 parameters with the default options, of which 304,097 are trainable. The notebook's search varies filters,
    dropout and dense, with one convolution per block. It does not state the padding; here convolutions keep the side.
    Raises InputError unless there are three numbers of filters and 1 or 2 convolutions.
    """
    if len(filters) != 3 or convolutions not in (1, 2):
        raise InputError(
            "network batchnorm_gap: expected three numbers of filters and 1 or 2 convolutions per block, found "
            f"filters: {list(filters)}, convolutions: {convolutions}. Correct network.filters or network.convolutions."
        )
    layers: list[nn.Module] = []
    channels = 3
    for outputs in filters:
        layers += _convolution(channels, outputs, same=True, norm=True)
        if convolutions == 2:
            layers += _convolution(outputs, outputs, same=True)
        layers.append(nn.MaxPool2d(2))
        channels = outputs
    layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(dropout), *_dense(channels, dense)]
    return _initialise_as_keras(nn.Sequential(*layers, nn.Linear(dense, geometry.outputs)))


def plain_3conv(crop: int, geometry: Geometry = COMPETITION) -> nn.Module:
    """Build the network of the second notebook.

    Three valid convolutions of 32, 64 and 128 channels, each followed by pooling; a dense layer of 128 with dropout
    0.5. 1,731,905 parameters at 96 pixels.
    """
    side = _valid_side(crop, "cpcpcp")
    return _initialise_as_keras(
        nn.Sequential(
            *_convolution(3, 32), nn.MaxPool2d(2),
            *_convolution(32, 64), nn.MaxPool2d(2),
            *_convolution(64, 128), nn.MaxPool2d(2),
            nn.Flatten(), *_dense(128 * side**2, 128), nn.Dropout(0.5), nn.Linear(128, geometry.outputs),
        )
    )  # fmt: skip


def batchnorm_4conv(crop: int, geometry: Geometry = COMPETITION) -> nn.Module:
    """Build the network of the third notebook.

    Four convolutions of 32, 64, 128 and 256 channels that keep the side of the map, each followed by batch
    normalisation and pooling; a dense layer of 512 with batch normalisation and dropout 0.5. 5,112,001 parameters at 96
    pixels, of which 5,110,017 are trainable. The notebook does not state the positions of its dropouts of 0.2, 0.3 and
    0.3; here they follow the second, third and fourth pooling.
    """
    layers: list[nn.Module] = []
    channels = 3
    for outputs, dropout in ((32, 0.0), (64, 0.2), (128, 0.3), (256, 0.3)):
        layers += [*_convolution(channels, outputs, same=True, norm=True), nn.MaxPool2d(2)]
        layers += [nn.Dropout(dropout)] if dropout else []
        channels = outputs
    layers += [nn.Flatten(), nn.Linear(256 * (crop // 16) ** 2, 512), nn.BatchNorm1d(512), nn.ReLU(inplace=True)]
    return _initialise_as_keras(nn.Sequential(*layers, nn.Dropout(0.5), nn.Linear(512, geometry.outputs)))


def center32_3conv(crop: int, geometry: Geometry = COMPETITION) -> nn.Module:
    """Build the network of the fourth notebook, which sees only the central 32 × 32 pixels that determine the label.

    Three valid convolutions of 32, 64 and 128 channels, the first two followed by pooling (the notebook's last pooling
    is 1 × 1 and has no effect); a dense layer of 128 with dropout 0.5. 355,649 parameters. Raises InputError for any
    other crop.
    """
    if crop != CENTRE:
        raise InputError(
            f"center_crop: the network center32_3conv sees the central {CENTRE} × {CENTRE} pixels only, found {crop}. "
            f"Set center_crop: {CENTRE}."
        )
    side = _valid_side(crop, "cpcpc")
    return _initialise_as_keras(
        nn.Sequential(
            *_convolution(3, 32), nn.MaxPool2d(2),
            *_convolution(32, 64), nn.MaxPool2d(2),
            *_convolution(64, 128),
            nn.Flatten(), *_dense(128 * side**2, 128), nn.Dropout(0.5), nn.Linear(128, geometry.outputs),
        )
    )  # fmt: skip
