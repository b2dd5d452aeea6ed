"""Batch normalisation and dropout of a batch whose tiles are divided among processes, as in one process.

`WholeBatch` replaces the functions of torch while a network computes, so that it holds for every network, on every
device. torch's own SyncBatchNorm computes on GPUs only and replaces modules, not functions.
"""

from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from histo.training.processes import Processes


class _BatchNorm(torch.autograd.Function):
    """Batch normalisation with the statistics of all processes; returns mean and variance too, float32 [C]."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, scale: Tensor, shift: Tensor, eps: float, processes: Processes, batch_size: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        """x: [n, C, …], n: of this process; scale, shift: float32 [C]."""
        values = x.float()
        dimensions = [0, *range(2, x.ndim)]
        parts = processes.stacked(torch.stack(torch.var_mean(values, dimensions, correction=0)))
        shares = processes.shares(batch_size)
        mean = torch.stack([share * part[1] for share, part in zip(shares, parts, strict=True)]).sum(0)
        variance = torch.stack(
            [share * (part[0] + (part[1] - mean) ** 2) for share, part in zip(shares, parts, strict=True)]
        ).sum(0)
        inverse = torch.rsqrt(variance + eps)
        ctx.save_for_backward(x, scale, mean, inverse)
        ctx.count = x[0, 0].numel() * batch_size
        ctx.mark_non_differentiable(mean, variance)
        factor = _by_channel(scale * inverse, x)
        return torch.addcmul(_by_channel(shift, x), values - _by_channel(mean, x), factor).to(x.dtype), mean, variance

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        """gradient: of the normalised values."""
        x, scale, mean, inverse = ctx.saved_tensors
        dimensions = [0, *range(2, x.ndim)]
        gradient = gradient.float()
        normalised = (x.float() - _by_channel(mean, x)) * _by_channel(inverse, x)
        sums = torch.stack([gradient.sum(dimensions), (gradient * normalised).sum(dimensions)])
        of_scale, of_shift = sums[1].clone(), sums[0].clone()
        dist.all_reduce(sums)
        sums /= ctx.count
        of_x = gradient - _by_channel(sums[0], x) - normalised * _by_channel(sums[1], x)
        return (of_x * _by_channel(scale * inverse, x)).to(x.dtype), of_scale, of_shift, None, None, None


def _by_channel(values: Tensor, x: Tensor) -> Tensor:
    """[C] as [1, C, 1, …], to compute with x."""
    return values.view(1, -1, *[1] * (x.ndim - 2))


class WholeBatch(TorchFunctionMode):
    """Context in which a network computes the slice of a batch that belongs to this process.

    In training mode, batch normalisation uses the statistics of the whole batch; dropout and stochastic depth draw
    their random numbers for the whole batch. All processes must seed torch alike.
    """

    def __init__(self, processes: Processes, batch_size: int) -> None:
        super().__init__()
        self._processes, self._batch_size, self._rows = processes, batch_size, processes.rows(batch_size)

    def __torch_function__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        own: dict[Any, Callable[..., Any]] = {
            functional.batch_norm: self._batch_norm,
            functional.dropout: self._dropout,
            Tensor.bernoulli_: self._bernoulli,
        }
        return own.get(function, function)(*args, **(kwargs or {}))

    def _batch_norm(
        self,
        x: Tensor,
        running_mean: Tensor | None,
        running_var: Tensor | None,
        weight: Tensor | None = None,
        bias: Tensor | None = None,
        training: bool = False,
        momentum: float = 0.1,
        eps: float = 1e-5,
    ) -> Tensor:
        if not training:
            return functional.batch_norm(x, running_mean, running_var, weight, bias, False, momentum, eps)
        scale = torch.ones(x.shape[1], device=x.device) if weight is None else weight
        shift = torch.zeros(x.shape[1], device=x.device) if bias is None else bias
        y, mean, variance = _BatchNorm.apply(x, scale, shift, eps, self._processes, self._batch_size)
        if running_mean is not None and running_var is not None:
            count = x[0, 0].numel() * self._batch_size
            with torch.no_grad():
                running_mean.lerp_(mean, momentum)
                running_var.lerp_(variance * (count / max(1, count - 1)), momentum)
        normalised: Tensor = y
        return normalised

    def _dropout(self, x: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
        if not training or not p:
            return x
        ones = x.new_ones((self._batch_size, *x.shape[1:]))
        if x.ndim == 4 and not x.is_contiguous():
            # Random numbers are drawn in the order of the memory.
            ones = ones.contiguous(memory_format=torch.channels_last)
        whole = functional.dropout(ones, p)
        return x.mul_(whole[self._rows]) if inplace else x * whole[self._rows]

    def _bernoulli(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        if len(x) != self._rows.stop - self._rows.start:  # not a number for each tile
            return x.bernoulli_(*args, **kwargs)
        return x.copy_(x.new_empty((self._batch_size, *x.shape[1:])).bernoulli_(*args, **kwargs)[self._rows])
