"""A small residual CNN."""

from torch import Tensor, nn
from torch.nn import functional

from histo.geometry import COMPETITION, Geometry
from histo.networks.head import CentreHead


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
