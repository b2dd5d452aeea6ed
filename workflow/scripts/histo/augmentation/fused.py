"""Augmentation as one function with the gathering of the tiles, of which torch.compile makes few kernels on a GPU.

`changes.apply` writes each intermediate result to the GPU's memory and reads it again: gathered tiles, views, colours,
noise. The function here has the same values, up to rounding, but leaves the order of the computation to the compiler: a
pixel is read once, at the place that its view and its tile say, and written once. On a CPU, compiled, it is no faster
than `changes.apply`, which works in parts that fit into the cache.
"""

import torch
from torch import Tensor

from histo.augmentation.changes import Changes, erase_and_mix, has_only_views, noise_table, resample, send, sharpen
from histo.augmentation.plans import Plan, noise_values
from histo.config.train import TrainSettings


def mapped_colours(matrices: Tensor, tiles: Tensor) -> Tensor:
    """Apply affine maps [N, 3, 4] to tiles [N, 3, S, S], as sums, which a compiler fuses with what is around them."""
    rows = []
    for row in range(3):
        weights = matrices[:, row, :, None, None]
        channels = (weights[:, channel] * tiles[:, channel] for channel in range(3))
        rows.append(sum(channels, weights[:, 3]))
    return torch.stack(rows, 1)


def gathered(changes: Changes, source: Tensor, positions: Tensor) -> Tensor:
    """Tiles at `positions` of uint8 [T, S, S, 3], flipped and rotated by their views: uint8 [N, 3, side, side].

    Before a change of geometry, which includes the views, the whole tiles: [N, 3, S, S].
    """
    if changes.theta is not None:
        return source[positions].permute(0, 3, 1, 2)
    side = changes.side
    pixel = torch.arange(side, device=source.device)
    row, column = pixel[None, :, None], pixel[None, None, :]
    if changes.views is not None:
        view = changes.views.to(torch.int32)[:, None, None]
        row = torch.where((view & 2) > 0, side - 1 - row, row)
        column = torch.where((view & 1) > 0, side - 1 - column, column)
        transposed = (view & 4) > 0
        row, column = torch.where(transposed, column, row), torch.where(transposed, row, column)
    margin = (source.shape[1] - side) // 2
    return source[positions[:, None, None], margin + row, margin + column].permute(0, 3, 1, 2)


def affine_grid(theta: Tensor, side: int) -> Tensor:
    """The grid of `functional.affine_grid` for maps [N, 2, 3], as sums: float32 [N, side, side, 2]."""
    at = (2 * torch.arange(side, device=theta.device, dtype=torch.float32) + 1) / side - 1
    across, down, shift = (theta[:, :, part, None, None] for part in range(3))
    return (across * at[None, None, None, :] + (down * at[None, None, :, None] + shift)).permute(0, 2, 3, 1)


def fused_tiles(
    changes: Changes, source: Tensor, positions: Tensor, noise: Tensor | None, only_views: bool = False
) -> Tensor:
    """Gather tiles and apply the changes of geometry, colour and sharpness, and noise.

    source: uint8 [T, S, S, 3]; positions: int64 [N], rows of it; noise: `noise_table`, or None without noise;
    only_views: see `has_only_views`. Returns what `changes.apply` does: uint8 [N, 3, side, side] if there are only
    views, else float32 in 0..1.
    """
    tiles, side = gathered(changes, source, positions), changes.side
    if only_views:
        return tiles.contiguous()
    values = tiles.to(torch.float32)
    if changes.gamma is not None:
        values = (values / 255) ** changes.gamma[:, :, None, None] * 255
    if changes.theta is not None:
        values = resample(values, affine_grid(changes.theta, side))
    if changes.stain is not None:
        values = torch.exp(mapped_colours(changes.stain, torch.log((values + 1) / 256)))
        values = values * (256 / 255) - 1 / 255
    else:
        values = values / 255
    if changes.colour is not None:
        values = mapped_colours(changes.colour, values)
    if changes.sharpness is not None:
        values = sharpen(values, changes.sharpness)
    if noise is not None and changes.noise is not None and changes.noise_start is not None:
        at = changes.noise_start.to(torch.int64)[:, None] + torch.arange(3 * side**2, device=source.device)
        values = values + noise[at].view(-1, 3, side, side) * changes.noise[:, None, None, None]
    return values.contiguous()


class FusedAugmentation:
    """Gathers and augments batches of one size with one kind of plan, for which the function is compiled once."""

    def __init__(self) -> None:
        self._tiles = torch.compile(fused_tiles, dynamic=False, fullgraph=True)

    def __call__(self, plan: Plan, resident: Tensor | None, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Return tiles and labels, as `changes.apply` does.

        images: uint8 [N, S, S, 3]; or, if all tiles are `resident`, uint8 [T, S, S, 3], their positions there, int64
        [N]; labels: float32 [N] or [N, classes].
        """
        if resident is None:
            resident, images = images, torch.arange(len(images), device=images.device)
        changes = send(plan, resident.device, len(images))
        noise = None if changes.noise is None else noise_table(resident.device, noise_values(changes.side))
        if has_only_views(plan):
            return self._tiles(changes, resident, images, noise, only_views=True), labels
        return erase_and_mix(changes, self._tiles(changes, resident, images, noise), labels)


def fused_for(settings: TrainSettings, device: torch.device) -> FusedAugmentation | None:
    """The fused augmentation of a training that is compiled and runs on a GPU, otherwise None."""
    return FusedAugmentation() if (settings.compile or settings.cuda_graphs) and device.type == "cuda" else None
