"""timm's networks: one logit per tile, and the weights in a file for all but the head."""

import sys

import pytest
import timm
import torch
from safetensors.torch import save_file

from histo.config.train import TrainSettings
from histo.errors import InputError
from histo.networks.network import build, head_parameters, imagenet_normalisation, load_pretrained

RESNET = {"name": "timm", "model": "resnet10t"}


def write_weights(path, model, **options):
    """Write random weights as timm publishes them, with a head of 1000 classes; return them."""
    torch.manual_seed(1)
    state = timm.create_model(model, **options).state_dict()
    save_file(state, path) if path.suffix == ".safetensors" else torch.save(state, path)
    return state


@pytest.mark.parametrize(
    ("model", "suffix"),
    [("resnet10t", "safetensors"), ("convnext_atto.d2_in1k", "pth"), ("mobilenetv3_small_050", "pth")],
)
def test_all_weights_but_those_of_the_head_are_loaded(tmp_path, model, suffix):
    settings = {"name": "timm", "model": model, "weights": str(tmp_path / f"weights.{suffix}")}
    state = write_weights(tmp_path / f"weights.{suffix}", model)
    network = build(settings, 64).eval()
    before = {key: value.clone() for key, value in network.body.state_dict().items()}
    load_pretrained(network, settings, settings["weights"])
    head = {name.removeprefix("body.") for name in head_parameters(network, settings)}
    assert len(head) == 2
    for key, value in network.body.state_dict().items():
        assert torch.equal(value, before[key] if key in head else state[key]), key
    assert network(torch.zeros(3, 3, 96, 96)).shape == (3,)


def test_a_network_of_fixed_size_is_built_for_the_size_of_the_input(tmp_path):
    settings = {"name": "timm", "model": "vit_tiny_patch16_224", "weights": str(tmp_path / "weights.pth")}
    state = write_weights(tmp_path / "weights.pth", "vit_tiny_patch16_224")
    network = build(settings, 96, input_size=112).eval()
    load_pretrained(network, settings, settings["weights"])
    assert network.body.pos_embed.shape[1] == 1 + 7 * 7
    assert torch.equal(network.body.pos_embed[:, 0], state["pos_embed"][:, 0])
    assert network(torch.zeros(2, 3, 96, 96)).shape == (2,)
    assert imagenet_normalisation(settings) == ([0.5] * 3, [0.5] * 3)
    assert imagenet_normalisation(RESNET)[0] == [0.485, 0.456, 0.406]


def test_what_cannot_be_used_is_one_message(tmp_path, monkeypatch):
    with pytest.raises(InputError, match=r"^network\.model: expected a name of timm's list_models\(\), found 'resnet'"):
        build(RESNET | {"model": "resnet"}, 96)
    network, path = build(RESNET, 64), tmp_path / "weights.pth"
    with pytest.raises(InputError, match=r"weights\.pth: .* found no such file\. Correct network\.weights"):
        load_pretrained(network, RESNET, path)
    path.write_bytes(b"no weights")
    with pytest.raises(InputError, match=r"weights\.pth: .* does not fit or cannot be read"):
        load_pretrained(network, RESNET, path)
    write_weights(path, "resnet14t")
    with pytest.raises(InputError, match=r"expected the weights of timm's resnet10t, found a file that does not fit"):
        load_pretrained(network, RESNET, path)
    with pytest.raises(ValueError, match="nothing is downloaded"):
        TrainSettings(network=RESNET | {"weights": "imagenet"})
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(InputError, match=r"expected the package timm, found none\. Install it"):
        build(RESNET, 96)
