"""Applies plans to batches of tiles on their device.

The host sends a plan by one copy and never waits for the device: no shape depends on which tiles are changed.
"""

import functools
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from histo.augmentation.plans import PER_TILE, Plan, noise_values
from histo.networks.dihedral import dihedral

CPU_CHUNK = 16  # tiles per chunk on the CPU; three times as fast as all tiles at once, because a chunk stays in cache
ALIGNMENT = 16  # float32 values, 64 bytes: alignment of each field that is sent to the device


@dataclass
class Changes:
    """A plan on the device of the tiles: float32 tensors with a row for each of the N tiles of a batch.

    The shapes depend on N only, not on the number of tiles that are erased or mixed, and no change needs a list of
    tiles, so the host never waits for the device. None: no such change.
    """

    side: int
    views: Tensor | None = None  # [N]
    gamma: Tensor | None = None  # [N, 3]
    theta: Tensor | None = None  # [N, 2, 3]
    stain: Tensor | None = None  # [N, 3, 4]
    colour: Tensor | None = None  # [N, 3, 4]
    sharpness: Tensor | None = None  # [N]
    noise: Tensor | None = None  # [N]
    noise_start: Tensor | None = None  # [N]
    erase: Tensor | None = None  # [N, 4], boxes; empty for tiles that are not erased
    erase_colour: Tensor | None = None  # [N, 3, 1, 1]
    mixup: Tensor | None = None  # [N], weight of the next tile; -1 for tiles that are not mixed
    cutmix: Tensor | None = None  # [N, 4], boxes; empty for tiles that are not changed
    covers_centre: Tensor | None = None  # [N], 1 where the label of the next tile is taken


def _dense(tile: np.ndarray, values: np.ndarray, count: int, fill: float = 0) -> np.ndarray:
    """float32 [count, …]: `values` [n, …] in the rows `tile`, `fill` in the others."""
    dense = np.full((count, *values.shape[1:]), fill, dtype=np.float32)
    dense[tile] = values
    return dense


def _copied(fields: dict[str, np.ndarray], device: torch.device) -> dict[str, Tensor]:
    """Tensors float32 on `device` with the values of the fields, which are integers below 2²⁴ or float32."""
    starts, size = {}, 0
    for name, value in fields.items():
        starts[name] = size
        size += -(-value.size // ALIGNMENT) * ALIGNMENT
    # Pinned memory comes from a cache, which waits for the copy before it gives the memory out again.
    packed = torch.empty(size, pin_memory=device.type == "cuda")
    for name, value in fields.items():
        packed.numpy()[starts[name] : starts[name] + value.size] = value.reshape(-1)
    sent = packed.to(device, non_blocking=True)
    return {name: sent[starts[name] : starts[name] + value.size].view(value.shape) for name, value in fields.items()}


def send(plan: Plan, device: torch.device, count: int) -> Changes:
    """The plan of a batch of `count` tiles on `device`, sent by one copy from pinned memory."""
    fields: dict[str, np.ndarray] = {}
    for name in PER_TILE:
        value = getattr(plan, name)
        if value is not None:
            fields[name] = np.asarray(value)
    if plan.erase is not None and plan.erase_colour is not None and len(plan.erase.tile):
        fields["erase"] = _dense(plan.erase.tile, plan.erase.box, count)
        fields["erase_colour"] = _dense(plan.erase.tile, plan.erase_colour.numpy(), count)
    if plan.mixup is not None and len(plan.mixup.tile):
        # -1: not mixed. A weight of 0 would change -0.0 to 0.0.
        fields["mixup"] = _dense(plan.mixup.tile, plan.mixup.weight.numpy(), count, fill=-1)
    if plan.cutmix is not None and plan.covers_centre is not None and len(plan.cutmix.tile):
        fields["cutmix"] = _dense(plan.cutmix.tile, plan.cutmix.box, count)
        fields["covers_centre"] = _dense(plan.cutmix.tile, plan.covers_centre, count)
    return Changes(side=plan.side, **_copied(fields, device))


def has_only_views(plan: Plan) -> bool:
    """Whether a plan changes no pixel value, so that tiles stay uint8."""
    return all(value is None for name, value in vars(plan).items() if name not in ("side", "views"))


def _masks(box: Tensor, side: int) -> Tensor:
    """bool [N, 1, side, side], true inside the boxes [N, 4]."""
    pixel = torch.arange(side, device=box.device)
    top, bottom, left, right = box[:, :, None].unbind(1)
    rows, columns = (pixel >= top) & (pixel < bottom), (pixel >= left) & (pixel < right)
    return rows[:, None, :, None] & columns[:, None, None, :]


def _rows(chosen: Tensor) -> Tensor:
    """Rows to compute, int64: on the CPU those that are chosen (bool [N]).

    On a GPU all rows, because the host would have to wait for the number of chosen ones.
    """
    if chosen.device.type == "cpu":
        return chosen.nonzero().flatten()
    return torch.arange(len(chosen), device=chosen.device)


def _apply_views(images: Tensor, views: Tensor) -> Tensor:
    """Flip and rotate each of the images [N, S, S, 3] by its view, on the CPU: view by view."""
    result = torch.empty_like(images, memory_format=torch.contiguous_format)
    for view in range(8):
        tile = _rows(views == view)
        result.index_copy_(0, tile, dihedral(images.index_select(0, tile), view))
    return result


def _apply_views_without_lists(images: Tensor, views: Tensor) -> Tensor:
    """The same as `_apply_views`, bit by bit of the views, for all images at once: see `_rows`."""
    codes = views.to(torch.uint8)[:, None, None, None]
    images = torch.where((codes & 4) > 0, images.transpose(1, 2), images)
    images = torch.where((codes & 1) > 0, images.flip(2), images)
    return torch.where((codes & 2) > 0, images.flip(1), images).contiguous()


def _grid(theta: Tensor, side: int) -> Tensor:
    """affine_grid as sums over rows and columns, on the CPU several times as fast as with its matrix product."""
    at = (2 * torch.arange(side, device=theta.device, dtype=torch.float32) + 1) / side - 1
    grid = torch.empty((len(theta), side, side, 2), device=theta.device)
    for axis in range(2):
        across, down, shift = theta[:, axis, :, None].unbind(1)
        torch.add((across * at)[:, None, :], (down * at + shift)[:, :, None], out=grid[..., axis])
    return grid


def _map_colours(matrices: Tensor, planes: Tensor) -> Tensor:
    """Apply affine maps [N, 3, 4] to colours [N, 3, pixels]."""
    return torch.baddbmm(matrices[:, :, 3:], matrices[:, :, :3], planes)


def _logarithm(values: Tensor) -> Tensor:
    """ln((RGB + 1) / 256) of values in 0..255, in place."""
    return values.add_(1).mul_(1 / 256).log_()


def _intensities(gamma: Tensor | None, device: torch.device) -> Tensor:
    """255 · (I / 255)^gamma for the intensities I from 0 to 255, float32 [256], or [n, 3, 256] with gamma [n, 3]."""
    levels = torch.arange(256, device=device, dtype=torch.float32)
    if gamma is None:
        return levels
    exponent = gamma[:, :, None]
    # A power of 1 may differ from the level by rounding.
    return torch.where(exponent == 1, levels, (levels / 255) ** exponent * 255)


def _look_up(table: Tensor, tiles: Tensor) -> Tensor:
    """The values of a table, float32 [256] or [n, 3, 256], at the intensities of tiles uint8 [n, 3, S, S]."""
    index = tiles.to(torch.int32, memory_format=torch.contiguous_format)
    if table.ndim == 3:
        first = torch.arange(0, table.numel(), 256, device=tiles.device, dtype=torch.int32)
        index += first.view(len(tiles), 3, 1, 1)
    return table.flatten().index_select(0, index.flatten()).view(tiles.shape)


def resample(tiles: Tensor, grid: Tensor) -> Tensor:
    """Values of tiles [n, 3, S, S], 0..255, at the places of a grid [n, side, side, 2]; reflected beyond the edge.

    Bicubic (Keys 1981), because bilinear interpolation blurs, and a network trained on blurred tiles only has a lower
    AUC on tiles as they are (bench/accuracy.md).
    """
    sampled = functional.grid_sample(tiles, grid, mode="bicubic", padding_mode="reflection", align_corners=False)
    return sampled.clamp_(0, 255)  # it overshoots at edges


def sharpen(tiles: Tensor, factor: Tensor) -> Tensor:
    """Blur or sharpen tiles [n, 3, side, side]; factor: [n], of the detail, which is what a blur removes.

    0: blurred; 1: unchanged; 2: detail doubled. The blur is the binomial filter 1, 4, 6, 4, 1 along both axes, of
    standard deviation 1 pixel.
    """
    side = tiles.shape[-1]
    blurred = functional.pad(tiles, (2, 2, 2, 2), mode="reflect")
    for axis in (3, 2):
        left2, left1, middle, right1, right2 = (blurred.narrow(axis, first, side) for first in range(5))
        sums = left2.add(right2).add_(left1, alpha=4).add_(right1, alpha=4)
        blurred = sums.add_(middle, alpha=6)
    return torch.lerp(blurred.mul_(1 / 256), tiles, factor[:, None, None, None])


@functools.cache
def noise_table(device: torch.device, count: int) -> Tensor:
    """Values of standard normal distribution, float32 [count]: the same on all devices, copied once to each."""
    values = np.random.Generator(np.random.Philox(0)).standard_normal(count, dtype=np.float32)
    return torch.from_numpy(values).to(device)


def _change_tiles(changes: Changes, tiles: Tensor, part: slice) -> Tensor:
    """Apply the changes of geometry, colour and sharpness, and noise.

    tiles: uint8 [n, 3, S, S], the part `part` of the batch. Returns float32 [n, 3, side, side] in 0..1.
    """
    side = changes.side
    # The logarithm of 256 intensities instead of that of all pixels, unless interpolation comes between.
    in_table = changes.stain is not None and changes.theta is None
    if changes.gamma is not None or in_table:
        table = _intensities(None if changes.gamma is None else changes.gamma[part], tiles.device)
        tiles = _look_up(_logarithm(table) if in_table else table, tiles)
    else:
        tiles = tiles.to(torch.float32, memory_format=torch.contiguous_format)
    if changes.theta is not None:
        tiles = resample(tiles, _grid(changes.theta[part], side))
    planes = tiles.flatten(2)
    if changes.stain is not None:
        planes = planes if in_table else _logarithm(planes)
        # Back from (RGB + 1) / 256 to RGB in 0..1.
        planes = _map_colours(changes.stain[part], planes)
        planes = planes.exp_().mul_(256 / 255).sub_(1 / 255)
    else:
        planes = planes.mul_(1 / 255)
    if changes.colour is not None:
        planes = _map_colours(changes.colour[part], planes)
    tiles = planes.view(len(tiles), 3, side, side)
    if changes.sharpness is not None:
        factor = changes.sharpness[part]
        rows = _rows(factor != 1)
        tiles.index_copy_(0, rows, sharpen(tiles[rows], factor[rows]))
    if changes.noise is not None and changes.noise_start is not None:
        rows = _rows(changes.noise[part] > 0)
        parts = noise_table(tiles.device, noise_values(side)).unfold(0, 3 * side * side, 1)
        values = parts.index_select(0, changes.noise_start[part][rows].to(torch.int64)).view(-1, 3, side, side)
        tiles.index_add_(0, rows, values.mul_(changes.noise[part][rows][:, None, None, None]))
    return tiles


def apply(plan: Plan, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Augment a batch on its device.

    images: uint8 [N, S, S, 3]; labels: float32 [N] or [N, classes]. Returns tiles for a network, [N, 3, side, side], as
    uint8 (0..255) if the plan has only views, else as float32 (0..1, may overshoot), and the labels, which mixup and
    cutmix may have changed.
    """
    changes, side = send(plan, images.device, len(images)), plan.side
    if changes.theta is None:
        margin = (images.shape[1] - side) // 2
        images = images[:, margin : margin + side, margin : margin + side]
    if changes.views is not None:
        views = _apply_views if images.device.type == "cpu" else _apply_views_without_lists
        images = views(images, changes.views)
    tiles = images.permute(0, 3, 1, 2)
    if has_only_views(plan):
        return tiles, labels
    if images.device.type == "cpu":
        changed = torch.empty((len(tiles), 3, side, side))
        for start in range(0, len(tiles), CPU_CHUNK):
            part = slice(start, start + CPU_CHUNK)
            changed[part] = _change_tiles(changes, tiles[part], part)
        tiles = changed
    else:
        tiles = _change_tiles(changes, tiles, slice(None))
    return erase_and_mix(changes, tiles, labels)


def erase_and_mix(changes: Changes, tiles: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Apply the changes of some tiles of a batch, [N, 3, side, side], and of their labels."""
    side = changes.side
    if changes.erase is not None and changes.erase_colour is not None:
        rows = _rows(changes.erase[:, 1] > 0)
        erased = torch.where(_masks(changes.erase[rows], side), changes.erase_colour[rows], tiles[rows])
        tiles.index_copy_(0, rows, erased)
    return _mix(changes, tiles, labels)


def _mix(changes: Changes, tiles: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Mixup (Zhang et al. 2018, arXiv:1710.09412) and CutMix (Yun et al. 2019, arXiv:1905.04899).

    Each selected tile is mixed with the next tile of the batch as it was before any mixing.
    """
    mixup, cutmix, covers_centre, count = changes.mixup, changes.cutmix, changes.covers_centre, len(tiles)
    if cutmix is not None and covers_centre is not None:
        cutmix_rows = _rows(cutmix[:, 1] > 0)
        # Before mixup changes these tiles.
        pasted, pasted_labels = (values[(cutmix_rows + 1) % count] for values in (tiles, labels))
    if mixup is not None:
        rows = _rows(mixup >= 0)
        other, weight = (rows + 1) % count, mixup[rows]
        share = weight.view(-1, *[1] * (labels.ndim - 1))
        mixed = torch.lerp(labels[rows], labels[other], share)
        labels = labels.index_copy(0, rows, torch.where(share >= 0, mixed, labels[rows]))
        weight = weight[:, None, None, None]
        blended = torch.lerp(tiles[rows], tiles[other], weight)
        tiles.index_copy_(0, rows, torch.where(weight >= 0, blended, tiles[rows]))
    if cutmix is not None and covers_centre is not None:
        over = covers_centre[cutmix_rows].view(-1, *[1] * (labels.ndim - 1)) > 0
        labels = labels.index_copy(0, cutmix_rows, torch.where(over, pasted_labels, labels[cutmix_rows]))
        mask = _masks(cutmix[cutmix_rows], changes.side)
        tiles.index_copy_(0, cutmix_rows, torch.where(mask, pasted, tiles[cutmix_rows]))
    return tiles, labels
