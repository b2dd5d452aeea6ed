"""The networks of published notebooks: their numbers of parameters, their layers and their recipes."""

import pytest
import torch
import yaml
from torch import nn

from histo.config.configuration import model_settings, search_settings
from histo.errors import InputError
from histo.networks.names import OWN
from histo.networks.network import build, count
from histo.overrides import merge
from support import ROOT
from support.training import images

NAMES = [name for name, builder in OWN.items() if builder.startswith("published:")]
CROPS = {name: 32 if name == "center32_3conv" else 96 for name in NAMES}


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


@pytest.mark.parametrize("name", NAMES)
def test_one_logit_per_tile(name):
    torch.manual_seed(0)
    network = build({"name": name}, CROPS[name]).eval()
    logits = network(torch.from_numpy(images(3)).permute(0, 3, 1, 2))
    assert logits.shape == (3,) and len(set(logits.tolist())) == 3
    assert isinstance(network.body[-1], nn.Linear)  # no activation after it


@pytest.mark.parametrize("name", [name for name in NAMES if name != "center32_3conv"])
@pytest.mark.parametrize("crop", [32, 64])
def test_dense_layers_depend_on_the_crop(name, crop):
    assert build({"name": name}, crop).eval()(torch.zeros(2, 3, 96, 96)).shape == (2,)


def test_center32_requires_its_crop():
    with pytest.raises(
        InputError, match=r"center32_3conv sees the central 32 × 32 pixels only, found 96\. Set center_crop: 32"
    ):
        build({"name": "center32_3conv"}, 96)


def test_options_of_batchnorm_gap():
    network = build(
        {"name": "batchnorm_gap", "filters": [48, 96, 160], "convolutions": 1, "dropout": 0.6, "dense": 64}, 96
    )
    # By hand: three convolutions, their batch normalisations with running statistics, the dense layer, the logit.
    kernels = (27 * 48 + 48) + (9 * 48 * 96 + 96) + (9 * 96 * 160 + 160)
    assert count(network.body)[0] == kernels + 4 * (48 + 96 + 160) + (160 * 64 + 64) + (64 + 1)
    assert [layer.p for layer in network.body if isinstance(layer, nn.Dropout)] == [0.6]


@pytest.mark.parametrize("wrong", [{"filters": [32, 64]}, {"convolutions": 3}])
def test_wrong_options_are_refused(wrong):
    with pytest.raises(
        InputError, match=r"batchnorm_gap: expected three numbers .* or 2 convolutions .*Correct network\.filters"
    ):
        build({"name": "batchnorm_gap", **wrong}, 96)


def test_initialisation_and_batch_normalisation_are_those_of_keras():
    torch.manual_seed(0)
    body = build({"name": "batchnorm_4conv"}, 96).body
    first, norm = body[0], body[1]
    assert first.weight.abs().max() <= (6 / (27 + 9 * 32)) ** 0.5  # the limit of Glorot & Bengio
    assert first.weight.abs().max() > 0.9 * (6 / (27 + 9 * 32)) ** 0.5 and not first.bias.any()
    norm.train()(torch.ones(2, 32, 4, 4))
    assert torch.allclose(norm.running_mean, torch.tensor(0.01)) and norm.eps == 0.001


# Network: epochs, batch size, learning rate, crop, and the settings of `augment` that are not off.
LIGHT = {"brightness": 0.1, "contrast": 0.1}
RECIPES = {
    "plain_2conv": (5, 128, 0.001, 96, LIGHT),
    "plain_5conv": (5, 128, 0.001, 96, LIGHT),
    "batchnorm_gap": (5, 128, 0.001, 96, LIGHT),
    "plain_3conv": (10, 32, 0.001, 96, {"rotation": 20, "zoom": 0.15}),
    "batchnorm_4conv": (25, 64, 0.0005, 96, {"rotation": 20, "shift": 9.6, "shear": 0.1, "zoom": 0.1}),
    "center32_3conv": (10, 32, 0.001, 32, {"flips": False}),
    "densenet121": (20, 64, 0.001, 96, LIGHT),
    "resnet34": (20, 64, 0.001, 96, LIGHT),
}


@pytest.fixture
def config():
    """config/published.yaml merged with a default recipe that differs in every setting."""
    default = yaml.safe_load((ROOT / "config" / "config.yaml").read_text())
    default["train"] |= {
        "ema": 0.99, "checkpoint": "ema", "monitor": "loss", "patience": 2, "label_smoothing": 0.1, "pos_weight": 3.0,
        "focal_gamma": 1.0, "epochs": 99, "batch_size": 999, "learning_rate": 0.5,
    }  # fmt: skip
    default["train"]["augment"] = dict.fromkeys(default["train"]["augment"], 0.5) | {"flips": True}
    merged = merge(default, yaml.safe_load((ROOT / "config" / "published.yaml").read_text()))
    merged["train"]["augment"] |= {"mixup": 0.5, "cutmix": 0.5}
    return merged


@pytest.mark.parametrize("name", RECIPES)
def test_recipes(config, name):
    found = model_settings(config, name)
    augment = found["augment"]
    on = {key: value for key, value in augment.items() if value not in (0, True)}
    assert (found["epochs"], found["batch_size"], found["learning_rate"], found["center_crop"]) == RECIPES[name][:4]
    assert on == {key: value for key, value in RECIPES[name][4].items() if value}
    assert augment["flips"] is RECIPES[name][4].get("flips", True)
    pretrained = name in ("densenet121", "resnet34")
    assert found["weight_decay"] == (1e-5 if pretrained else 0)
    assert found["schedule"] == ("one_cycle" if pretrained else "constant")
    assert found["pos_weight"] == (None if pretrained else 1)
    assert found["network"] == {"name": name} | ({"weights": "imagenet"} if pretrained else {})
    same = ("optimizer", "gradient_clip", "ema", "checkpoint", "monitor", "patience", "label_smoothing", "focal_gamma")
    assert [found[key] for key in same] == ["adam", 0, 0, "last", "auc", 0, 0, 0]
    first = name in ("plain_2conv", "plain_5conv", "batchnorm_gap")
    assert found["normalisation"] == ("imagenet" if first or pretrained else "tiles")


def test_search_of_the_first_notebook(config):
    search = config["search"]["gap"]
    base = search_settings(config, "gap")["base"]
    assert (search["sampler"], search["trials"], search["folds"]) == ("random", 10, [0])
    assert (base["epochs"], base["monitor"], base["patience"]) == (5, "loss", 3)
    # What is sampled has the first value of its range.
    sampled = {"filters": [32, 32, 64], "dropout": 0.3, "dense": 64}
    assert base["network"] == {"name": "batchnorm_gap", "convolutions": 1} | sampled
    ranges = {name: part.get("choices") or (part["low"], part["high"]) for name, part in search["space"].items()}
    assert ranges == {
        "network.filters.0": (32, 128), "network.filters.1": (32, 128), "network.filters.2": (64, 256),
        "network.dropout": (0.3, 0.6), "network.dense": (64, 256), "learning_rate": [0.01, 0.001, 0.0001],
    }  # fmt: skip
    assert config["models"]["tuned"] == {"search": "gap", "epochs": 10, "patience": 0}
