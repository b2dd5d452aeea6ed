"""Augmentation of whole batches on their device, with random numbers drawn per tile.

`plan` draws, on the CPU, what happens to each tile; `apply` does it where the tiles are. A tile's draws depend on
(seed, epoch, its place in the epoch's order) and on nothing else, so neither the home of the tiles nor the number of
workers nor a restart changes them.

Colours: brightness, contrast, saturation, hue and the per-channel changes are all affine in RGB, so they are multiplied
to one 3 × 4 matrix per tile on the CPU and cost one pass over the pixels. What has strength 0 costs nothing.
Every change keeps the label's meaning: only the central 32 × 32 pixels decide it.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from histo.networks.dihedral import dihedral
from histo.tiles.geometry import CENTRE, SIDE

AT_ONCE = 16  # tiles changed at once on the CPU: they stay in its cache from step to step, three times as fast as all
DRAWS = 40  # uniform numbers per tile; a multiple of 4, which is what one step of the generator yields

# Optical density of haematoxylin, eosin and DAB per channel (Ruifrok & Johnston 2001, Anal Quant Cytol Histol 23:291),
# rows of length 1.
_HED = np.array([[0.65, 0.70, 0.29], [0.07, 0.99, 0.11], [0.27, 0.57, 0.78]])
HED = _HED / np.linalg.norm(_HED, axis=1, keepdims=True)
_FROM_HED, _TO_HED = HED, np.linalg.inv(HED)

LUMA = np.array([0.299, 0.587, 0.114])
_YIQ = np.array([LUMA, [0.596, -0.274, -0.322], [0.211, -0.523, 0.312]])
_FROM_YIQ = np.linalg.inv(_YIQ)

ROUGH = ("shift", "rotation", "zoom", "shear")
COLOURS = ("brightness", "contrast", "saturation", "hue", "channel_scale", "channel_offset")


@dataclass
class Rectangles:
    """Rectangles to paint: of the tiles `tile` (int64 [n]), `box` (int64 [n, 4]: top, bottom, left, right; pixels)."""

    tile: np.ndarray
    box: np.ndarray


@dataclass
class Blends:
    """Tiles to blend with the next one: `tile` (int64 [n]), `weight` of the next one (float32 [n])."""

    tile: np.ndarray
    weight: Tensor


@dataclass
class Plan:
    """What happens to the N tiles of a batch; None: nothing. Numbers are on the CPU, in the order of application."""

    side: int  # pixels of the result
    views: np.ndarray | None = None  # int [N], see dihedral
    theta: Tensor | None = None  # float32 [N, 2, 3], see affine_grid; then the views are part of it
    stain: Tensor | None = None  # float32 [N, 3, 4], of logarithms of RGB
    colour: Tensor | None = None  # float32 [N, 3, 4], of RGB in 0..1
    erase: Rectangles | None = None
    erase_colour: Tensor | None = None  # float32 [n, 3, 1, 1]
    cutmix: Rectangles | None = None
    whole_centre: np.ndarray | None = None  # bool [n], of the cutmix rectangles: they cover the centre
    mixup: Blends | None = None


def draw(seed: int, epoch: int, start: int, count: int) -> np.ndarray:
    """Uniform numbers in 0..1, float64 [count, DRAWS], of the tiles at places start … start + count - 1 of an epoch.

    Philox, a counter-based generator (Salmon et al. 2011): any place can be had without the ones before.
    """
    bits = np.random.Philox(key=np.array([seed, epoch], dtype=np.uint64))
    bits.advance(start * DRAWS // 4)
    return np.random.Generator(bits).random((count, DRAWS))


def _between(u: np.ndarray, strength: float) -> np.ndarray:
    """Uniform numbers in ± strength."""
    return (2 * u - 1) * strength


def _affine(u: np.ndarray, side: int, s: dict[str, Any], views: np.ndarray | None = None) -> Tensor:
    """Per tile the matrix that takes a pixel of the result to its place in the 96 × 96 tile, in affine_grid's units;
    `views` flip and turn the result."""
    angle = np.radians(_between(u[:, 0], s["rotation"]))
    zoom = 1 + _between(u[:, 1], s["zoom"])
    shear = np.tan(np.radians(_between(u[:, 2], s["shear"])))
    cos, sin = np.cos(angle), np.sin(angle)
    rotation = np.stack([np.stack([cos, -sin], -1), np.stack([sin, cos], -1)], 1)
    slant = np.zeros_like(rotation)
    slant[:, 0, 0] = slant[:, 1, 1] = 1
    slant[:, 0, 1] = shear
    theta = np.empty((len(u), 2, 3))
    theta[:, :, :2] = rotation @ slant * (side / SIDE / zoom[:, None, None])
    theta[:, :, 2] = _between(u[:, 3:5], s["shift"]) * 2 / SIDE
    if views is not None:
        # A place of the turned result comes from the transposed, mirrored place of the result before.
        theta[:, :, :2] = np.where(((views & 4) > 0)[:, None, None], theta[:, :, 1::-1], theta[:, :, :2])
        theta[:, :, :2] *= np.stack([np.where(views & 1, -1, 1), np.where(views & 2, -1, 1)], axis=1)[:, None, :]
    return torch.from_numpy(theta.astype(np.float32))


def stain_matrices(factor: np.ndarray, offset: np.ndarray) -> np.ndarray:
    """Change of stains as an affine map of y = ln((RGB + 1) / 256), float64 [N, 3, 4].

    factor, offset: float64 [N, 3] of haematoxylin, eosin, DAB; the amount of each stain, in log10 absorbance, becomes
    amount × factor + offset (Tellez et al. 2018, IEEE TMI 37:2126).
    """
    matrix = np.einsum("ij,nj,jk->nki", _TO_HED, factor, _FROM_HED)
    shift = -math.log(10) * (offset @ _FROM_HED)
    return np.concatenate([matrix, shift[:, :, None]], axis=2)


def colour_matrices(u: np.ndarray, s: dict[str, Any], mean: np.ndarray, std: np.ndarray) -> np.ndarray:
    """Product of all changes of colour as an affine map of RGB in 0..1, float64 [N, 3, 4]; u: float64 [N, 10]."""
    brightness, contrast, saturation = (
        1 + _between(u[:, i, None, None], s[name]) for i, name in enumerate(("brightness", "contrast", "saturation"))
    )
    turn = 2 * np.pi * _between(u[:, 3], s["hue"])
    matrix = brightness * contrast * np.eye(3)
    shift = (1 - contrast[:, 0]) * mean
    matrix = (saturation * np.eye(3) + (1 - saturation) * np.outer(np.ones(3), LUMA)) @ matrix
    shift = saturation[:, 0] * shift + (1 - saturation[:, 0]) * (shift @ LUMA)[:, None]
    if s["hue"]:
        cos, sin = np.cos(turn), np.sin(turn)
        wheel = np.zeros((len(u), 3, 3))
        wheel[:, 0, 0] = 1
        wheel[:, 1, 1] = wheel[:, 2, 2] = cos
        wheel[:, 1, 2], wheel[:, 2, 1] = -sin, sin
        wheel = _FROM_YIQ @ wheel @ _YIQ
        matrix, shift = wheel @ matrix, (wheel @ shift[:, :, None])[:, :, 0]
    scale = 1 + _between(u[:, 4:7], s["channel_scale"])
    offset = _between(u[:, 7:10], s["channel_offset"])
    matrix, shift = scale[:, :, None] * matrix, scale * (shift - mean) + mean + std * offset
    return np.concatenate([matrix, shift[:, :, None]], axis=2)


def _beside_centre(u: np.ndarray, side: int) -> np.ndarray:
    """Boxes (int64 [n, 4]) that do not touch the centre, each in the band on one of its four sides; u: float64 [n, 5].

    Depth 1/4 to all of the band, length 1/4 to 3/4 of the side.
    """
    band = (side - CENTRE) // 2
    depth = np.ceil(band * (0.25 + 0.75 * u[:, 1])).astype(np.int64)
    length = (side * (0.25 + 0.5 * u[:, 2])).astype(np.int64)
    across = ((band - depth + 1) * u[:, 3]).astype(np.int64)
    along = ((side - length + 1) * u[:, 4]).astype(np.int64)
    where = (4 * u[:, 0]).astype(np.int64)
    across = np.where(where % 2 == 0, across, side - across - depth)
    rows = np.stack([across, across + depth, along, along + length], axis=1)
    return np.where((where < 2)[:, None], rows, rows[:, [2, 3, 0, 1]])


def _over_centre(u: np.ndarray, side: int) -> np.ndarray:
    """Boxes (int64 [n, 4]) that contain the whole centre; u: float64 [n, 4]."""
    band = (side - CENTRE) // 2
    near = (u[:, [0, 2]] * (band + 1)).astype(np.int64)
    far = side - (u[:, [1, 3]] * (band + 1)).astype(np.int64)
    return np.stack([near[:, 0], far[:, 0], near[:, 1], far[:, 1]], axis=1)


def plan(
    settings: dict[str, Any],
    *,
    side: int,
    mean: np.ndarray,
    std: np.ndarray,
    seed: int,
    epoch: int,
    start: int,
    count: int,
) -> Plan:
    """Draw the augmentation of the tiles at places start … start + count - 1 of an epoch.

    settings: the block `augment`; side: pixels of the result (crop); mean, std: float64 [3], per channel in 0..1, of
    the normalisation, in whose units the per-channel changes are stated.
    """
    s, u = settings, draw(seed, epoch, start, count)
    made = Plan(side=side)
    views = (8 * u[:, 0]).astype(np.int64) if s["flips"] else None
    if any(s[name] for name in ROUGH):
        made.theta = _affine(u[:, 1:6], side, s, views)
    else:
        made.views = views
    if s["stain"]:
        factor, offset = 1 + _between(u[:, 6:9], s["stain"]), _between(u[:, 9:12], s["stain"])
        made.stain = torch.from_numpy(stain_matrices(factor, offset).astype(np.float32))
    if any(s[name] for name in COLOURS):
        made.colour = torch.from_numpy(colour_matrices(u[:, 12:22], s, mean, std).astype(np.float32))
    room = side > CENTRE
    if s["erase"] and room:
        chosen = np.flatnonzero(u[:, 22] < s["erase"])
        made.erase = Rectangles(chosen, _beside_centre(u[chosen, 23:28], side))
        made.erase_colour = torch.from_numpy(u[chosen, 28:31].astype(np.float32))[:, :, None, None]
    # A tile is blended or cut, never both; the other tile is the next one of the batch.
    if s["mixup"]:
        chosen = np.flatnonzero(u[:, 31] < s["mixup"])
        made.mixup = Blends(chosen, torch.from_numpy(0.5 * u[chosen, 32].astype(np.float32)))
    if s["cutmix"] and room:
        chosen = np.flatnonzero((u[:, 31] >= s["mixup"]) & (u[:, 31] < s["mixup"] + s["cutmix"]))
        over = u[chosen, 33] < 0.5
        box = np.where(over[:, None], _over_centre(u[chosen, 34:38], side), _beside_centre(u[chosen, 34:39], side))
        made.cutmix, made.whole_centre = Rectangles(chosen, box), over
    return made


def _masks(box: np.ndarray, side: int, device: torch.device) -> Tensor:
    """bool [n, 1, side, side], true inside the boxes."""
    at = np.arange(side)
    rows = (at >= box[:, 0, None]) & (at < box[:, 1, None])
    columns = (at >= box[:, 2, None]) & (at < box[:, 3, None])
    rows, columns = (torch.from_numpy(inside).to(device, non_blocking=True) for inside in (rows, columns))
    return rows[:, None, :, None] & columns[:, None, None, :]


def _turn(images: Tensor, views: np.ndarray) -> Tensor:
    turned = torch.empty_like(images, memory_format=torch.contiguous_format)
    for view in range(8):
        chosen = torch.from_numpy(np.flatnonzero(views == view)).to(images.device, non_blocking=True)
        if len(chosen):
            turned.index_copy_(0, chosen, dihedral(images.index_select(0, chosen), view))
    return turned


def _grid(theta: Tensor, side: int) -> Tensor:
    """affine_grid without its matrix product: sums of rows and columns, several times faster on the CPU."""
    at = (2 * torch.arange(side, device=theta.device, dtype=torch.float32) + 1) / side - 1
    grid = torch.empty((len(theta), side, side, 2), device=theta.device)
    for axis in range(2):
        across, down, shift = theta[:, axis, :, None].unbind(1)
        torch.add((across * at)[:, None, :], (down * at + shift)[:, :, None], out=grid[..., axis])
    return grid


def _map(matrices: Tensor, planes: Tensor) -> Tensor:
    """Affine maps [N, 3, 4] of the colours of [N, 3, pixels]."""
    return torch.baddbmm(matrices[:, :, 3:], matrices[:, :, :3], planes)


def _change(made: Plan, tiles: Tensor, part: slice) -> Tensor:
    """What happens to each tile by itself: uint8 [n, 3, S, S], which are `part` of the batch, to float32
    [n, 3, side, side] in 0..1."""
    device, side = tiles.device, made.side
    tiles = tiles.to(torch.float32, memory_format=torch.contiguous_format)
    if made.theta is not None:
        grid = _grid(made.theta[part].to(device, non_blocking=True), side)
        tiles = functional.grid_sample(tiles, grid, padding_mode="reflection", align_corners=False)
    planes = tiles.flatten(2)
    if made.stain is not None:
        planes = planes.add_(1).mul_(1 / 256).log_()
        # Back from (RGB + 1) / 256 to RGB in 0..1.
        planes = _map(made.stain[part].to(device, non_blocking=True), planes).exp_().mul_(256 / 255).sub_(1 / 255)
    else:
        planes = planes.mul_(1 / 255)
    if made.colour is not None:
        planes = _map(made.colour[part].to(device, non_blocking=True), planes)
    return planes.view(len(tiles), 3, side, side)


def apply(made: Plan, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Augment a batch where it is.

    images: uint8 [N, 96, 96, 3]; labels: float32 [N]. Returns tiles for a network, uint8 (0..255, when nothing but
    flips was asked for) or float32 (0..1, may overshoot) [N, 3, side, side], and the labels, which mixing may have
    changed.
    """
    device, side = images.device, made.side
    if made.theta is None:
        margin = (SIDE - side) // 2
        images = images[:, margin : margin + side, margin : margin + side]
    if made.views is not None:
        images = _turn(images, made.views)
    tiles = images.permute(0, 3, 1, 2)
    steps = (made.theta, made.stain, made.colour, made.erase, made.mixup, made.cutmix)
    if all(step is None for step in steps):
        return tiles, labels
    if device.type == "cpu":
        changed = torch.empty((len(tiles), 3, side, side))
        for start in range(0, len(tiles), AT_ONCE):
            part = slice(start, start + AT_ONCE)
            changed[part] = _change(made, tiles[part], part)
        tiles = changed
    else:
        tiles = _change(made, tiles, slice(None))
    if made.erase is not None and len(made.erase.tile):
        chosen = torch.from_numpy(made.erase.tile).to(device, non_blocking=True)
        paint = made.erase_colour.to(device, non_blocking=True)
        tiles[chosen] = torch.where(_masks(made.erase.box, side, device), paint, tiles[chosen])
    return _mix(made, tiles, labels)


def _mix(made: Plan, tiles: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Mixup (Zhang et al. 2018, arXiv:1710.09412) and CutMix (Yun et al. 2019, arXiv:1905.04899) of chosen tiles with
    the next of the batch, as that was before any mixing."""
    device, changes = tiles.device, []
    if made.mixup is not None and len(made.mixup.tile):
        chosen = torch.from_numpy(made.mixup.tile).to(device, non_blocking=True)
        other, weight = (chosen + 1) % len(tiles), made.mixup.weight.to(device, non_blocking=True)
        blended = torch.lerp(tiles[chosen], tiles[other], weight[:, None, None, None])
        changes.append((chosen, blended, torch.lerp(labels[chosen], labels[other], weight)))
    if made.cutmix is not None and len(made.cutmix.tile):
        chosen = torch.from_numpy(made.cutmix.tile).to(device, non_blocking=True)
        other, over = (chosen + 1) % len(tiles), torch.from_numpy(made.whole_centre).to(device, non_blocking=True)
        pasted = torch.where(_masks(made.cutmix.box, made.side, device), tiles[other], tiles[chosen])
        changes.append((chosen, pasted, torch.where(over, labels[other], labels[chosen])))
    for chosen, changed, changed_labels in changes:
        tiles.index_copy_(0, chosen, changed)
        labels = labels.index_copy(0, chosen, changed_labels)
    return tiles, labels
