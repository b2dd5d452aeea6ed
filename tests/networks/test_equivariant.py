"""The equivariant network: how its features and its logit change when the tile is flipped or rotated."""

import copy
import pickle

import pytest
import torch
from torch import nn
from torch.nn import functional

from histo.errors import InputError
from histo.networks.dihedral import dihedral
from histo.networks.equivariant import INVERSE_PRODUCT, ORDER, GroupBatchNorm, GroupConv, LiftingConv, transform
from histo.networks.network import build
from histo.training.engine import Averaged
from support.training import images

SETTINGS = {"name": "p4m_residual", "width": 16, "blocks": 1, "hidden": 8, "dropout": 0.0}


def transform_features(features, g):
    """Apply g to a map [N, 8 · C, H, W] of features in eight orientations."""
    n, channels, *sides = features.shape
    split = features.view(n, ORDER, channels // ORDER, *sides)
    return transform(split[:, INVERSE_PRODUCT[g]], g).reshape(n, channels, *sides)


def slow_kernels(weight, lifting):
    """The kernels of all orientations, by a loop over orientations and channels."""
    outputs, channels = weight.shape[:2]
    kernels = []
    for g in range(ORDER):
        for output in range(outputs):
            for channel in range(channels):
                k, feature = divmod(channel, channels // ORDER) if not lifting else (0, channel)
                source = feature if lifting else INVERSE_PRODUCT[g][k] * (channels // ORDER) + feature
                kernels.append(transform(weight[output, source], g))
    return torch.stack(kernels).view(ORDER * outputs, channels, *weight.shape[2:])


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


@pytest.mark.parametrize(("crop", "stem"), [(32, "stride"), (64, "stride"), (96, "stride"), (32, "full"), (96, "full")])
def test_all_eight_views_have_the_same_logit(crop, stem):
    torch.manual_seed(2)
    network = as_if_trained(build({**SETTINGS, "stem": stem}, crop))
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
    # Instead of 4 kernels 4 × 4 × 3: 4 kernels 3 × 3 × 3, 4 scales and shifts, 4 kernels 4 × 4 × 32.
    full = build({**SETTINGS, "width": 32, "blocks": 2, "hidden": 128, "stem": "full"}, 96)
    assert sum(p.numel() for p in full.parameters()) == 452_889 - 192 + 108 + 8 + 2048


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


CONVOLUTIONS = [
    lambda: LiftingConv(3, 2, 4, 2),
    lambda: GroupConv(2, 3, 3),
    lambda: GroupConv(1, 2, 4, 2),
    lambda: GroupConv(2, 1, 1),
]


@pytest.mark.parametrize("create", CONVOLUTIONS)
def test_kernels_are_the_transformed_base_kernels(create):
    convolution = create()
    assert torch.equal(convolution.kernels(), slow_kernels(convolution.weight, isinstance(convolution, LiftingConv)))


@pytest.mark.parametrize("create", CONVOLUTIONS)
def test_the_gradient_is_that_of_the_slow_construction(create):
    torch.manual_seed(6)
    convolution = create()
    x = torch.randn(2, convolution.weight.shape[1], 12, 12)
    target = torch.randn_like(convolution(x))
    (convolution(x) * target).sum().backward()
    weight = convolution.weight.detach().clone().requires_grad_()
    kernels = slow_kernels(weight, isinstance(convolution, LiftingConv))
    (functional.conv2d(x, kernels, None, convolution.stride, convolution.padding) * target).sum().backward()
    assert (convolution.weight.grad - weight.grad).abs().max() <= 2e-6 * weight.grad.abs().max()


def load_other(network, other):
    network.load_state_dict(other.state_dict())


def average(network, other):
    with torch.no_grad():
        for mean, current in zip(network.state_dict().values(), other.state_dict().values(), strict=True):
            mean.lerp_(current, 0.5)


def average_of_the_engine(network, other):
    Averaged(network, other).update(0.5)


def swap_data(network, other):
    for parameter, replacement in zip(network.parameters(), other.parameters(), strict=True):
        parameter.data = replacement.data.clone()


def optimize(network, other):
    optimizer = torch.optim.AdamW(network.parameters(), lr=0.1, fused=True)
    network(torch.from_numpy(images(2)).permute(0, 3, 1, 2)).sum().backward()
    optimizer.step()


def update_statistics(network, other):
    network.train()(torch.from_numpy(images(2)).permute(0, 3, 1, 2))
    network.eval()


def to_double_and_back(network, other):
    network.double()
    load_other(network, other)
    network.float()


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
@pytest.mark.parametrize(
    "change",
    [load_other, average, average_of_the_engine, swap_data, optimize, update_statistics, to_double_and_back],
    ids=lambda f: f.__name__,
)
def test_kept_kernels_and_statistics_follow_the_weights(change, mode):
    torch.manual_seed(7)
    network, other = (as_if_trained(build(SETTINGS, 32)) for _ in range(2))
    nn.init.normal_(other.body[0].weight)
    tiles = torch.from_numpy(images(3)).permute(0, 3, 1, 2)

    def logits(of):
        with mode():
            return of(tiles)

    before = logits(network)
    assert torch.equal(logits(network), before)
    change(network, other)
    after = logits(network)
    fresh = build(SETTINGS, 32).eval()
    fresh.load_state_dict(network.state_dict())
    assert torch.equal(after, logits(fresh)) and torch.equal(after, network(tiles).detach())
    assert not torch.equal(after, before)


def test_weights_created_and_changed_in_inference_mode_are_followed():
    tiles = torch.from_numpy(images(2)).permute(0, 3, 1, 2)
    with torch.inference_mode():
        network = as_if_trained(build(SETTINGS, 32))
        before = network(tiles)
        network.body[0].weight.mul_(2)
        assert not torch.equal(network(tiles), before)


def test_inference_computes_kernels_and_statistics_once(monkeypatch):
    computed = []
    for kind, name in ((GroupConv, "kernels"), (LiftingConv, "kernels"), (GroupBatchNorm, "_pooled")):
        compute = getattr(kind, name)
        monkeypatch.setattr(kind, name, lambda self, compute=compute: computed.append(self) or compute(self))
    network = as_if_trained(build(SETTINGS, 32))
    tiles = torch.from_numpy(images(2)).permute(0, 3, 1, 2)
    with torch.inference_mode():
        for _ in range(3):
            network(tiles)
    layers = [module for module in network.modules() if isinstance(module, GroupConv | LiftingConv | GroupBatchNorm)]
    assert len(computed) == len(layers) and set(computed) == set(layers)


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda network: pickle.loads(pickle.dumps(network))])
def test_copies_are_independent(duplicate):
    network = as_if_trained(build(SETTINGS, 32))
    tiles = torch.from_numpy(images(2)).permute(0, 3, 1, 2)
    with torch.inference_mode():
        logits = network(tiles)
        copied = duplicate(network)
        assert torch.equal(copied(tiles), logits)
        copied.body[0].weight.zero_()
        assert not torch.equal(copied(tiles), logits)
        assert torch.equal(network(tiles), logits)


def test_the_state_dict_holds_weights_and_statistics_only():
    network = build(SETTINGS, 32)
    assert {key.rpartition(".")[2] for key in network.state_dict()} == {
        "mean", "std", "weight", "bias", "running_mean", "running_var",
    }  # fmt: skip
    assert {key for key in GroupConv(1, 1, 3).state_dict()} == {"weight"}
