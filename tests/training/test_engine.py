"""Schedule, loss, precision, optimizers and training steps against values computed by hand."""

import math
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from histo.errors import InputError
from histo.networks.dihedral import dihedral
from histo.networks.network import build
from histo.tiles.shards import open_shards
from histo.training import engine as module
from histo.training.engine import Engine, learning_rate, loss, optimizer, precision, predict_logits, targets
from histo.training.loader import TileLoader
from histo.training.processes import Processes
from support.training import images, make_split, settings

CPU = torch.device("cpu")
PLAIN, GROUPED = torch.nn.Conv2d(4, 4, 1), torch.nn.Conv2d(4, 4, 1, groups=2)


@pytest.fixture(scope="module")
def tiles(tmp_path_factory):
    paths, frame = make_split(tmp_path_factory.mktemp("shards"), "train", (20, 24))
    return TileLoader(open_shards(paths, "train"), frame, CPU)


def new(steps=10, **changes):
    """Engine of the tiny network with these settings."""
    chosen = settings(**changes)
    torch.manual_seed(0)
    return Engine(build(chosen.network.model_dump(), chosen.center_crop), chosen, CPU, steps)


def batch(tiles):
    """Images and labels of the first 16 tiles."""
    return torch.from_numpy(tiles.gather(np.arange(16))).permute(0, 3, 1, 2), torch.arange(16) % 2 * 1.0


def test_one_cycle_rises_to_the_peak_and_falls():
    chosen = settings(learning_rate=0.01, warmup=0.25)
    rates = [learning_rate(step, 100, chosen) for step in range(100)]
    assert learning_rate(0, 10**6, chosen) == pytest.approx(0.01 / 25, rel=1e-3)
    assert rates[25] == 0.01 == max(rates)
    assert learning_rate(10**6 - 1, 10**6, chosen) == pytest.approx(0.01 / 1e4, rel=1e-3)
    assert all(np.diff(rates[:26]) > 0) and all(np.diff(rates[25:]) < 0)


def test_cosine_is_a_linear_warmup_and_half_a_cosine():
    chosen = settings(learning_rate=0.01, warmup=0.1, schedule="cosine")
    rates = [learning_rate(step, 110, chosen) for step in range(110)]
    assert rates[:11] == pytest.approx([0.01 * (step + 1) / 12 for step in range(11)])
    assert rates[11] == pytest.approx(0.01)
    assert rates[11 + 49] == pytest.approx(0.01 * (1 + math.cos(math.pi * 49 / 99)) / 2)
    without = settings(learning_rate=0.01, warmup=0.0, schedule="cosine")
    assert learning_rate(0, 10, without) == 0.01


def test_loss_is_cross_entropy_with_each_option():
    logits, labels = torch.tensor([2.0, -1.0, 0.5]), torch.tensor([1.0, 0.0, 0.0])
    p = 1 / (1 + np.exp(-logits.numpy().astype(float)))
    right = np.where(labels == 1, p, 1 - p)
    assert loss(logits, labels, settings()).item() == pytest.approx(-np.log(right).mean())
    weighted = loss(logits, labels, settings(pos_weight=3.0)).item()
    assert weighted == pytest.approx((-np.log(right) * [3, 1, 1]).mean())
    focal = loss(logits, labels, settings(focal_gamma=2.0)).item()
    assert focal == pytest.approx((-np.log(right) * (1 - right) ** 2).mean())
    smooth = loss(logits, labels, settings(label_smoothing=0.2)).item()
    target = np.array([0.9, 0.1, 0.1])
    assert smooth == pytest.approx(-(target * np.log(p) + (1 - target) * np.log(1 - p)).mean())
    with pytest.raises(ValueError, match="pos_weight: expected a number, found None"):
        loss(logits, labels, settings(pos_weight=None))


def test_loss_of_several_classes_is_cross_entropy_with_each_option():
    logits, labels = torch.tensor([[2.0, -1.0, 0.5], [0.3, 0.1, 0.0]]), torch.tensor([0.0, 2.0])
    shares = targets(labels, 3)
    assert shares.tolist() == [[1, 0, 0], [0, 0, 1]]
    for smoothing in (0.0, 0.2):
        expected = torch.nn.functional.cross_entropy(logits, labels.long(), label_smoothing=smoothing)
        assert loss(logits, shares, settings(label_smoothing=smoothing)).item() == pytest.approx(expected.item())
    p = torch.softmax(logits, 1)[[0, 1], [0, 2]]
    focal = loss(logits, shares, settings(focal_gamma=2.0)).item()
    assert focal == pytest.approx((-(p.log()) * (1 - p) ** 2).mean().item())
    assert targets(labels, 2) is labels


def test_precision_auto_depends_on_the_hardware(monkeypatch):
    for native, expected in ((True, torch.bfloat16), (False, torch.float32)):
        monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda native=native: native, raising=False)
        monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False, raising=False)
        assert precision("auto", CPU, PLAIN) == expected
        assert precision("auto", CPU, GROUPED) == torch.float32
    gpu = torch.device("cuda", 0)
    for capability, expected in (((9, 0), torch.bfloat16), ((7, 5), torch.float16)):
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device, c=capability: c)
        assert precision("auto", gpu, GROUPED) == expected
    assert precision("float32", gpu, PLAIN) == torch.float32
    mps = torch.device("mps")
    assert precision("auto", mps, PLAIN) == precision("float32", mps, PLAIN) == torch.float32
    for device in (CPU, mps):
        with pytest.raises(InputError, match="float16 needs a GPU with CUDA"):
            precision("float16", device, PLAIN)


def test_pretrained_layers_have_their_own_learning_rate():
    chosen = settings(
        network={"name": "efficientnet_lite0", "weights": "imagenet"}, normalisation="imagenet",
        learning_rate=1e-3, pretrained_learning_rate=2e-4, weight_decay=0.1,
    )  # fmt: skip
    engine = Engine(build(chosen.network.model_dump(), 96), chosen, CPU, steps=10)
    names = {id(value): name for name, value in engine.network.named_parameters()}
    groups = [
        ({names[id(p)].startswith("body.head.") for p in group["params"]}, group["factor"], group["weight_decay"])
        for group in engine.optimizer.param_groups
    ]
    assert groups == [({True}, 1, 0.1), ({True}, 1, 0), ({False}, 0.2, 0.1), ({False}, 0.2, 0)]
    assert sum(len(group["params"]) for group in engine.optimizer.param_groups) == len(names)
    engine.train_step(torch.zeros(2, 3, 96, 96, dtype=torch.uint8), torch.tensor([0.0, 1.0]))
    peak = learning_rate(0, 10, chosen)
    assert [group["lr"] for group in engine.optimizer.param_groups] == [peak, peak, peak * 0.2, peak * 0.2]


@pytest.mark.parametrize(("name", "kind"), [("adam", "Adam"), ("adamw", "AdamW")])
def test_optimizers_are_fused_except_on_mps(monkeypatch, name, kind):
    monkeypatch.setattr(torch.optim, kind, lambda parameters, **options: options["fused"])
    for device, fused in (("cpu", True), ("cuda", True), ("mps", False)):
        weight = SimpleNamespace(device=torch.device(device), requires_grad=True, ndim=2)
        network = SimpleNamespace(named_parameters=lambda weight=weight: [("weight", weight)])
        assert optimizer(network, settings(optimizer=name)) is fused


@pytest.mark.parametrize("kind", ["float32", "bfloat16"])
def test_it_overfits_one_batch(tiles, kind):
    engine = new(steps=40, precision=kind, warmup=0.2)
    losses = [engine.train_step(*batch(tiles)).item() for _ in range(40)]
    assert losses[0] > 0.5 and losses[-1] < 0.2 * losses[0]


def test_weight_decay_exempts_biases_and_scales():
    engine = new(weight_decay=0.1)
    decayed, exempt = engine.optimizer.param_groups
    assert decayed["weight_decay"] == 0.1 and all(p.ndim > 1 for p in decayed["params"])
    assert exempt["weight_decay"] == 0.0 and all(p.ndim == 1 for p in exempt["params"])
    assert len(decayed["params"]) + len(exempt["params"]) == len(list(engine.network.parameters()))


def test_gradient_clip_bounds_the_norm(tiles):
    for clip in (0.01, 0.0):
        engine = new(gradient_clip=clip)
        engine.train_step(*batch(tiles))
        norm = torch.sqrt(sum((p.grad**2).sum() for p in engine.network.parameters())).item()
        assert norm <= 0.01001 if clip else norm > 0.1


def test_the_average_has_the_bits_of_an_update_tensor_by_tensor():
    torch.manual_seed(1)
    options = {"name": "residual", "width": 8, "blocks": 1, "dropout": 0.0}
    network, average, expected = (build(options, 64) for _ in range(3))
    expected.load_state_dict(average.state_dict())
    averaged = module.Averaged(average, network)
    for decay in (0.5, 0.999, 0.1):
        averaged.update(decay)
        with torch.no_grad():
            for mean, current in zip(expected.state_dict().values(), network.state_dict().values(), strict=True):
                mean.lerp_(current, 1 - decay) if mean.is_floating_point() else mean.copy_(current)
            for parameter in network.parameters():
                parameter.mul_(1.1)
    for key, value in average.state_dict().items():
        assert torch.equal(value, expected.state_dict()[key]), key


def test_ema_is_the_moving_average(tiles):
    engine = new(ema=0.9)
    expected = {key: value.double().clone() for key, value in engine.network.state_dict().items()}
    for step in range(1, 6):
        engine.train_step(*batch(tiles))
        decay = min(0.9, (1 + step) / (10 + step))
        for key, value in engine.network.state_dict().items():
            expected[key] = decay * expected[key] + (1 - decay) * value.double()
    for key, value in engine.ema.state_dict().items():
        if value.is_floating_point():
            assert torch.allclose(value.double(), expected[key], atol=1e-5), key
    assert engine.ema.state_dict()["body.1.num_batches_tracked"] == 5
    assert new().ema is None


def test_the_network_to_validate_is_that_of_the_checkpoint():
    for checkpoint in ("last", "best"):
        engine = new(ema=0.9, checkpoint=checkpoint)
        assert engine.eval_network is engine.network
    engine = new(ema=0.9, checkpoint="ema")
    assert engine.eval_network is engine.ema


@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_restored_state_gives_the_same_bits(tiles, dropout):
    chosen = {"ema": 0.9, "network": {"name": "residual", "width": 8, "blocks": 1, "dropout": dropout}}
    undisturbed, first = new(**chosen), new(**chosen)
    for _ in range(6):
        undisturbed.train_step(*batch(tiles))
    for _ in range(3):
        first.train_step(*batch(tiles))
    second = new(**chosen)
    second.load_state_dict(first.state_dict())
    for _ in range(3):
        second.train_step(*batch(tiles))
    for expected, found in ((undisturbed.network, second.network), (undisturbed.ema, second.ema)):
        assert all(
            torch.equal(a, b) for a, b in zip(expected.state_dict().values(), found.state_dict().values(), strict=True)
        )


def test_each_view_has_a_column(tiles, monkeypatch):
    network = new().network.eval()
    every_tile = torch.from_numpy(tiles.gather(np.arange(len(tiles))))
    with torch.inference_mode():
        single = [network(dihedral(every_tile, view).permute(0, 3, 1, 2)).numpy() for view in range(8)]
    monkeypatch.setattr(module, "INFERENCE_BATCH", 16)
    for tta, views in (("none", 1), ("flips", 4), ("all", 8)):
        found = predict_logits(network, tiles, torch.float32, tta)
        assert found.shape == (len(tiles), views) and found.dtype == np.float32
        assert np.allclose(found, np.stack(single[:views], axis=1), atol=1e-5)
    assert np.ptp(single, axis=0).max() > 1e-4


def test_an_invariant_network_computes_one_view(tiles):
    options = {"name": "p4m_residual", "width": 8, "blocks": 1, "hidden": 8, "dropout": 0.0}
    network, calls = build(options, 96).eval(), []
    network.register_forward_pre_hook(lambda module, args: calls.append(len(args[0])))
    found = predict_logits(network, tiles, torch.float32, "all")
    assert calls == [len(tiles)] and found.shape == (len(tiles), 8)
    assert np.ptp(found, axis=1).max() == 0
    network.invariant = False
    assert np.allclose(predict_logits(network, tiles, torch.float32, "all"), found, atol=1e-4)


def test_cuda_graphs_are_for_gpus_alone(monkeypatch):
    network, gpu = torch.nn.Linear(1, 1), torch.device("cuda", 0)
    monkeypatch.setattr(torch, "compile", lambda module, **options: options)
    graphs = {"mode": "reduce-overhead", "dynamic": False}
    for both in (False, True):
        assert module.compiled(network, settings(cuda_graphs=True, compile=both), gpu) == graphs
    assert module.compiled(network, settings(cuda_graphs=True), CPU) is network
    assert module.compiled(network, settings(cuda_graphs=True, compile=True), CPU) == {}
    assert module.compiled(network, settings(), gpu) is network


def test_a_compiled_network_is_refused_by_several_processes(monkeypatch):
    monkeypatch.setattr(torch, "compile", lambda module: lambda tiles: module(tiles))
    chosen = settings(compile=True)
    network = build(chosen.network.model_dump(), chosen.center_crop)
    with pytest.raises(InputError, match="compile, cuda_graphs: not supported by several GPUs per training"):
        Engine(network, chosen, CPU, 10, Processes(1, 2), 16)


def test_what_a_cuda_graph_updates_keeps_its_address(tiles):
    """A graph holds the addresses of parameters, buffers and the state of the optimizer; gradients are its own."""

    def addresses(engine):
        state = [value for values in engine.optimizer.state.values() for value in values.values()]
        return [tensor.data_ptr() for tensor in [*engine.network.state_dict().values(), *state]]

    engine, gradients = new(ema=0.9), []
    engine.network.register_forward_pre_hook(
        lambda network, arguments: gradients.extend(p.grad for p in network.parameters() if p.grad is not None)
    )
    engine.train_step(*batch(tiles))
    first = addresses(engine)
    for _ in range(2):
        engine.train_step(*batch(tiles))
    assert addresses(engine) == first
    assert gradients == []  # freed before the forward pass


def test_compiled_network_shares_its_parameters():
    engine = new(compile=True)
    assert engine._forward is not engine.network
    assert [p.data_ptr() for p in engine._forward.parameters()] == [p.data_ptr() for p in engine.network.parameters()]


def test_a_run_resumes_in_a_precision_with_loss_scaling():
    """Started in bfloat16, which needs no loss scaling, and resumed on a GPU that supports only float16."""
    engine = new()
    state = engine.state_dict()
    assert state["scaler"] == {}
    engine.scaler = torch.amp.GradScaler("cpu", enabled=True)
    engine.load_state_dict(state | {"step": 7})
    assert engine.step == 7


def test_weight_decay_of_adam_is_part_of_the_gradient_and_of_adamw_decoupled():
    moved = {}
    for name in ("adam", "adamw"):
        layer = torch.nn.Linear(1, 1)
        with torch.no_grad():
            layer.weight.fill_(2.0)
            layer.bias.fill_(2.0)
        stepper = optimizer(layer, settings(optimizer=name, learning_rate=0.1, weight_decay=0.5))
        for parameter in layer.parameters():
            parameter.grad = torch.zeros_like(parameter)
        stepper.step()
        moved[name] = layer.weight.item(), layer.bias.item()
    # Adam's first step is the learning rate in the direction of the decay; AdamW shrinks all but biases by lr × decay.
    assert moved["adam"] == pytest.approx((1.9, 1.9))
    assert moved["adamw"] == pytest.approx((1.9, 2.0))


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler on the CPU")
def test_a_compiled_network_takes_the_same_steps():
    tiles = torch.from_numpy(images(16)).permute(0, 3, 1, 2)[..., :32, :32]
    labels = (torch.arange(16) % 2).float()
    losses = {}
    for compiled in (False, True):
        options = {"name": "p4m_residual", "width": 8, "blocks": 1, "hidden": 8, "dropout": 0.0}
        chosen = settings(network=options, compile=compiled)
        torch.manual_seed(0)
        engine = Engine(build(options, 32), chosen, torch.device("cpu"), 10)
        losses[compiled] = [engine.train_step(tiles, labels).item() for _ in range(4)]
    assert losses[True] == pytest.approx(losses[False], abs=1e-4)
    assert losses[True][3] < losses[True][0] - 0.01
