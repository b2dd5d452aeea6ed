"""EfficientNet-Lite: equal to the package that its weights come from; frozen stages; damaged weights."""

from dataclasses import replace

import pytest
import torch
from efficientnet_lite_pytorch import utils
from efficientnet_lite_pytorch.model import EfficientNet

from histo.errors import InputError
from histo.geometry import Geometry
from histo.networks import efficientnet_lite
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


def reference(name, state, side):
    blocks, options = utils.get_model_params(name, {})
    network = EfficientNet(blocks, options._replace(image_size=side))
    network.load_state_dict(state)
    return network.eval()


@pytest.mark.parametrize(
    ("variant", "side"),
    [
        (efficientnet_lite.LITE0, 96), (efficientnet_lite.LITE0, 150), (efficientnet_lite.LITE0, 192),
        (efficientnet_lite.LITE2, 96), (efficientnet_lite.LITE2, 192),
    ],
    ids=lambda value: getattr(value, "name", value),
)  # fmt: skip
def test_imagenet_logits_are_those_of_the_package(variant, side):
    """The head has one class here, so the package's last layer is applied to the pooled features."""
    state = torch.load(efficientnet_lite.weights_path(variant), weights_only=True)
    network, maps = pretrained(None if side == 96 else side, name=variant.name).eval(), []
    network.body.head.register_forward_pre_hook(lambda module, args: maps.append(args[0]))
    tiles = torch.from_numpy(images(4)).permute(0, 3, 1, 2)
    inputs = (tiles.float() - 127) / 128
    if side != 96:
        inputs = torch.nn.functional.interpolate(inputs, (side, side), mode="bilinear")
    with torch.inference_mode():
        network(tiles)
        logits = maps[0].mean((2, 3)) @ state["_fc.weight"].T + state["_fc.bias"]
        expected = reference(variant.name.replace("_", "-"), state, side)(inputs)
    assert expected.std() > 0.5
    assert torch.allclose(logits, expected, atol=1e-4)


@pytest.mark.parametrize(("name", "parameters"), [("efficientnet_lite0", 4_652_008), ("efficientnet_lite2", 6_092_072)])
def test_number_of_parameters(name, parameters):
    """The head has 2,561 parameters, that of the package's network 1,281,000."""
    assert count(build(SETTINGS | {"name": name}, 96).body)[1] == parameters - 1_281_000 + 2_561


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
        assert torch.allclose(efficientnet_lite.normalised(block.expand_conv, block.bn0, x), parts, atol=1e-4)
    frozen.train()
    frozen.body.bn1.eval()  # of the layer after the stages
    logits = frozen(tiles)
    assert torch.allclose(logits, expected, atol=1e-3)
    logits.sum().backward()
    assert {name for name, p in frozen.named_parameters() if p.grad is not None} == {
        "body.conv_head.weight", "body.bn1.weight", "body.bn1.bias", "body.head.linear.weight", "body.head.linear.bias",
    }  # fmt: skip


def test_bfloat16_on_a_cpu_keeps_float32_where_its_gradients_are_slow():
    """In trained depthwise convolutions with a stride; those without one are DepthwiseConvolution."""
    network, types = pretrained(frozen_stages=3).train(), {}
    for name, module in network.body.named_modules():
        if isinstance(module, efficientnet_lite.SameConv):
            module.register_forward_hook(remember(types, name))
    with torch.autocast("cpu", torch.bfloat16):
        logits = network(torch.from_numpy(images(4)).permute(0, 3, 1, 2))
    single = {name for name, dtype in types.items() if dtype == torch.float32}
    assert single == {f"blocks.{block}.depthwise_conv" for block in (5, 11)}  # the first ones of stages 4 and 6
    assert len(types) == 1 + 2 + 15 * 3 + 1
    with torch.profiler.profile() as profile:
        logits.sum().backward()
    counts = {event.key: event.count for event in profile.key_averages()}
    assert counts["DepthwiseConvolutionBackward"] == 9  # of the 11 blocks that are trained


def test_gradients_on_a_cpu_are_those_of_pytorch(monkeypatch):
    """Also where torch.compile traces the network, which has PyTorch's convolutions."""
    torch.manual_seed(1)
    network, tiles = pretrained(192, frozen_stages=3).train(), torch.from_numpy(images(4)).permute(0, 3, 1, 2)
    found = gradients_of(network, tiles)
    with monkeypatch.context() as patch:
        patch.setattr(torch.compiler, "is_compiling", lambda: True)
        expected = gradients_of(network, tiles)
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert torch.allclose(found[name], value, rtol=1e-3, atol=1e-3 * float(value.abs().max())), name


def gradients_of(network, tiles):
    network.zero_grad()
    network(tiles).sum().backward()
    return {name: p.grad.clone() for name, p in network.named_parameters() if p.grad is not None}


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
    damaged.write_bytes(efficientnet_lite.weights_path(efficientnet_lite.LITE0).read_bytes()[:-1])
    with monkeypatch.context() as patch:
        patch.setattr(efficientnet_lite, "weights_path", lambda variant: damaged)
        with pytest.raises(InputError, match=r"weights\.pth: expected the ImageNet weights with the SHA-256 57934424"):
            load_pretrained(network, SETTINGS, None)
    network.body.variant = replace(network.body.variant, package="a-package-that-does-not-exist")
    with pytest.raises(InputError, match="a-package-that-does-not-exist, which is not installed"):
        load_pretrained(network, SETTINGS, None)
