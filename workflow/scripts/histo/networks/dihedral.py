"""The eight flips and 90° rotations of a square (dihedral group D4)."""

from torch import Tensor


def dihedral(images: Tensor, view: int, *, rows: int = 1, columns: int = 2) -> Tensor:
    """Apply element `view` of D4 to square images, by default [N, H, W, C]. No pixel is interpolated.

    view: 0..7, a bit mask; bit 2 transposes, then bit 1 flips top and bottom and bit 0 flips left and right. 0 is the
    identity, 0..3 are the flips. rows, columns: the dimensions of height and width.
    """
    if view & 4:
        images = images.transpose(rows, columns)
    axes = [axis for bit, axis in ((1, columns), (2, rows)) if view & bit]
    return images.flip(axes) if axes else images
