"""A step of training and a batch of inference let the host neither wait for the device nor copy to it."""

import copy

import pytest
import torch
from torch import nn

from histo.networks.network import build
from histo.training import engine
from support.operations import META, Operations
from support.training import settings

NETWORKS = [
    {"name": "residual", "width": 8, "blocks": 1, "dropout": 0.1},
    {"name": "p4m_residual", "width": 16, "blocks": 1, "hidden": 8, "dropout": 0.1},
    {"name": "efficientnet_lite0", "frozen_stages": 3, "dropout": 0.1},
]


@pytest.mark.parametrize("network", NETWORKS, ids=lambda network: network["name"])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_a_training_step(network, dtype):
    chosen = settings(network=network, ema=0.9, label_smoothing=0.1, focal_gamma=1.0, pos_weight=2.0)
    trained = build(network, 64, input_size=128).to(META).train()
    averaged = engine.Averaged(copy.deepcopy(trained).requires_grad_(False), trained)
    tiles, labels = torch.empty((4, 3, 96, 96), dtype=dtype, device=META), torch.empty(4, device=META)
    # Without the optimizer and autocast, which do not support the device `meta`.
    with Operations() as operations:
        engine.loss(trained(tiles), labels, chosen).backward()
        nn.utils.clip_grad_norm_(trained.parameters(), chosen.gradient_clip)
        averaged.update(0.9)
    assert len(operations.found) > 100
    assert operations.copies() == [] and operations.waits() == set()


@pytest.mark.parametrize("network", NETWORKS, ids=lambda network: network["name"])
def test_a_batch_of_inference(network):
    body = build(network, 64).to(META).eval()
    tiles = torch.empty((4, 3, 96, 96), dtype=torch.uint8, device=META)
    with torch.inference_mode(), Operations() as operations:
        body(tiles)
        first = len(operations.found)
        body(tiles)
    assert operations.copies() == [] and operations.waits() == set()
    if network["name"] == "p4m_residual":  # its kernels are computed in the first batch only
        assert len(operations.found) - first < 0.6 * first


def test_operations_that_wait_are_found():
    with Operations() as operations:
        torch.empty(2, device=META).add(torch.ones(2).to(META))
        torch.ones(2).nonzero()
    assert operations.copies() == ["_to_copy"] and operations.waits() == {"nonzero"}
