"""Augmentation of batches on their device, with random numbers per tile.

`plan` draws the random parameters of each tile on the CPU; `apply` changes the tiles on their device. The random
numbers of a tile depend only on the seed, the epoch and the tile's position in the order of the epoch, so the result
depends neither on the storage mode of the tiles, nor on the number of threads, nor on whether the run was resumed.

Brightness, contrast, saturation, hue and the per-channel changes are affine in RGB. Their product, one 3 × 4 matrix per
tile, is computed on the CPU, so together they cost one pass over the pixels. A change of strength 0 costs nothing.
All changes keep the meaning of the label, which only the central square decides.
"""

import functools
import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from histo.config.train import Augmentation
from histo.geometry import COMPETITION, SIDE, Geometry
from histo.networks.dihedral import dihedral

BLOCK = 2048  # tiles whose plans are drawn in one call, at less than half the cost of calls for each batch
CPU_CHUNK = 16  # tiles per chunk on the CPU; three times as fast as all tiles at once, because a chunk stays in cache
ALIGNMENT = 16  # float32 values, 64 bytes: alignment of each field that is sent to the device
DRAWS = 40  # uniform random numbers per tile; a multiple of 4, the number that one step of the generator yields

# Optical density of haematoxylin, eosin and DAB per channel (Ruifrok & Johnston 2001, Anal Quant Cytol Histol 23:291).
_HED = np.array([[0.65, 0.70, 0.29], [0.07, 0.99, 0.11], [0.27, 0.57, 0.78]])
HED = _HED / np.linalg.norm(_HED, axis=1, keepdims=True)  # rows of length 1
_FROM_HED, _TO_HED = HED, np.linalg.inv(HED)

LUMA = np.array([0.299, 0.587, 0.114])
_YIQ = np.array([LUMA, [0.596, -0.274, -0.322], [0.211, -0.523, 0.312]])
_FROM_YIQ = np.linalg.inv(_YIQ)

GEOMETRY = ("shift", "rotation", "zoom", "shear")
COLOURS = ("brightness", "contrast", "saturation", "hue", "channel_scale", "channel_offset")


@dataclass
class Rectangles:
    """Rectangles in tiles: `tile` (int64 [n], index in the batch), `box` (int64 [n, 4]: top, bottom, left, right in
    pixels)."""

    tile: np.ndarray
    box: np.ndarray


@dataclass
class Blends:
    """Tiles to blend with the next tile of the batch: `tile` (int64 [n]), `weight` of the next tile (float32 [n])."""

    tile: np.ndarray
    weight: Tensor


@dataclass
class Plan:
    """Changes of the N tiles of a batch, on the CPU, in the order of application; None: no such change."""

    side: int  # pixels of the result
    views: np.ndarray | None = None  # int [N], see histo.networks.dihedral
    theta: Tensor | None = None  # float32 [N, 2, 3], as for affine_grid; includes the views
    stain: Tensor | None = None  # float32 [N, 3, 4], of the logarithm of RGB
    colour: Tensor | None = None  # float32 [N, 3, 4], of RGB in 0..1
    erase: Rectangles | None = None
    erase_colour: Tensor | None = None  # float32 [n, 3, 1, 1]
    cutmix: Rectangles | None = None
    covers_centre: np.ndarray | None = None  # bool [n], for the rectangles of cutmix
    mixup: Blends | None = None

    def part(self, start: int, stop: int) -> "Plan":
        """The plan of tiles start … stop - 1 of the batch, as a batch of their own."""
        rows = slice(start, stop)
        result = Plan(side=self.side)
        for name in ("views", "theta", "stain", "colour"):
            value = getattr(self, name)
            setattr(result, name, None if value is None else value[rows])
        if self.erase is not None and self.erase_colour is not None:
            chosen = _chosen(self.erase.tile, rows)
            result.erase = Rectangles(self.erase.tile[chosen] - start, self.erase.box[chosen])
            result.erase_colour = self.erase_colour[chosen]
        if self.mixup is not None:
            chosen = _chosen(self.mixup.tile, rows)
            result.mixup = Blends(self.mixup.tile[chosen] - start, self.mixup.weight[chosen])
        if self.cutmix is not None and self.covers_centre is not None:
            chosen = _chosen(self.cutmix.tile, rows)
            result.cutmix = Rectangles(self.cutmix.tile[chosen] - start, self.cutmix.box[chosen])
            result.covers_centre = self.covers_centre[chosen]
        return result

    def to(self, device: torch.device, count: int) -> "Changes":
        """The changes of the `count` tiles of the batch on `device`, sent by one copy from pinned memory."""
        fields: dict[str, np.ndarray] = {}
        for name in ("views", "theta", "stain", "colour"):
            value = getattr(self, name)
            if value is not None:
                fields[name] = np.asarray(value)
        if self.erase is not None and self.erase_colour is not None and len(self.erase.tile):
            fields["erase"] = _dense(self.erase.tile, self.erase.box, count)
            fields["erase_colour"] = _dense(self.erase.tile, self.erase_colour.numpy(), count)
        if self.mixup is not None and len(self.mixup.tile):
            # -1: not mixed. A weight of 0 would change -0.0 to 0.0.
            fields["mixup"] = _dense(self.mixup.tile, self.mixup.weight.numpy(), count, fill=-1)
        if self.cutmix is not None and self.covers_centre is not None and len(self.cutmix.tile):
            fields["cutmix"] = _dense(self.cutmix.tile, self.cutmix.box, count)
            fields["covers_centre"] = _dense(self.cutmix.tile, self.covers_centre, count)
        return Changes(side=self.side, **_send(fields, device))


@dataclass
class Changes:
    """A plan on the device of the tiles: float32 tensors with a row for each of the N tiles of a batch.

    The shapes depend on N only, not on the number of tiles that are erased or mixed, and no change needs a list of
    tiles, so the host never waits for the device. None: no such change.
    """

    side: int
    views: Tensor | None = None  # [N]
    theta: Tensor | None = None  # [N, 2, 3]
    stain: Tensor | None = None  # [N, 3, 4]
    colour: Tensor | None = None  # [N, 3, 4]
    erase: Tensor | None = None  # [N, 4], boxes; empty for tiles that are not erased
    erase_colour: Tensor | None = None  # [N, 3, 1, 1]
    mixup: Tensor | None = None  # [N], weight of the next tile; -1 for tiles that are not mixed
    cutmix: Tensor | None = None  # [N, 4], boxes; empty for tiles that are not changed
    covers_centre: Tensor | None = None  # [N], 1 where the label of the next tile is taken


def _chosen(tile: np.ndarray, rows: slice) -> slice:
    """The part of `tile`, which ascends, that lies in `rows`."""
    first, last = np.searchsorted(tile, (rows.start, rows.stop))
    return slice(int(first), int(last))


def _dense(tile: np.ndarray, values: np.ndarray, count: int, fill: float = 0) -> np.ndarray:
    """float32 [count, …]: `values` [n, …] in the rows `tile`, `fill` in the others."""
    dense = np.full((count, *values.shape[1:]), fill, dtype=np.float32)
    dense[tile] = values
    return dense


def _send(fields: dict[str, np.ndarray], device: torch.device) -> dict[str, Tensor]:
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


def draw(seed: int, epoch: int, start: int, count: int) -> np.ndarray:
    """Uniform random numbers in 0..1, float64 [count, DRAWS], of the tiles at positions start … start + count - 1.

    From Philox, a counter-based generator (Salmon et al. 2011), which can start at any position of an epoch.
    """
    bits = np.random.Philox(key=np.array([seed, epoch], dtype=np.uint64))
    bits.advance(start * DRAWS // 4)
    return np.random.Generator(bits).random((count, DRAWS))


def _between(u: np.ndarray, strength: float) -> np.ndarray:
    """Map uniform numbers `u` in 0..1 to ± strength."""
    return (2 * u - 1) * strength


def _affine(
    u: np.ndarray, side: int, settings: Augmentation, views: np.ndarray | None = None, tile_side: int = SIDE
) -> Tensor:
    """Matrices float32 [N, 2, 3] that map a pixel of the result to a position in the tile of `tile_side` pixels.

    In the units of affine_grid; u: float64 [N, 5]; views: flips and 90° rotations of the result.
    """
    angle = np.radians(_between(u[:, 0], settings.rotation))
    zoom = 1 + _between(u[:, 1], settings.zoom)
    shear = np.tan(np.radians(_between(u[:, 2], settings.shear)))
    cos, sin = np.cos(angle), np.sin(angle)
    rotation = np.stack([np.stack([cos, -sin], -1), np.stack([sin, cos], -1)], 1)
    shearing = np.zeros_like(rotation)
    shearing[:, 0, 0] = shearing[:, 1, 1] = 1
    shearing[:, 0, 1] = shear
    theta = np.empty((len(u), 2, 3))
    theta[:, :, :2] = rotation @ shearing * (side / tile_side / zoom[:, None, None])
    theta[:, :, 2] = _between(u[:, 3:5], settings.shift) * 2 / tile_side
    if views is not None:
        # Views transpose and mirror the result, so they transpose and mirror the positions that are mapped.
        theta[:, :, :2] = np.where(((views & 4) > 0)[:, None, None], theta[:, :, 1::-1], theta[:, :, :2])
        theta[:, :, :2] *= np.stack([np.where(views & 1, -1, 1), np.where(views & 2, -1, 1)], axis=1)[:, None, :]
    return torch.from_numpy(theta.astype(np.float32))


def stain_matrices(factor: np.ndarray, offset: np.ndarray) -> np.ndarray:
    """Stain jitter as affine maps of ln((RGB + 1) / 256), float64 [N, 3, 4].

    factor, offset: float64 [N, 3] for haematoxylin, eosin and DAB; the amount of each stain, in log10 absorbance,
    becomes amount × factor + offset (Tellez et al. 2018, IEEE TMI 37:2126).
    """
    matrix = np.einsum("ij,nj,jk->nki", _TO_HED, factor, _FROM_HED)
    shift = -math.log(10) * (offset @ _FROM_HED)
    return np.concatenate([matrix, shift[:, :, None]], axis=2)


def colour_matrices(u: np.ndarray, settings: Augmentation, mean: np.ndarray, std: np.ndarray) -> np.ndarray:
    """Product of all changes of colour as affine maps of RGB in 0..1, float64 [N, 3, 4]; u: float64 [N, 10].

    mean, std: see `plan`.
    """
    brightness, contrast, saturation = (
        1 + _between(u[:, i, None, None], strength)
        for i, strength in enumerate((settings.brightness, settings.contrast, settings.saturation))
    )
    angle = 2 * np.pi * _between(u[:, 3], settings.hue)
    matrix = brightness * contrast * np.eye(3)
    shift = (1 - contrast[:, 0]) * mean
    matrix = (saturation * np.eye(3) + (1 - saturation) * np.outer(np.ones(3), LUMA)) @ matrix
    shift = saturation[:, 0] * shift + (1 - saturation[:, 0]) * (shift @ LUMA)[:, None]
    if settings.hue:
        cos, sin = np.cos(angle), np.sin(angle)
        rotation = np.zeros((len(u), 3, 3))
        rotation[:, 0, 0] = 1
        rotation[:, 1, 1] = rotation[:, 2, 2] = cos
        rotation[:, 1, 2], rotation[:, 2, 1] = -sin, sin
        rotation = _FROM_YIQ @ rotation @ _YIQ
        matrix, shift = rotation @ matrix, (rotation @ shift[:, :, None])[:, :, 0]
    scale = 1 + _between(u[:, 4:7], settings.channel_scale)
    offset = _between(u[:, 7:10], settings.channel_offset)
    matrix, shift = scale[:, :, None] * matrix, scale * (shift - mean) + mean + std * offset
    return np.concatenate([matrix, shift[:, :, None]], axis=2)


def _beside_centre(u: np.ndarray, side: int, centre: int) -> np.ndarray:
    """Boxes, int64 [n, 4], that do not touch the centre; u: float64 [n, 5].

    Each box lies in the band between the centre and one of the four borders. Its depth is 1/4 to all of the band, its
    length 1/4 to 3/4 of the side.
    """
    band = (side - centre) // 2
    depth = np.ceil(band * (0.25 + 0.75 * u[:, 1])).astype(np.int64)
    length = (side * (0.25 + 0.5 * u[:, 2])).astype(np.int64)
    across = ((band - depth + 1) * u[:, 3]).astype(np.int64)
    along = ((side - length + 1) * u[:, 4]).astype(np.int64)
    border = (4 * u[:, 0]).astype(np.int64)
    across = np.where(border % 2 == 0, across, side - across - depth)
    rows = np.stack([across, across + depth, along, along + length], axis=1)
    return np.where((border < 2)[:, None], rows, rows[:, [2, 3, 0, 1]])


def _over_centre(u: np.ndarray, side: int, centre: int) -> np.ndarray:
    """Boxes, int64 [n, 4], that contain the complete centre; u: float64 [n, 4]."""
    band = (side - centre) // 2
    near = (u[:, [0, 2]] * (band + 1)).astype(np.int64)
    far = side - (u[:, [1, 3]] * (band + 1)).astype(np.int64)
    return np.stack([near[:, 0], far[:, 0], near[:, 1], far[:, 1]], axis=1)


def plan(
    settings: Augmentation,
    *,
    side: int,
    mean: np.ndarray,
    std: np.ndarray,
    seed: int,
    epoch: int,
    start: int,
    count: int,
    geometry: Geometry = COMPETITION,
) -> Plan:
    """Draw the augmentation of the tiles at positions start … start + count - 1 of an epoch.

    side: pixels of the result (center_crop); mean, std: float64 [3], per channel in 0..1, of the training tiles;
    geometry: of the tiles.
    `contrast` and `channel_scale` leave the colour `mean` unchanged; `channel_offset` is in units of `std`.
    """
    u = draw(seed, epoch, start, count)
    result = Plan(side=side)
    views = (8 * u[:, 0]).astype(np.int64) if settings.flips else None
    if any(getattr(settings, name) for name in GEOMETRY):
        result.theta = _affine(u[:, 1:6], side, settings, views, geometry.tile_side)
    else:
        result.views = views
    if settings.stain:
        factor, offset = 1 + _between(u[:, 6:9], settings.stain), _between(u[:, 9:12], settings.stain)
        result.stain = torch.from_numpy(stain_matrices(factor, offset).astype(np.float32))
    if any(getattr(settings, name) for name in COLOURS):
        result.colour = torch.from_numpy(colour_matrices(u[:, 12:22], settings, mean, std).astype(np.float32))
    centre = geometry.centre_side
    has_surroundings = side > centre
    if settings.erase and has_surroundings:
        tile = np.flatnonzero(u[:, 22] < settings.erase)
        result.erase = Rectangles(tile, _beside_centre(u[tile, 23:28], side, centre))
        result.erase_colour = torch.from_numpy(u[tile, 28:31].astype(np.float32))[:, :, None, None]
    # A tile takes part in mixup or in cutmix, never in both; its partner is the next tile of the batch.
    if settings.mixup:
        tile = np.flatnonzero(u[:, 31] < settings.mixup)
        result.mixup = Blends(tile, torch.from_numpy(0.5 * u[tile, 32].astype(np.float32)))
    if settings.cutmix and has_surroundings:
        tile = np.flatnonzero((u[:, 31] >= settings.mixup) & (u[:, 31] < settings.mixup + settings.cutmix))
        over = u[tile, 33] < 0.5
        boxes = _over_centre(u[tile, 34:38], side, centre), _beside_centre(u[tile, 34:39], side, centre)
        box = np.where(over[:, None], *boxes)
        result.cutmix, result.covers_centre = Rectangles(tile, box), over
    return result


class Plans:
    """Plans of the batches of an epoch, drawn for about BLOCK tiles at a time and sliced.

    The blocks begin at fixed steps, so a resumed run computes the same ones.
    """

    def __init__(
        self,
        settings: Augmentation,
        *,
        side: int,
        mean: np.ndarray,
        std: np.ndarray,
        seed: int,
        epoch: int,
        batch_size: int,
        geometry: Geometry = COMPETITION,
    ) -> None:
        """settings to epoch, geometry: see `plan`; batch_size: tiles of each batch."""
        self._draw = functools.partial(
            plan, settings, side=side, mean=mean, std=std, seed=seed, epoch=epoch, geometry=geometry
        )
        self._batch_size, self._steps = batch_size, max(1, BLOCK // batch_size)
        self._block, self._plan = -1, Plan(side=side)

    def batch(self, step: int) -> Plan:
        """The plan of the batch of step `step` (counted from 0) of the epoch."""
        block, position = divmod(step, self._steps)
        size = self._batch_size
        if block != self._block:
            count = self._steps * size
            self._block, self._plan = block, self._draw(start=block * count, count=count)
        return self._plan.part(position * size, (position + 1) * size)


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


def _change_tiles(changes: Changes, tiles: Tensor, part: slice) -> Tensor:
    """Apply the changes of geometry and colour.

    tiles: uint8 [n, 3, S, S], the part `part` of the batch. Returns float32 [n, 3, side, side] in 0..1.
    """
    side = changes.side
    tiles = tiles.to(torch.float32, memory_format=torch.contiguous_format)
    if changes.theta is not None:
        grid = _grid(changes.theta[part], side)
        tiles = functional.grid_sample(tiles, grid, padding_mode="reflection", align_corners=False)
    planes = tiles.flatten(2)
    if changes.stain is not None:
        planes = planes.add_(1).mul_(1 / 256).log_()
        # Back from (RGB + 1) / 256 to RGB in 0..1.
        planes = _map_colours(changes.stain[part], planes)
        planes = planes.exp_().mul_(256 / 255).sub_(1 / 255)
    else:
        planes = planes.mul_(1 / 255)
    if changes.colour is not None:
        planes = _map_colours(changes.colour[part], planes)
    return planes.view(len(tiles), 3, side, side)


def apply(plan: Plan, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Augment a batch on its device.

    images: uint8 [N, S, S, 3]; labels: float32 [N] or [N, classes]. Returns tiles for a network,
    [N, 3, side, side], as uint8 (0..255) if the plan has only views, else as float32 (0..1, may overshoot), and the
    labels, which mixup and cutmix may have changed.
    """
    changes, side = plan.to(images.device, len(images)), plan.side
    if changes.theta is None:
        margin = (images.shape[1] - side) // 2
        images = images[:, margin : margin + side, margin : margin + side]
    if changes.views is not None:
        views = _apply_views if images.device.type == "cpu" else _apply_views_without_lists
        images = views(images, changes.views)
    tiles = images.permute(0, 3, 1, 2)
    if all(change is None for change in (plan.theta, plan.stain, plan.colour, plan.erase, plan.mixup, plan.cutmix)):
        return tiles, labels
    if images.device.type == "cpu":
        changed = torch.empty((len(tiles), 3, side, side))
        for start in range(0, len(tiles), CPU_CHUNK):
            part = slice(start, start + CPU_CHUNK)
            changed[part] = _change_tiles(changes, tiles[part], part)
        tiles = changed
    else:
        tiles = _change_tiles(changes, tiles, slice(None))
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
