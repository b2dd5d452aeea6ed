"""Depthwise convolution with stride 1 that is trained fast on a CPU.

oneDNN computes the gradient of kernels that are five pixels wide tens of times slower than that of three pixels, in
bfloat16 even more. Here the gradient of a wider kernel is computed in parts of at most three columns: the same sums, in
bfloat16 rounded at other places.
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

FAST_WIDTH = 3  # of kernels, pixels


def _gradients(x: Tensor, gradient: Tensor, weight: Tensor, padding: list[int], mask: list[bool]) -> list[Tensor]:
    """Gradients with respect to x and weight, of which `mask` names those that are computed."""
    found: list[Tensor] = torch.ops.aten.convolution_backward(
        gradient, x, weight, None, [1, 1], padding, [1, 1], False, [0, 0], weight.shape[0], [*mask, False]
    )
    return found


def _weight_gradient(x: Tensor, gradient: Tensor, weight: Tensor) -> Tensor:
    kernel = weight.shape[2]
    padding = kernel // 2

    def columns(gradient: Tensor, first: int, last: int) -> Tensor:
        part = weight[..., first:last]
        return _gradients(x, gradient, part, [padding, (last - first) // 2], [False, True])[1]

    if kernel <= FAST_WIDTH:
        return columns(gradient, 0, kernel)
    # The outer columns see the maps shifted by two pixels; here the gradient is shifted instead.
    assert kernel == FAST_WIDTH + 2
    left, right = torch.zeros_like(gradient), torch.zeros_like(gradient)
    left[..., :-2], right[..., 2:] = gradient[..., 2:], gradient[..., :-2]
    return torch.cat([columns(left, 0, 1), columns(gradient, 1, kernel - 1), columns(right, kernel - 1, kernel)], 3)


class DepthwiseConvolution(torch.autograd.Function):
    """Convolve each channel with its own kernel; the output has the size of the input.

    Arguments: maps, [N, C, H, W]; weight, [C, 1, K, K] with K 3 or 5, of the same data type.
    """

    @staticmethod
    def forward(context: Any, x: Tensor, weight: Tensor) -> Tensor:
        context.save_for_backward(x, weight)
        return functional.conv2d(x, weight, None, 1, weight.shape[2] // 2, 1, weight.shape[0])

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:
        x, weight = context.saved_tensors
        padding = weight.shape[2] // 2
        of_x = _gradients(x, gradient, weight, [padding, padding], [True, False])[0]
        return of_x, _weight_gradient(x, gradient, weight)
