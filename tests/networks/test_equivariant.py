"""The equivariant network: what turning the tile does to features and logit."""

import pytest
import torch
from torch import nn

from histo.errors import InputError
from histo.networks.dihedral import dihedral
from histo.networks.equivariant import ORDER, RELATIVE, GroupBatchNorm, GroupConv, LiftingConv, turned
from histo.networks.network import build
from support.training import images

SETTINGS = {"name": "p4m_residual", "width": 16, "blocks": 1, "hidden": 8, "dropout": 0.0}


def moved(features, g):
    """What g does to a map [N, 8 · C, H, W] of features in eight orientations."""
    n, channels, *sides = features.shape
    split = features.view(n, ORDER, channels // ORDER, *sides)
    return turned(split[:, RELATIVE[g]], g).reshape(n, channels, *sides)


def lively(network):
    """Statistics and scales as training leaves them, other than at the start."""
    torch.manual_seed(5)
    for module in network.modules():
        if isinstance(module, GroupBatchNorm):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias)
    return network.eval()


def test_the_group_is_that_of_the_flips_and_turns_of_pictures():
    picture = torch.arange(48.0).view(1, 4, 4, 3)
    for g in range(ORDER):
        expected = dihedral(picture, g).permute(0, 3, 1, 2)
        assert torch.equal(turned(picture.permute(0, 3, 1, 2), g), expected)
        assert sorted(RELATIVE[g]) == list(range(ORDER))
        assert RELATIVE[g][g] == 0


@pytest.mark.parametrize("g", range(ORDER))
def test_turning_a_picture_turns_the_features_and_moves_their_orientations(g):
    torch.manual_seed(1)
    layers = [
        LiftingConv(3, 2, 4, 2),
        lively(GroupBatchNorm(2)),
        GroupConv(2, 3, 3),
        GroupConv(3, 2, 4, 2),
        GroupConv(2, 2, 1),
    ]
    straight = picture = torch.randn(2, 3, 24, 24)
    rotated = turned(picture, g)
    for layer in layers:
        straight, rotated = layer(straight), layer(rotated)
        torch.testing.assert_close(rotated, moved(straight, g), rtol=1e-4, atol=1e-4)
    assert straight.shape == (2, 16, 6, 6)
    assert (straight - moved(straight, 3)).abs().max() > 0.1


@pytest.mark.parametrize("crop", [32, 64, 96])
def test_all_eight_views_have_one_logit(crop):
    torch.manual_seed(2)
    network = lively(build(SETTINGS, crop))
    tiles = torch.from_numpy(images(3))
    with torch.no_grad():
        logits = torch.stack([network(dihedral(tiles, view).permute(0, 3, 1, 2)) for view in range(8)])
    torch.testing.assert_close(logits, logits[:1].expand(8, 3), rtol=1e-3, atol=1e-4)
    assert logits[0].std() > 1e-3


def test_what_lies_beside_the_centre_and_what_lies_in_it_count_differently():
    torch.manual_seed(3)
    network = lively(build(SETTINGS, 96))
    tiles = torch.full((1, 3, 96, 96), 128, dtype=torch.uint8)
    centre, corner = tiles.clone(), tiles.clone()
    centre[..., 32:64, 32:64] = torch.randint(0, 256, (32, 32), dtype=torch.uint8)
    corner[..., :32, :32] = centre[..., 32:64, 32:64]
    with torch.no_grad():
        assert abs(network(centre) - network(corner)) > 1e-3


def test_the_parameters_are_few_and_the_running_statistics_tied():
    network = build({**SETTINGS, "width": 32, "blocks": 2, "hidden": 128}, 96)
    assert sum(p.numel() for p in network.parameters()) == 452889
    norm = GroupBatchNorm(2)
    norm.running_mean.copy_(torch.arange(16.0))
    x = torch.zeros(1, 16, 1, 1)
    y = norm.eval()(x).view(ORDER, 2)
    assert torch.equal(y, y[:1].expand(8, 2))
    # Mean over the orientations of feature 0: 0, 2 … 14; its variance: 1 within, 21 between.
    assert y[0, 0].item() == pytest.approx(-7 / 22**0.5, rel=1e-4)


def test_training_moves_the_statistics_towards_those_of_the_batch():
    norm = GroupBatchNorm(1).train()
    x = torch.randn(64, 8, 4, 4) * 3 + 5
    y = norm(x)
    assert y.mean().item() == pytest.approx(0, abs=1e-5)
    assert norm.running_mean.mean().item() == pytest.approx(0.1 * x.mean().item(), rel=1e-4)


def test_a_width_that_the_group_does_not_divide_is_refused():
    with pytest.raises(InputError, match=r"width: expected a multiple of 8, found 12"):
        build({**SETTINGS, "width": 12}, 96)
