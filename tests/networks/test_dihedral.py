"""The eight flips and 90° rotations of a square."""

import torch

from histo.networks.dihedral import dihedral


def test_views_of_a_corner():
    """Where each view moves a pixel that is marked near the top left corner (row, column)."""
    tile = torch.zeros(1, 4, 4, 1)
    tile[0, 0, 1] = 1
    positions = [tuple(dihedral(tile, view)[0, ..., 0].nonzero()[0].tolist()) for view in range(8)]
    assert positions == [(0, 1), (0, 2), (3, 1), (3, 2), (1, 0), (1, 3), (2, 0), (2, 3)]


def test_other_dimensions():
    tiles = torch.arange(96).view(2, 4, 4, 3)
    for view in range(8):
        expected = dihedral(tiles, view).permute(0, 3, 1, 2)
        assert torch.equal(dihedral(tiles.permute(0, 3, 1, 2), view, rows=-2, columns=-1), expected)
