"""Crop, normalisation, the residual CNN, and errors of `build`."""

import numpy as np
import pytest
import torch

from histo.errors import InputError
from histo.networks.network import build
from support.training import images

TINY = {"name": "residual", "width": 8, "blocks": 1, "dropout": 0.0}


def batch(count=4, side=96):
    return torch.from_numpy(images(count)[:, :side, :side]).permute(0, 3, 1, 2)


@pytest.mark.parametrize("crop", [32, 64, 96])
def test_one_logit_per_tile(crop):
    torch.manual_seed(0)
    logits = build(TINY, crop).eval()(batch())
    assert logits.shape == (4,) and logits.dtype == torch.float32
    assert len(set(logits.tolist())) == 4


def test_uint8_and_float_input_give_the_same_logits():
    torch.manual_seed(0)
    network = build(TINY, 96).eval()
    assert torch.allclose(network(batch()), network(batch().float() / 255), atol=1e-5)


def test_crop_is_part_of_the_network():
    torch.manual_seed(0)
    network = build(TINY, 64).eval()
    assert torch.equal(network(batch()), network(batch()[..., 16:80, 16:80]))


def test_normalisation_is_part_of_the_state_dict():
    torch.manual_seed(0)
    network = build(TINY, 32).eval()
    network.set_normalisation([0.1, 0.2, 0.3], [0.4, 0.5, 0.6])
    inputs = []
    network.body.register_forward_pre_hook(lambda module, args: inputs.append(args[0]))
    network(batch())
    pixels = batch()[..., 32:64, 32:64].numpy() / 255
    expected = (pixels - np.array([0.1, 0.2, 0.3]).reshape(3, 1, 1)) / np.array([0.4, 0.5, 0.6]).reshape(3, 1, 1)
    assert np.allclose(inputs[0].numpy(), expected, atol=1e-5)
    other = build(TINY, 32).eval()
    other.load_state_dict(network.state_dict())
    assert torch.equal(other(batch()), network(batch()))


def test_head_averages_the_centre_separately():
    """The central 2 × 2 of the last 6 × 6 map lie exactly above the central 32 × 32 pixels."""
    head = build(TINY, 96).body[-1]
    maps = torch.zeros(1, 64, 6, 6)
    maps[..., 2:4, 2:4] = 9.0
    features = []
    head.linear.register_forward_pre_hook(lambda module, args: features.append(args[0]))
    head(maps)
    assert torch.allclose(features[0][0, :64], torch.tensor(1.0))
    assert torch.allclose(features[0][0, 64:], torch.tensor(9.0))


def test_blocks_start_as_the_identity():
    torch.manual_seed(0)
    block = build(TINY, 96).body[3].eval()
    x = torch.rand(2, 8, 12, 12)
    assert torch.equal(block(x), x)


def test_width_and_blocks_set_the_number_of_parameters():
    def size(**changes):
        return sum(p.numel() for p in build({**TINY, **changes}, 96).parameters())

    assert size(width=32, blocks=2) == 2_795_553  # counted by hand, layer by layer
    assert size(width=16) > 3 * size() and size(blocks=2) > 1.5 * size()


def test_wrong_names_and_settings_are_refused():
    with pytest.raises(InputError, match=r"network\.name: expected one of p4m_residual, .*, found 'resnet43'"):
        build({"name": "resnet43"}, 96)
    with pytest.raises(InputError, match=r"network residual: its options are wrong .*depth.*settings under `network`"):
        build({**TINY, "depth": 3}, 96)
    with pytest.raises(InputError, match=r"center_crop: expected 32 to 96 pixels, found 16"):
        build(TINY, 16)
