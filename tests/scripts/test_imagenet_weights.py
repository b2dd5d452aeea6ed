"""ImageNet weights from a server on loopback: proven by the digits in their name, or one error that says what to do."""

import hashlib
import io
import random
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torchvision import models
from weights import weights

from histo.errors import InputError
from histo.training import checkpoints
from support.archives import Archive
from support.chain import snakemake
from support.file_server import FileServer


def made() -> bytes:
    """A state dict as torch.save writes it, 330 kB of random numbers."""
    buffer = io.BytesIO()
    torch.manual_seed(1)
    torch.save(nn.Linear(256, 320).state_dict(), buffer)
    return buffer.getvalue()


CONTENT = made()
NAME = f"mobilenet_v3_small-{hashlib.sha256(CONTENT).hexdigest()[:8]}.pth"


@pytest.fixture
def server(loopback) -> Iterator[FileServer]:
    with FileServer({NAME: CONTENT}) as running:
        yield running


@pytest.fixture
def file(tmp_path) -> Path:
    return tmp_path / "resources" / "weights" / NAME


def test_fetched_once(server, file):
    weights(file, address=server.address + "/")
    assert file.read_bytes() == CONTENT and server.requests == [(NAME, None)]
    file.unlink()  # as Snakemake does before it runs a rule again
    weights(file, address="http://127.0.0.1:9")  # nobody is there, and need not be
    assert file.read_bytes() == CONTENT


def test_a_cut_transfer_goes_on(server, file):
    server.cut_after = [200_000]
    weights(file, address=server.address)
    assert file.read_bytes() == CONTENT
    assert server.requests[-1] == (NAME, f"bytes={200_000 // 65536 * 65536}-")


def test_files_of_before_torch_1_6_count_too(server, tmp_path):
    old = b"\x80\x02" + random.Random(1).randbytes(1000)
    name = f"resnet18-{hashlib.sha256(old).hexdigest()[:10]}.pth"
    server.files[name] = old
    weights(tmp_path / name, address=server.address)
    assert (tmp_path / name).read_bytes() == old


def test_another_content_than_the_name_says(server, file):
    other = CONTENT[:-1] + b"?"
    server.files[NAME] = other
    says = rf"SHA-256 {hashlib.sha256(other).hexdigest()}, its name says {NAME[-12:-4]}… .*Or fetch"
    with pytest.raises(InputError, match=says.replace("… ", r"….*")):
        weights(file, address=server.address)
    assert not file.exists()
    server.files[NAME] = CONTENT
    weights(file, address=server.address)
    assert file.read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        ({"files": {}}, r"answers HTTP 404\. Check `weights\.address`"),
        ({"files": {NAME: b"<html>sign in</html>"}}, "storage sent no file of weights"),
        ({"status": [(503, {})]}, r"HTTP 503"),
    ],
)
def test_a_server_that_does_not_have_it(server, file, fault, says):
    for name, value in fault.items():
        setattr(server, name, value)
    with pytest.raises(InputError, match=says):
        weights(file, address=server.address)
    assert not file.exists()


def test_nobody_answers(file, server):
    with pytest.raises(InputError) as error:
        weights(file, address="http://127.0.0.1:9")
    text = str(error.value)
    assert "127.0.0.1 cannot be reached" in text
    assert f"fetch http://127.0.0.1:9/{NAME} on another machine and put it at {file}" in text
    assert "set network.weights to the path of a file that you have, or to none" in text


@pytest.mark.slow
def test_a_model_of_the_workflow_starts_from_the_file_at_a_path(tmp_path):
    """With a learning rate of nearly nothing, what it ends with is what the file holds."""
    torch.manual_seed(1)
    state = models.mobilenet_v3_small(weights=None).state_dict()
    torch.save(state, tmp_path / "own.pth")
    Archive(np.random.default_rng(5), train=40, test=10).write(tmp_path / "archive.zip")

    def run(target):
        return snakemake(
            tmp_path, target, f"dataset={{name: made, source: archive, archive: {tmp_path / 'archive.zip'}}}",
            f"models={{own: {{network: {{name: mobilenet_v3_small, weights: {tmp_path / 'own.pth'}}}, center_crop: 64, "
            "epochs: 1, batch_size: 8, learning_rate: 1e-9, schedule: constant, weight_decay: 0}}",
            "submission={models: [own]}",
        )  # fmt: skip

    done = run("submission")
    assert done.returncode == 0, done.stderr
    kept = checkpoints.load(tmp_path / "results/made/train/own/fold-1/weights.pt")
    kernel = checkpoints.load_network(kept).body.features[0][0].weight
    assert torch.allclose(kernel, state["features.0.0.weight"], atol=1e-6)
    (tmp_path / "own.pth").write_bytes(b"cut")
    done = run("submission")
    assert done.returncode != 0
    assert "own.pth: expected a state dict of torchvision's mobilenet_v3_small, found something" in done.stderr


@pytest.mark.slow
def test_the_rule(server, tmp_path):
    """Through the workflow: a mirror by a setting, the file in its place for all data sets."""
    target = f"resources/weights/{NAME}"
    done = snakemake(tmp_path, target, f"weights={{address: '{server.address}'}}")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / target).read_bytes() == CONTENT
