"""The names of the networks, and the files that their training starts from."""

import yaml
from torchvision import models

from histo.networks.names import BUILDERS, OWN, TORCHVISION, network_module, weights_file
from histo.networks.network import builder
from support import ROOT
from support.imports import loaded_modules

ADDRESS = yaml.safe_load((ROOT / "config" / "config.yaml").read_text())["imagenet_weights"]["address"]


def test_each_name_has_a_function_that_builds_its_network():
    assert BUILDERS.keys() == {*OWN, *TORCHVISION, "custom", "timm"}
    for name in (*OWN, "custom", "timm"):
        assert f"{builder(name).__module__}:{builder(name).__name__}" == f"histo.networks.{BUILDERS[name]}"
    assert network_module("p4m_residual") == "histo.networks.equivariant"
    assert {network_module(name) for name in TORCHVISION} == {"histo.networks.torchvision"}


def test_names_and_files_are_those_of_torchvision():
    assert list(TORCHVISION) == models.list_models(module=models)
    for name, file in TORCHVISION.items():
        assert models.get_model_weights(name).DEFAULT.url == f"{ADDRESS}/{file}"


def test_the_import_does_not_load_torch():
    assert not {"torch", "torchvision"} & loaded_modules("histo.networks.names")


def test_weights_file():
    imagenet = {"name": "mobilenet_v3_small", "weights": "imagenet"}
    assert weights_file(imagenet) == "resources/imagenet_weights/mobilenet_v3_small-047dcff4.pth"
    assert weights_file({"name": "resnet18", "weights": "my/own.pth"}) == "my/own.pth"
    assert weights_file({"name": "timm", "model": "resnet18", "weights": "my/own.pth"}) == "my/own.pth"
    assert weights_file({"name": "efficientnet_lite0", "weights": "imagenet"}) is None
    assert weights_file({"name": "resnet18", "weights": "none"}) is weights_file({"name": "residual"}) is None
