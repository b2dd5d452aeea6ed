"""torchvision's networks: one logit per tile, and the weights in a file for all but the head."""

from collections import OrderedDict

import pytest
import torch
from torchvision import models

from histo.config.network import TOO_COARSE
from histo.errors import InputError
from histo.hashes import file_sha256
from histo.networks.network import build, count
from histo.networks.torchvision import head_parameters, load_weights
from histo.training import checkpoints
from histo.training.loop import train
from support.training import CODE, images, make_split, settings, write_folds

SMALL = {"name": "mobilenet_v3_small", "weights": "imagenet"}


def write_weights(path, name, **options):
    """Write a file as torchvision publishes it, random weights with a head of 1000 classes; return the weights."""
    torch.manual_seed(1)
    state = models.get_model(name, weights=None, **options).state_dict()
    torch.save(state, path)
    return state


def build_and_load(path, name, crop=96):
    network = build({"name": name, "weights": str(path)}, crop)
    load_weights(network.body, {"name": name}, crop, path)
    return network.eval()


def assert_all_but_the_head(network, state, name, crop=96):
    own, head = network.body.state_dict(), head_parameters(network.body, name, crop)
    assert 0 < len(head) <= 2
    assert all(torch.equal(own[key], state[key]) for key in own if key not in head)
    assert all(own[key].shape[0] == 1 for key in head)


@pytest.mark.parametrize(
    "name", ["mobilenet_v3_small", "squeezenet1_1", "shufflenet_v2_x0_5", "googlenet", "regnet_y_400mf", "swin_t"]
)
def test_one_logit_per_tile(name):
    torch.manual_seed(0)
    network = build({"name": name}, 96).eval()
    with torch.no_grad():
        logits = network(torch.from_numpy(images(3)).permute(0, 3, 1, 2))
    assert logits.shape == (3,) and logits.isfinite().all()


def test_logits_of_squeezenet_may_be_negative():
    torch.manual_seed(0)
    network = build({"name": "squeezenet1_1"}, 64).eval()
    with torch.no_grad():
        network.body.classifier[1].bias.fill_(-5.0)
        assert (network(torch.zeros(2, 3, 96, 96)) < 0).all()


# torchvision states 7,978,856 and 21,797,672 parameters: minus the head of 1,000 classes, plus that of one class, plus
# the running statistics of batch normalisation, 2 × 41,824 and 2 × 8,512.
@pytest.mark.parametrize(
    ("name", "trainable", "running"),
    [
        ("densenet121", 7_978_856 - 1024 * 1000 - 1000 + 1024 + 1, 2 * 41_824),
        ("resnet34", 21_797_672 - 512 * 1000 - 1000 + 512 + 1, 2 * 8_512),
    ],
)
def test_number_of_parameters(name, trainable, running):
    assert count(build({"name": name}, 96).body) == (trainable + running, trainable)


@pytest.mark.parametrize("name", TOO_COARSE)
def test_networks_that_support_no_tile_size(name):
    with pytest.raises(InputError, match=f"{name} cannot be built for tiles of 96 pixels"):
        build({"name": name}, 96)


def test_a_crop_that_is_too_small():
    with pytest.raises(InputError, match=r"network alexnet cannot be built for tiles of 32 pixels \(.*Set a larger"):
        build({"name": "alexnet"}, 32)


def test_options_of_other_networks_are_refused():
    with pytest.raises(InputError, match=r"network resnet18: its options are wrong .*width"):
        build({"name": "resnet18", "width": 8}, 96)


@pytest.mark.parametrize("name", ["mobilenet_v3_small", "squeezenet1_1", "mnasnet0_5"])
def test_all_weights_but_the_head_are_build_and_load(tmp_path, name):
    state = write_weights(tmp_path / "w.pth", name)
    assert_all_but_the_head(build_and_load(tmp_path / "w.pth", name), state, name)


def test_logits_depend_on_the_file_only(tmp_path):
    """Two networks of different random weights have the same logits after loading the same file, with equal heads."""
    write_weights(tmp_path / "w.pth", "mobilenet_v3_small")
    tiles, logits = torch.from_numpy(images(2)).permute(0, 3, 1, 2), []
    for seed in (5, 6):
        torch.manual_seed(seed)
        network = build_and_load(tmp_path / "w.pth", "mobilenet_v3_small")
        with torch.no_grad():
            network.body.classifier[-1].weight.fill_(0.01)
            network.body.classifier[-1].bias.zero_()
            logits.append(network(tiles))
    assert torch.equal(*logits)


def test_auxiliary_classifiers_are_not_build_and_load(tmp_path):
    state = write_weights(tmp_path / "w.pth", "googlenet", init_weights=False, aux_logits=True)
    assert any(key.startswith("aux1.") for key in state)
    network = build_and_load(tmp_path / "w.pth", "googlenet")
    assert_all_but_the_head(network, state, "googlenet")
    assert network.body.transform_input  # its weights were trained with another normalisation
    assert not build({"name": "googlenet"}, 96).body.transform_input


def test_keys_of_old_densenet_files(tmp_path):
    """As in torchvision's files: norm.1 instead of norm1, and no num_batches_tracked."""
    state = write_weights(tmp_path / "w.pth", "densenet121")
    old = OrderedDict()
    for key, value in state.items():
        for part in ("norm1", "norm2", "conv1", "conv2"):
            key = key.replace(f".{part}.", f".{part[:-1]}.{part[-1]}.") if "denselayer" in key else key
        if not key.endswith("num_batches_tracked"):
            old[key] = value
    assert "features.denseblock1.denselayer1.norm.1.weight" in old
    torch.save(old, tmp_path / "w.pth")
    assert_all_but_the_head(build_and_load(tmp_path / "w.pth", "densenet121"), state, "densenet121")


@pytest.mark.slow
def test_position_embeddings_are_interpolated(tmp_path):
    state = write_weights(tmp_path / "w.pth", "vit_b_32")
    with torch.no_grad():
        state["encoder.pos_embedding"][:, 1:] = 0.25
        torch.save(state, tmp_path / "w.pth")
    embedding = build_and_load(tmp_path / "w.pth", "vit_b_32").body.encoder.pos_embedding
    assert embedding.shape == (1, 10, 768) and torch.allclose(embedding[:, 1:], torch.tensor(0.25))
    assert torch.equal(embedding[:, 0], state["encoder.pos_embedding"][:, 0])


def damage(state, fault):
    if fault == "missing":
        del state["features.0.0.weight"]
    elif fault == "unexpected":
        state["features.99.weight"] = torch.zeros(1)
    elif fault == "wrong shape":
        state["features.0.0.weight"] = torch.zeros(16, 3, 5, 5)
    elif fault == "wrapped":
        state = {"epoch": 3, "state_dict": state}
    return state


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("missing", r"missing: features\.0\.0\.weight"),
        ("unexpected", r"unexpected: features\.99\.weight"),
        ("wrong shape", r"wrong shape: features\.0\.0\.weight \[16, 3, 5, 5\] instead of \[16, 3, 3, 3\]"),
        ("wrapped", r"a mapping of names to tensors, found a mapping with epoch, state_dict"),
    ],
)
def test_a_file_of_other_content_is_refused(tmp_path, fault, message):
    path = tmp_path / "w.pth"
    torch.save(damage(write_weights(path, "mobilenet_v3_small"), fault), path)
    with pytest.raises(InputError, match=rf"w\.pth: expected .*mobilenet_v3_small.*{message}"):
        build_and_load(path, "mobilenet_v3_small")


def test_a_file_of_another_network_is_refused(tmp_path):
    write_weights(tmp_path / "w.pth", "squeezenet1_1")
    with pytest.raises(InputError, match=r"missing: .* and \d+ more; unexpected: .*Correct network\.name"):
        build_and_load(tmp_path / "w.pth", "mobilenet_v3_small")


def test_a_missing_or_unreadable_file_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"w\.pth: expected .*mobilenet_v3_small, found no such file"):
        build_and_load(tmp_path / "w.pth", "mobilenet_v3_small")
    (tmp_path / "w.pth").write_bytes(b"<html>")
    with pytest.raises(InputError, match="found a file that cannot be read"):
        build_and_load(tmp_path / "w.pth", "mobilenet_v3_small")


def test_weights_are_refused_for_other_networks(tmp_path):
    body = build({"name": "plain_2conv"}, 32).body
    with pytest.raises(InputError, match=r"network\.weights: .* of torchvision only, found plain_2conv\. Remove"):
        load_weights(body, {"name": "plain_2conv"}, 32, tmp_path / "w.pth")


def test_training_starts_from_the_file_and_prediction_does_not_need_it(tmp_path):
    state = write_weights(tmp_path / "w.pth", "mobilenet_v3_small")
    digits = file_sha256(tmp_path / "w.pth")[:8]
    file = (tmp_path / "w.pth").rename(tmp_path / f"mobilenet_v3_small-{digits}.pth")
    shards, frame = make_split(tmp_path, "train", (48,))
    write_folds(frame, tmp_path / "folds.parquet")
    chosen = settings(
        network=SMALL, center_crop=64, normalisation="imagenet", epochs=1, learning_rate=1e-9, schedule="constant",
        weight_decay=0,
    )  # fmt: skip

    def run(weights_in):
        train(
            shards, str(tmp_path / "folds.parquet"), str(tmp_path / "weights.pt"), str(tmp_path / "history.csv"),
            str(tmp_path / "training.json"), fold=0, settings=chosen, code=CODE,
            resume_path=tmp_path / "resume.pt", weights_in=weights_in,
        )  # fmt: skip

    with pytest.raises(InputError, match=r"network\.weights: imagenet needs a file of pretrained weights"):
        run(None)
    other = tmp_path / "mobilenet_v3_small-00000000.pth"
    other.write_bytes(file.read_bytes())
    with pytest.raises(
        InputError, match=rf"-00000000\.pth: expected .* begins with 00000000, found the SHA-256 {digits}"
    ):
        run(str(other))
    run(str(file))
    file.unlink()
    network = checkpoints.load_network(checkpoints.load(tmp_path / "weights.pt"))
    kernel = network.body.features[0][0].weight
    assert torch.allclose(kernel, state["features.0.0.weight"], atol=1e-6)
    assert torch.allclose(network.mean.flatten(), torch.tensor([0.485, 0.456, 0.406]))
