"""A residual CNN that is equivariant under the eight flips and quarter turns, and invariant in its logit.

Tissue has no up and no left, so a tile and its seven mirror images and turns have one label. Here that is built in
(group convolutions: Cohen & Welling 2016, arXiv:1602.07576; on these tiles: Veeling et al. 2018, arXiv:1806.03962): one
kernel serves all eight orientations, every tile trains all of them at once, and the logits of the eight views are
equal up to rounding, so that averaging over views changes nothing. The arithmetic costs what a plain network of equally
many channels costs, with an eighth of its weights.

Feature maps are [N, 8 · C, H, W]: channel g · C + c is feature c in orientation g, where g numbers the group as
`histo.networks.network.dihedral` does. Nothing here may prefer a side: kernels of stride 2 have an even size, since a 3 × 3
kernel of stride 2 would sample an even-sized map off its centre.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from histo.tiles.geometry import CENTRE

ORDER = 8  # of the group


def turned(kernels: Tensor, g: int) -> Tensor:
    """Kernels [..., k, k] in orientation g: `dihedral` for the last two dimensions."""
    if g & 4:
        kernels = kernels.transpose(-1, -2)
    axes = [axis for bit, axis in ((1, -1), (2, -2)) if g & bit]
    return kernels.flip(axes) if axes else kernels


def _relative() -> list[list[int]]:
    """Row g: for each k the element g⁻¹ k, found by what the elements do to nine numbered fields."""
    fields = torch.arange(9).view(3, 3)
    actions = [turned(fields, g).flatten().tolist() for g in range(ORDER)]
    product = [
        [actions.index(turned(turned(fields, second), first).flatten().tolist()) for second in range(ORDER)]
        for first in range(ORDER)
    ]
    inverse = [row.index(0) for row in product]
    return [product[inverse[g]] for g in range(ORDER)]


RELATIVE = _relative()


class LiftingConv(nn.Module):
    """Convolution of a picture with each kernel in all eight orientations: [N, inputs, H, W] to
    [N, 8 · outputs, H / stride, W / stride]."""

    def __init__(self, inputs: int, outputs: int, size: int, stride: int) -> None:
        super().__init__()
        self.stride, self.padding = stride, (size - stride + 1) // 2
        self.weight = nn.Parameter(torch.empty(outputs, inputs, size, size))
        nn.init.kaiming_normal_(self.weight, nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        kernels = torch.cat([turned(self.weight, g) for g in range(ORDER)])
        return functional.conv2d(x, kernels, None, self.stride, self.padding)


class GroupConv(nn.Module):
    """Group convolution: [N, 8 · inputs, H, W] to [N, 8 · outputs, H / stride, W / stride].

    The kernel of orientation g is turned by g, and what it weighs of orientation k is what orientation 0 weighs of
    g⁻¹ k, so that turning the input turns the output and moves its orientations.
    """

    def __init__(self, inputs: int, outputs: int, size: int, stride: int = 1) -> None:
        super().__init__()
        self.inputs, self.stride, self.padding = inputs, stride, (size - stride + 1) // 2
        self.weight = nn.Parameter(torch.empty(outputs, ORDER * inputs, size, size))
        nn.init.kaiming_normal_(self.weight, nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        outputs, channels, size, _ = self.weight.shape
        weight = self.weight.reshape(outputs, ORDER, self.inputs, size, size)
        kernels = torch.cat([turned(weight[:, RELATIVE[g]], g) for g in range(ORDER)])
        kernels = kernels.reshape(ORDER * outputs, channels, size, size)
        return functional.conv2d(x, kernels, None, self.stride, self.padding)


class GroupBatchNorm(nn.Module):
    """Batch normalisation whose scale, shift and running statistics are one for all orientations of a feature.

    While it trains, each orientation is normalised by its own statistics of the batch, which differ by chance alone and
    let the fast kernel serve; what it predicts with is tied, so the trained network is equivariant exactly.
    """

    def __init__(self, features: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(features))
        self.bias = nn.Parameter(torch.zeros(features))
        self.register_buffer("running_mean", torch.zeros(ORDER * features))
        self.register_buffer("running_var", torch.ones(ORDER * features))

    def forward(self, x: Tensor) -> Tensor:
        mean, variance = self.running_mean, self.running_var
        if not self.training:
            means = mean.view(ORDER, -1)
            variance = (variance.view(ORDER, -1).mean(0) + means.var(0, correction=0)).repeat(ORDER)
            mean = means.mean(0).repeat(ORDER)
        scale, shift = self.weight.repeat(ORDER), self.bias.repeat(ORDER)
        return functional.batch_norm(x, mean, variance, scale, shift, self.training)


class GroupBlock(nn.Module):
    """Residual block of two group convolutions; see histo.networks.network.Block, whose twin it is."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = GroupConv(inputs, outputs, 3 if stride == 1 else 4, stride)
        self.norm1 = GroupBatchNorm(outputs)
        self.conv2 = GroupConv(outputs, outputs, 3)
        self.norm2 = GroupBatchNorm(outputs)
        nn.init.zeros_(self.norm2.weight)
        self.shortcut = nn.Sequential()
        if stride > 1:
            self.shortcut.append(nn.AvgPool2d(stride))
        if inputs != outputs:
            self.shortcut.append(GroupConv(inputs, outputs, 1))
            self.shortcut.append(GroupBatchNorm(outputs))

    def forward(self, x: Tensor) -> Tensor:
        y = functional.relu(self.norm1(self.conv1(x)), inplace=True)
        return functional.relu(self.norm2(self.conv2(y)) + self.shortcut(x), inplace=True)


class InvariantHead(nn.Module):
    """Averages over the whole map and over the part above the central 32 × 32 pixels; one layer that sees them in all
    orientations and is equivariant; its mean over the orientations, which is invariant; one logit."""

    def __init__(self, features: int, crop: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.share = CENTRE / crop
        self.mix = GroupConv(2 * features, hidden, 1)
        self.bias = nn.Parameter(torch.zeros(hidden))
        self.dropout = nn.Dropout(dropout)
        self.linear = nn.Linear(hidden, 1)

    def forward(self, x: Tensor) -> Tensor:
        side = x.shape[-1]
        # As many fields as lie on the same middle as the map.
        centre = max(2 - side % 2, 2 * round((side * self.share - side % 2) / 2) + side % 2)
        start = (side - centre) // 2
        middle = x[..., start : start + centre, start : start + centre]
        pooled = torch.stack([x.mean((2, 3)), middle.mean((2, 3))], dim=1)
        pooled = pooled.view(len(x), 2, ORDER, -1).transpose(1, 2).reshape(len(x), -1, 1, 1)
        mixed = self.mix(pooled).view(len(x), ORDER, -1)
        return self.linear(self.dropout(functional.relu(mixed + self.bias).mean(1)))


def p4m_residual(crop: int, *, width: int, blocks: int, hidden: int, dropout: float) -> nn.Module:
    """Equivariant twin of `histo.networks.network.residual`: stem of stride 2, four stages of `blocks` blocks with `width`,
    2 `width`, 4 `width` and 8 `width` channels (`width` / 8 features in eight orientations, doubled stage by stage);
    `hidden` features in the head."""
    if width % ORDER:
        raise TypeError(f"width: expected a multiple of {ORDER}, found {width}")
    features = width // ORDER
    layers: list[nn.Module] = [LiftingConv(3, features, 4, 2), GroupBatchNorm(features), nn.ReLU(inplace=True)]
    for stage in range(4):
        for block in range(blocks):
            outputs = width // ORDER << stage
            layers.append(GroupBlock(features, outputs, 2 if block == 0 and stage > 0 else 1))
            features = outputs
    layers.append(InvariantHead(features, crop, hidden, dropout))
    return nn.Sequential(*layers)
