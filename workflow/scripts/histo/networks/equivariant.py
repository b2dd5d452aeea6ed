"""A residual CNN that is equivariant under flips and 90° rotations (dihedral group D4); its logit is invariant.

Tissue has no preferred orientation, so the eight views of a tile have the same label. Group convolutions build this
symmetry into the network (Cohen & Welling 2016, arXiv:1602.07576; on these tiles: Veeling et al. 2018,
arXiv:1806.03962). One kernel is shared by all eight orientations, and every tile trains all of them at once. The logits
of the eight views are equal up to rounding, so test-time augmentation changes nothing. The network needs as many
operations as an ordinary CNN with the same number of channels, but has an eighth of its parameters.

Feature maps are [N, 8 · C, H, W]: channel g · C + c is feature c in orientation g, where g numbers the elements of D4
as `histo.networks.dihedral.dihedral` does. Kernels of stride 2 have an even size: a 3 × 3 kernel of stride 2 samples a
map of even side off its centre, which would break the symmetry.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from histo.geometry import COMPETITION, Geometry
from histo.networks.dihedral import dihedral

ORDER = 8  # of the group D4
INVARIANT = True  # see histo.networks.network


def transform(kernels: Tensor, g: int) -> Tensor:
    """Apply element g of D4 to the last two dimensions of kernels [..., k, k]."""
    return dihedral(kernels, g, rows=-2, columns=-1)


def _inverse_products() -> list[list[int]]:
    """Compute the table of g⁻¹ k from the permutations of nine numbered pixels."""
    pixels = torch.arange(9).view(3, 3)
    permutations = [transform(pixels, g).flatten().tolist() for g in range(ORDER)]
    product = [
        [permutations.index(transform(transform(pixels, second), first).flatten().tolist()) for second in range(ORDER)]
        for first in range(ORDER)
    ]
    inverse = [row.index(0) for row in product]
    return [product[inverse[g]] for g in range(ORDER)]


INVERSE_PRODUCT = _inverse_products()  # row g, column k: the element g⁻¹ k


class Kept:
    """Tensors computed from parameters and buffers, kept until one of these changes.

    Only outside of autograd and torch.compile; there they are computed in each call. Copies and pickles of a module
    hold none.
    """

    def __init__(self) -> None:
        self._state: list[tuple[int, Tensor]] = []
        self._values: tuple[Tensor, ...] = ()

    def __reduce__(self) -> tuple[type["Kept"], tuple[()]]:
        return Kept, ()

    def clear(self) -> None:
        """Compute again in the next call."""
        self._state, self._values = [], ()

    def get(self, sources: tuple[Tensor, ...], compute: Callable[[], tuple[Tensor, ...]]) -> tuple[Tensor, ...]:
        """Return `compute()`, or its last result if `sources` did not change since."""
        # Tensors created in inference mode have no version, so a change would not be noticed.
        if torch.is_grad_enabled() or torch.compiler.is_compiling() or any(source.is_inference() for source in sources):
            self.clear()
            return compute()
        if not self._state or not all(
            version == source._version and held.data_ptr() == source.data_ptr()
            for (version, held), source in zip(self._state, sources, strict=True)
        ):
            self._values = compute()
            # A reference to the memory ensures that no other tensor gets its address.
            self._state = [(source._version, source.detach()) for source in sources]
        return self._values


class _Orientations(torch.autograd.Function):
    """Kernels in all eight orientations: [outputs, n] and permutations [8, n] to [8, outputs, n].

    One gather, whose gradient is a gather by the inverse permutations and a sum over orientations. The gradient of
    `index_select` would be a scattered addition, whose order, and so whose rounding, a GPU does not fix.
    """

    @staticmethod
    def forward(ctx: Any, weight: Tensor, permutations: Tensor, inverse: Tensor) -> Tensor:
        """weight: [outputs, n]; permutations, inverse: int64 [8, n], inverse of each other in each row."""
        ctx.save_for_backward(inverse)
        gathered = weight.index_select(1, permutations.flatten())
        return gathered.view(len(weight), *permutations.shape).transpose(0, 1)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        """gradient: [8, outputs, n]. Returns that of the weight, [outputs, n]."""
        (inverse,) = ctx.saved_tensors
        index = inverse.unsqueeze(1).expand_as(gradient)
        return gradient.gather(2, index).sum(0), None, None


class _OrientedConv(nn.Module):
    """Convolution with each kernel in all eight orientations, which are permutations of the kernel's entries.

    The permutations are buffers, on the device of the weights: indexing with a list would copy the list to a GPU and
    wait for it in every forward pass. They are not part of the state dict. In inference the oriented kernels are kept
    until the weights change.
    """

    permutations: Tensor
    inverse: Tensor

    def __init__(self, weight: Tensor, permutations: Tensor, size: int, stride: int) -> None:
        """weight: [outputs, channels, size, size], is initialised here; permutations: int64 [8, channels · size²]."""
        super().__init__()
        self.stride, self.padding = stride, (size - stride + 1) // 2
        self.weight = nn.Parameter(weight)
        nn.init.kaiming_normal_(self.weight, nonlinearity="relu")
        self.register_buffer("permutations", permutations, persistent=False)
        self.register_buffer("inverse", permutations.argsort(1), persistent=False)
        self._kept = Kept()

    def kernels(self) -> Tensor:
        """Kernels [8 · outputs, channels, size, size]: orientation g of output o is kernel g · outputs + o."""
        flat: Tensor = _Orientations.apply(self.weight.flatten(1), self.permutations, self.inverse)
        return flat.reshape(ORDER * len(self.weight), *self.weight.shape[1:])

    def forward(self, x: Tensor) -> Tensor:
        (kernels,) = self._kept.get((self.weight,), lambda: (self.kernels(),))
        return functional.conv2d(x, kernels, None, self.stride, self.padding)


class LiftingConv(_OrientedConv):
    """Convolution of an image with each kernel in all eight orientations: [N, inputs, H, W] to
    [N, 8 · outputs, H / stride, W / stride]."""

    def __init__(self, inputs: int, outputs: int, size: int, stride: int) -> None:
        entries = torch.arange(inputs * size * size).view(inputs, size, size)
        permutations = torch.stack([transform(entries, g).flatten() for g in range(ORDER)])
        super().__init__(torch.empty(outputs, inputs, size, size), permutations, size, stride)


class GroupConv(_OrientedConv):
    """Group convolution: [N, 8 · inputs, H, W] to [N, 8 · outputs, H / stride, W / stride].

    The kernel of output orientation g is the base kernel transformed by g; its weights for input orientation k are
    those of the base kernel for orientation g⁻¹ k. Transforming the input by an element of D4 therefore transforms the
    output map by the same element and permutes its orientations.
    """

    def __init__(self, inputs: int, outputs: int, size: int, stride: int = 1) -> None:
        entries = torch.arange(ORDER * inputs * size * size).view(ORDER, inputs, size, size)
        permutations = torch.stack([transform(entries[INVERSE_PRODUCT[g]], g).flatten() for g in range(ORDER)])
        super().__init__(torch.empty(outputs, ORDER * inputs, size, size), permutations, size, stride)


class GroupBatchNorm(nn.Module):
    """Batch normalisation; the eight orientations of a feature share scale, shift and, in eval mode, statistics.

    In training mode each orientation is normalised with its own batch statistics, which differ between orientations by
    chance only; this allows PyTorch's fused kernel. In eval mode the running statistics are pooled over the
    orientations, so the trained network is exactly equivariant.
    """

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, features: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(features))
        self.bias = nn.Parameter(torch.zeros(features))
        self.register_buffer("running_mean", torch.zeros(ORDER * features))
        self.register_buffer("running_var", torch.ones(ORDER * features))
        self._kept = Kept()

    def train(self, mode: bool = True) -> "GroupBatchNorm":
        """Set the mode. Batch normalisation changes the running statistics without a new version of the tensors."""
        self._kept.clear()
        return super().train(mode)

    def _scaling(self) -> tuple[Tensor, Tensor]:
        """Scale and shift of each channel, [8 · features]."""
        return self.weight.repeat(ORDER), self.bias.repeat(ORDER)

    def _pooled(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Running mean and variance, pooled over the orientations, scale and shift of each channel, [8 · features]."""
        means, variances = self.running_mean.view(ORDER, -1), self.running_var.view(ORDER, -1)
        variance = (variances.mean(0) + means.var(0, correction=0)).repeat(ORDER)
        return means.mean(0).repeat(ORDER), variance, *self._scaling()

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            scale, shift = self._scaling()
            return functional.batch_norm(x, self.running_mean, self.running_var, scale, shift, True)
        sources = (self.running_mean, self.running_var, self.weight, self.bias)
        mean, variance, scale, shift = self._kept.get(sources, self._pooled)
        return functional.batch_norm(x, mean, variance, scale, shift, False)


class GroupBlock(nn.Module):
    """Residual block of two group convolutions, the equivariant counterpart of `histo.networks.residual.Block`."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = GroupConv(inputs, outputs, 3 if stride == 1 else 4, stride)
        self.norm1 = GroupBatchNorm(outputs)
        self.conv2 = GroupConv(outputs, outputs, 3)
        self.norm2 = GroupBatchNorm(outputs)
        nn.init.zeros_(self.norm2.weight)
        self.shortcut = nn.Sequential()
        if stride > 1:
            self.shortcut.append(nn.AvgPool2d(stride))
        if inputs != outputs:
            self.shortcut.append(GroupConv(inputs, outputs, 1))
            self.shortcut.append(GroupBatchNorm(outputs))

    def forward(self, x: Tensor) -> Tensor:
        y = functional.relu(self.norm1(self.conv1(x)), inplace=True)
        return functional.relu(self.norm2(self.conv2(y)) + self.shortcut(x), inplace=True)


class InvariantHead(nn.Module):
    """Head with invariant logits: [N, 8 · features, H, W] to [N, outputs].

    Each feature map is averaged over its whole area and over the area above the tile's central square. An equivariant
    layer with ReLU combines these averages across orientations, the mean over the orientations makes the
    result invariant, and a linear layer gives the logit.
    """

    def __init__(self, features: int, crop: int, hidden: int, dropout: float, geometry: Geometry = COMPETITION) -> None:
        super().__init__()
        self.share = geometry.centre_side / crop
        self.mix = GroupConv(2 * features, hidden, 1)
        self.bias = nn.Parameter(torch.zeros(hidden))
        self.dropout = nn.Dropout(dropout)
        self.linear = nn.Linear(hidden, geometry.outputs)

    def forward(self, x: Tensor) -> Tensor:
        side = x.shape[-1]
        # The central area has the parity of the map's side, so that both have the same centre.
        centre = max(2 - side % 2, 2 * round((side * self.share - side % 2) / 2) + side % 2)
        start = (side - centre) // 2
        middle = x[..., start : start + centre, start : start + centre]
        pooled = torch.stack([x.mean((2, 3)), middle.mean((2, 3))], dim=1)
        pooled = pooled.view(len(x), 2, ORDER, -1).transpose(1, 2).reshape(len(x), -1, 1, 1)
        mixed: Tensor = self.mix(pooled).view(len(x), ORDER, -1)
        logits: Tensor = self.linear(self.dropout(functional.relu(mixed + self.bias).mean(1)))
        return logits


def p4m_residual(
    crop: int,
    geometry: Geometry = COMPETITION,
    *,
    width: int,
    blocks: int,
    hidden: int,
    dropout: float,
    stem: str = "stride",
) -> nn.Module:
    """Build the equivariant counterpart of `histo.networks.residual.residual`.

    A stem of stride 2 and four stages of `blocks` residual blocks with `width`, 2 `width`, 4 `width` and 8 `width`
    channels: `width` / 8 features in eight orientations in the first stage, doubled in each further stage. `hidden`:
    features in the head. dropout: share of the head's features dropped in training. stem: `stride`, one convolution
    with stride 2, or `full`, a convolution at full resolution before one with stride 2. Raises TypeError unless `width`
    is a multiple of 8.
    """
    if width % ORDER:
        raise TypeError(f"width: expected a multiple of {ORDER}, found {width}")
    features = width // ORDER
    layers: list[nn.Module] = []
    if stem == "full":
        layers += [LiftingConv(3, features, 3, 1), GroupBatchNorm(features), nn.ReLU(inplace=True)]
        layers += [GroupConv(features, features, 4, 2)]
    else:
        layers += [LiftingConv(3, features, 4, 2)]
    layers += [GroupBatchNorm(features), nn.ReLU(inplace=True)]
    for stage in range(4):
        for block in range(blocks):
            outputs = width // ORDER << stage
            layers.append(GroupBlock(features, outputs, 2 if block == 0 and stage > 0 else 1))
            features = outputs
    layers.append(InvariantHead(features, crop, hidden, dropout, geometry))
    return nn.Sequential(*layers)
