"""The equivariant network: how its features and its logit change when the tile is flipped or rotated."""

import pytest
import torch
from torch import nn

from histo.errors import InputError
from histo.networks.dihedral import dihedral
from histo.networks.equivariant import INVERSE_PRODUCT, ORDER, GroupBatchNorm, GroupConv, LiftingConv, transform
from histo.networks.network import build
from support.training import images

SETTINGS = {"name": "p4m_residual", "width": 16, "blocks": 1, "hidden": 8, "dropout": 0.0}


def transform_features(features, g):
    """Apply g to a map [N, 8 · C, H, W] of features in eight orientations."""
    n, channels, *sides = features.shape
    split = features.view(n, ORDER, channels // ORDER, *sides)
    return transform(split[:, INVERSE_PRODUCT[g]], g).reshape(n, channels, *sides)


def as_if_trained(network):
    """Set random statistics, scales and shifts of batch normalisation; return the network in eval mode."""
    torch.manual_seed(5)
    for module in network.modules():
        if isinstance(module, GroupBatchNorm):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias)
    return network.eval()


def test_the_group_is_that_of_the_views_of_tiles():
    image = torch.arange(48.0).view(1, 4, 4, 3)
    for g in range(ORDER):
        expected = dihedral(image, g).permute(0, 3, 1, 2)
        assert torch.equal(transform(image.permute(0, 3, 1, 2), g), expected)
        assert sorted(INVERSE_PRODUCT[g]) == list(range(ORDER))
        assert INVERSE_PRODUCT[g][g] == 0


@pytest.mark.parametrize("g", range(ORDER))
def test_transforming_an_image_transforms_its_features(g):
    torch.manual_seed(1)
    layers = [
        LiftingConv(3, 2, 4, 2),
        as_if_trained(GroupBatchNorm(2)),
        GroupConv(2, 3, 3),
        GroupConv(3, 2, 4, 2),
        GroupConv(2, 2, 1),
    ]
    original = image = torch.randn(2, 3, 24, 24)
    transformed = transform(image, g)
    for layer in layers:
        original, transformed = layer(original), layer(transformed)
        torch.testing.assert_close(transformed, transform_features(original, g), rtol=1e-4, atol=1e-4)
    assert original.shape == (2, 16, 6, 6)
    assert (original - transform_features(original, 3)).abs().max() > 0.1


@pytest.mark.parametrize("crop", [32, 64, 96])
def test_all_eight_views_have_the_same_logit(crop):
    torch.manual_seed(2)
    network = as_if_trained(build(SETTINGS, crop))
    tiles = torch.from_numpy(images(3))
    with torch.no_grad():
        logits = torch.stack([network(dihedral(tiles, view).permute(0, 3, 1, 2)) for view in range(8)])
    torch.testing.assert_close(logits, logits[:1].expand(8, 3), rtol=1e-3, atol=1e-4)
    assert logits[0].std() > 1e-3


def test_centre_and_surroundings_have_different_effects():
    torch.manual_seed(3)
    network = as_if_trained(build(SETTINGS, 96))
    tiles = torch.full((1, 3, 96, 96), 128, dtype=torch.uint8)
    centre, corner = tiles.clone(), tiles.clone()
    centre[..., 32:64, 32:64] = torch.randint(0, 256, (32, 32), dtype=torch.uint8)
    corner[..., :32, :32] = centre[..., 32:64, 32:64]
    with torch.no_grad():
        assert abs(network(centre) - network(corner)) > 1e-3


def test_number_of_parameters():
    network = build({**SETTINGS, "width": 32, "blocks": 2, "hidden": 128}, 96)
    assert sum(p.numel() for p in network.parameters()) == 452_889


def test_eval_mode_pools_the_statistics_of_the_orientations():
    norm = GroupBatchNorm(2)
    norm.running_mean.copy_(torch.arange(16.0))
    x = torch.zeros(1, 16, 1, 1)
    y = norm.eval()(x).view(ORDER, 2)
    assert torch.equal(y, y[:1].expand(8, 2))
    # The means of feature 0 are 0, 2, … 14: their mean is 7, their variance 21, plus 1 within each orientation.
    assert y[0, 0].item() == pytest.approx(-7 / 22**0.5, rel=1e-4)


def test_training_updates_the_running_statistics():
    norm = GroupBatchNorm(1).train()
    x = torch.randn(64, 8, 4, 4) * 3 + 5
    y = norm(x)
    assert y.mean().item() == pytest.approx(0, abs=1e-5)
    assert norm.running_mean.mean().item() == pytest.approx(0.1 * x.mean().item(), rel=1e-4)


def test_width_must_be_a_multiple_of_eight():
    with pytest.raises(InputError, match=r"width: expected a multiple of 8, found 12"):
        build({**SETTINGS, "width": 12}, 96)
