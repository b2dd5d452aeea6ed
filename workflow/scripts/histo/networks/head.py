"""Head of a convolutional network: from its last feature map to logits."""

import torch
from torch import Tensor, nn

from histo.geometry import COMPETITION, Geometry


class CentreHead(nn.Module):
    """Average over the whole map and average over the area above the central square, concatenated; logits.

    [N, channels, H, W] to [N, outputs]. The label depends on the centre alone; the surroundings are context.
    """

    def __init__(self, channels: int, crop: int, dropout: float, geometry: Geometry = COMPETITION) -> None:
        super().__init__()
        self.share = geometry.centre_side / crop
        self.dropout = nn.Dropout(dropout)
        self.linear = nn.Linear(2 * channels, geometry.outputs)

    def forward(self, x: Tensor) -> Tensor:
        side = x.shape[-1]
        centre = max(1, round(side * self.share))
        start = (side - centre) // 2
        middle = x[..., start : start + centre, start : start + centre]
        features = torch.cat([x.mean((2, 3)), middle.mean((2, 3))], dim=1)
        logits: Tensor = self.linear(self.dropout(features))
        return logits
