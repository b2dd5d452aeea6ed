"""The eight flips and quarter turns of a square."""

from torch import Tensor


def dihedral(images: Tensor, view: int) -> Tensor:
    """One of the eight flips and quarter turns of [N, H, W, C] images, `view` in 0..7: bit 0 mirrors left and right,
    bit 1 top and bottom, bit 2 transposes first. 0 is the identity; 0..3 are the flips; all are exact."""
    if view & 4:
        images = images.transpose(1, 2)
    axes = [axis for bit, axis in ((1, 2), (2, 1)) if view & bit]
    return images.flip(axes) if axes else images
