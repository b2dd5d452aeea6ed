"""The networks of public attempts: as large as those say, and one logit per tile."""

import pytest
import torch
from torch import nn

from histo.errors import InputError
from histo.networks import build
from histo.parameters import count
from histo.published import BODIES
from training import images

CROPS = {name: 32 if name == "center32_3conv" else 96 for name in BODIES}


@pytest.mark.parametrize(
    ("name", "parameters", "trainable"),
    [
        ("plain_2conv", 996_449, 996_449),
        ("plain_5conv", 1_466_785, 1_466_785),
        ("batchnorm_gap", 304_545, 304_097),
        ("plain_3conv", 1_731_905, 1_731_905),
        ("batchnorm_4conv", 5_112_001, 5_110_017),
        ("center32_3conv", 355_649, 355_649),
    ],
)
def test_number_of_parameters(name, parameters, trainable):
    assert count(build({"name": name}, CROPS[name]).body) == (parameters, trainable)


@pytest.mark.parametrize("name", BODIES)
def test_one_logit_per_tile(name):
    torch.manual_seed(0)
    network = build({"name": name}, CROPS[name]).eval()
    logits = network(torch.from_numpy(images(3)).permute(0, 3, 1, 2))
    assert logits.shape == (3,) and len(set(logits.tolist())) == 3
    assert isinstance(network.body[-1], nn.Linear)  # no activation squeezes them


@pytest.mark.parametrize("name", [name for name in BODIES if name != "center32_3conv"])
@pytest.mark.parametrize("crop", [32, 64])
def test_dense_layers_follow_the_crop(name, crop):
    assert build({"name": name}, crop).eval()(torch.zeros(2, 3, 96, 96)).shape == (2,)


def test_center32_takes_its_crop_only():
    with pytest.raises(InputError, match=r"center32_3conv sees the central 32 × 32 pixels: set crop: 32, found 96"):
        build({"name": "center32_3conv"}, 96)


def test_options_of_batchnorm_gap():
    network = build(
        {"name": "batchnorm_gap", "filters": [48, 96, 160], "convolutions": 1, "dropout": 0.6, "dense": 64}, 96
    )
    # By hand: three convolutions, their batch normalisations with running values, the dense layer, the logit.
    kernels = (27 * 48 + 48) + (9 * 48 * 96 + 96) + (9 * 96 * 160 + 160)
    assert count(network.body)[0] == kernels + 4 * (48 + 96 + 160) + (160 * 64 + 64) + (64 + 1)
    assert [layer.p for layer in network.body if isinstance(layer, nn.Dropout)] == [0.6]


@pytest.mark.parametrize("wrong", [{"filters": [32, 64]}, {"convolutions": 3}])
def test_options_that_do_not_fit(wrong):
    with pytest.raises(InputError, match="batchnorm_gap: expected three numbers of filters and 1 or 2 convolutions"):
        build({"name": "batchnorm_gap", **wrong}, 96)


def test_layers_start_and_average_as_in_keras():
    torch.manual_seed(0)
    body = build({"name": "batchnorm_4conv"}, 96).body
    first, norm = body[0], body[1]
    assert first.weight.abs().max() <= (6 / (27 + 9 * 32)) ** 0.5  # Glorot's bound
    assert first.weight.abs().max() > 0.9 * (6 / (27 + 9 * 32)) ** 0.5 and not first.bias.any()
    norm.train()(torch.ones(2, 32, 4, 4))
    assert torch.allclose(norm.running_mean, torch.tensor(0.01)) and norm.eps == 0.001
