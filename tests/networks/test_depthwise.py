"""Depthwise convolution: its gradients are those of PyTorch's convolution."""

import pytest
import torch
from torch.nn import functional

from histo.networks.depthwise import DepthwiseConvolution


def gradients(convolve, x, weight, gradient):
    output = convolve(x, weight)
    return output.detach(), *torch.autograd.grad(output, (x, weight), gradient)


def plain(x, weight):
    return functional.conv2d(x, weight, padding=weight.shape[2] // 2, groups=weight.shape[0])


@pytest.mark.parametrize("kernel", [3, 5])
@pytest.mark.parametrize("shape", [(1, 1), (2, 3), (6, 6), (7, 12)], ids=str)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-4)])
def test_gradients(kernel, shape, dtype, tolerance):
    torch.manual_seed(1)
    x = torch.randn(4, 16, *shape, dtype=dtype).to(memory_format=torch.channels_last).requires_grad_()
    weight = torch.randn(16, 1, kernel, kernel, dtype=dtype, requires_grad=True)
    gradient = torch.randn(4, 16, *shape, dtype=dtype)
    found = gradients(DepthwiseConvolution.apply, x, weight, gradient)
    expected = gradients(plain, x, weight, gradient)
    assert torch.equal(found[0], expected[0])
    for one, other in zip(found, expected, strict=True):
        assert one.dtype == dtype
        assert torch.allclose(one, other, rtol=tolerance, atol=tolerance)
    assert found[2].abs().max() > 0.1


def test_bfloat16_rounds_as_pytorch_does():
    torch.manual_seed(1)
    x, weight = torch.randn(8, 16, 12, 12, requires_grad=True), torch.randn(16, 1, 5, 5, requires_grad=True)
    gradient = torch.randn(8, 16, 12, 12)
    exact = gradients(plain, x, weight, gradient)
    low = [value.detach().bfloat16().requires_grad_() for value in (x, weight)]
    found = gradients(DepthwiseConvolution.apply, *low, gradient.bfloat16())
    for one, other in zip(found, exact, strict=True):
        assert one.dtype == torch.bfloat16
        assert 0 < float((one.float() - other).norm() / other.norm()) < 0.01
