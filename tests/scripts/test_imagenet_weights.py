"""ImageNet weights from a server on loopback: verified by the digits in their name, or an error."""

import hashlib
import io
import os
import random
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import nn
from torchvision import models

from histo.errors import InputError
from histo.training import checkpoints
from imagenet_weights import imagenet_weights
from support.chain import DATASET, snakemake
from support.file_server import FileServer


def state_dict() -> bytes:
    """A state dict of random numbers as torch.save writes it, 330 kB."""
    buffer = io.BytesIO()
    torch.manual_seed(1)
    torch.save(nn.Linear(256, 320).state_dict(), buffer)
    return buffer.getvalue()


CONTENT = state_dict()
NAME = f"mobilenet_v3_small-{hashlib.sha256(CONTENT).hexdigest()[:8]}.pth"


@pytest.fixture
def server(loopback) -> Iterator[FileServer]:
    with FileServer({NAME: CONTENT}) as running:
        yield running


@pytest.fixture
def file(tmp_path) -> Path:
    return tmp_path / "resources" / "imagenet_weights" / NAME


def test_downloaded_once(server, file):
    imagenet_weights(file, address=server.address + "/")
    assert file.read_bytes() == CONTENT and server.requests == [(NAME, None)]
    file.unlink()  # as Snakemake does before it runs a rule again
    imagenet_weights(file, address="http://127.0.0.1:9")  # no server is there, and none is needed
    assert file.read_bytes() == CONTENT


def test_a_broken_transfer_resumes(server, file):
    server.cut_after = [200_000]
    imagenet_weights(file, address=server.address)
    assert file.read_bytes() == CONTENT
    assert server.requests[-1] == (NAME, "bytes=200000-")


def test_files_from_before_torch_1_6(server, tmp_path):
    old = b"\x80\x02" + random.Random(1).randbytes(1000)
    name = f"resnet18-{hashlib.sha256(old).hexdigest()[:10]}.pth"
    server.files[name] = old
    imagenet_weights(tmp_path / name, address=server.address)
    assert (tmp_path / name).read_bytes() == old


def test_another_sha256_than_in_the_name(server, file):
    other = CONTENT[:-1] + b"?"
    server.files[NAME] = other
    found = hashlib.sha256(other).hexdigest()
    message = rf"with the SHA-256 {NAME[-12:-4]} \(see its name\), found {found}\. .*Run again .*Or download"
    with pytest.raises(InputError, match=message):
        imagenet_weights(file, address=server.address)
    assert not file.exists()
    server.files[NAME] = CONTENT
    imagenet_weights(file, address=server.address)
    assert file.read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ({"files": {}}, r"answers HTTP 404\. Check `imagenet_weights\.address`"),
        (
            {"files": {NAME: b"<html>sign in</html>"}},
            r"Expected a file of weights from 127\.0\.0\.1, found something else",
        ),
        ({"status": [(503, {})]}, r"HTTP 503"),
    ],
)
def test_faults_of_the_server(server, file, fault, message):
    for name, value in fault.items():
        setattr(server, name, value)
    with pytest.raises(InputError, match=message):
        imagenet_weights(file, address=server.address)
    assert not file.exists()


def test_no_server(file, server):
    with pytest.raises(InputError) as error:
        imagenet_weights(file, address="http://127.0.0.1:9")
    text = str(error.value)
    assert "127.0.0.1 cannot be reached" in text
    assert f"download http://127.0.0.1:9/{NAME} on another machine and save it as {file}" in text
    assert "set network.weights to the path of your own file, or to none" in text


@pytest.mark.slow
def test_the_workflow_trains_from_the_file_at_a_path(tiny_copy):
    """With a learning rate near zero, the trained weights are those in the file."""
    torch.manual_seed(1)
    state = models.mobilenet_v3_small(weights=None).state_dict()
    torch.save(state, tiny_copy / "own.pth")

    def run(target, *options, file="own.pth"):
        return snakemake(
            tiny_copy, target, DATASET,
            f"models={{own: {{network: {{name: mobilenet_v3_small, weights: {tiny_copy / file}}}, "
            "center_crop: 64, epochs: 1, batch_size: 8, learning_rate: 1e-9, schedule: constant, weight_decay: 0}}",
            "submission={models: [own]}", *options,
        )  # fmt: skip

    done = run("results/small/train/own/fold-0/weights.pt")
    assert done.returncode == 0, done.stderr
    assert "Out-of-fold AUC" not in done.stderr  # of the submission before

    done = run("submission")
    assert done.returncode == 0, done.stderr
    kept = checkpoints.load(tiny_copy / "results/small/train/own/fold-1/weights.pt")
    kernel = checkpoints.load_network(kept).body.features[0][0].weight
    assert torch.allclose(kernel, state["features.0.0.weight"], atol=1e-6)
    shutil.copy(tiny_copy / "own.pth", tiny_copy / "copy.pth")
    same = run("submission", "-n", file="copy.pth")
    assert "Nothing to be done" in same.stdout + same.stderr
    (tiny_copy / "own.pth").write_bytes(b"cut")
    os.utime(tiny_copy / "own.pth", (0, 0))  # older than the results
    done = run("submission")
    assert done.returncode != 0
    assert "own.pth: expected a state dict of torchvision's mobilenet_v3_small, found a file that" in done.stderr


@pytest.mark.slow
def test_the_rule(server, tmp_path):
    """The workflow downloads the file from a mirror, into the folder that all data sets share."""
    target = f"resources/imagenet_weights/{NAME}"
    done = snakemake(tmp_path, target, f"imagenet_weights={{address: '{server.address}'}}")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / target).read_bytes() == CONTENT
