"""Batch normalisation and random numbers of a batch that is divided among processes; test_launch.py has two of them."""

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.nn import functional

from histo.training.processes import Processes
from histo.training.whole_batch import WholeBatch


@pytest.fixture
def group():
    """One process that communicates with itself."""
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield
    dist.destroy_process_group()


@pytest.mark.parametrize("shape", [(12, 5, 4, 4), (12, 5)])
def test_batch_normalisation_is_that_of_torch(group, shape):
    torch.manual_seed(1)
    values, towards = 3 * torch.randn(shape, dtype=torch.float32) + 2, torch.randn(shape)
    found = []
    for divided in (False, True):
        layer = nn.BatchNorm1d(5) if len(shape) == 2 else nn.BatchNorm2d(5)
        x = values.clone().requires_grad_()
        with torch.no_grad():
            layer.weight.copy_(torch.arange(1.0, 6.0))
        if divided:
            with WholeBatch(Processes(), 12):
                y = layer(x)
        else:
            y = layer(x)
        (y * towards).sum().backward()
        found.append([y, x.grad, layer.weight.grad, layer.bias.grad, layer.running_mean, layer.running_var])
        layer.eval()
        with WholeBatch(Processes(), 12):
            assert torch.equal(layer(values), functional.batch_norm(
                values, layer.running_mean, layer.running_var, layer.weight, layer.bias
            ))  # fmt: skip
    for expected, value in zip(*found, strict=True):
        assert torch.allclose(expected, value, atol=2e-5)


def test_processes_draw_the_random_numbers_of_one(monkeypatch):
    """Dropout of features and of maps in any memory format, and the numbers per tile of stochastic depth."""
    maps = torch.rand(8, 3, 4, 4).contiguous(memory_format=torch.channels_last)
    for draw in (
        lambda x: functional.dropout(x.flatten(1), 0.5),
        lambda x: functional.dropout(x, 0.5),
        lambda x: functional.dropout(x.contiguous(), 0.5),
        lambda x: x.new_empty(len(x), 1).bernoulli_(0.5),
    ):
        torch.manual_seed(3)
        whole = draw(maps)
        assert 0 < (whole == 0).float().mean() < 1
        for rank in range(2):
            processes = Processes(rank, 2)
            torch.manual_seed(3)
            with WholeBatch(processes, 8):
                assert torch.equal(draw(maps[processes.rows(8)]), whole[processes.rows(8)])


def test_dropout_is_off_outside_of_training():
    x = torch.ones(4, 3)
    with WholeBatch(Processes(0, 2), 8):
        assert torch.equal(nn.Dropout(0.5).eval()(x), x)
