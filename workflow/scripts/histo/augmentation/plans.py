"""Plans: the changes of the tiles of a batch, drawn on the CPU."""

import functools
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from histo.augmentation.matrices import affine_matrices, between, colour_matrices, stain_matrices
from histo.config.train import Augmentation
from histo.geometry import COMPETITION, Geometry

BLOCK = 2048  # tiles whose plans are drawn in one call, at less than half the cost of calls for each batch
DRAWS = (40, 16)  # uniform random numbers per tile from each of two sequences; multiples of 4, see `draw`

GEOMETRY = ("shift", "rotation", "zoom", "shear")
COLOURS = ("brightness", "contrast", "saturation", "hue", "channel_scale", "channel_offset")
PER_TILE = ("views", "gamma", "theta", "stain", "colour", "sharpness", "noise", "noise_start")  # with a row per tile


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
    gamma: Tensor | None = None  # float32 [N, 3], exponents of RGB in 0..1; 1: unchanged
    theta: Tensor | None = None  # float32 [N, 2, 3], as for affine_grid; includes the views
    stain: Tensor | None = None  # float32 [N, 3, 4], of the logarithm of RGB
    colour: Tensor | None = None  # float32 [N, 3, 4], of RGB in 0..1
    sharpness: Tensor | None = None  # float32 [N], see `changes.sharpen`; 1: unchanged
    noise: Tensor | None = None  # float32 [N], standard deviation of RGB in 0..1; 0: unchanged
    noise_start: np.ndarray | None = None  # int [N], position of the first value in `changes.noise_table`
    erase: Rectangles | None = None
    erase_colour: Tensor | None = None  # float32 [n, 3, 1, 1]
    cutmix: Rectangles | None = None
    covers_centre: np.ndarray | None = None  # bool [n], for the rectangles of cutmix
    mixup: Blends | None = None

    def part(self, start: int, stop: int) -> "Plan":
        """The plan of tiles start … stop - 1 of the batch, as a batch of their own."""
        rows = slice(start, stop)
        result = Plan(side=self.side)
        for name in PER_TILE:
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


def _chosen(tile: np.ndarray, rows: slice) -> slice:
    """The part of `tile`, which ascends, that lies in `rows`."""
    first, last = np.searchsorted(tile, (rows.start, rows.stop))
    return slice(int(first), int(last))


def draw(seed: int, epoch: int, start: int, count: int) -> np.ndarray:
    """Uniform random numbers in 0..1, float64 [count, sum(DRAWS)], of the tiles at positions start … start + count - 1.

    From Philox, a counter-based generator (Salmon et al. 2011), which can start at any position of an epoch. A step of
    it yields 4 numbers.
    """
    drawn = []
    for sequence, draws in enumerate(DRAWS):
        # 2^62 separates the sequences; histo.training.loader adds 2^63 for the order of the tiles.
        bits = np.random.Philox(key=np.array([seed, (sequence << 62) + epoch], dtype=np.uint64))
        bits.advance(start * draws // 4)
        drawn.append(np.random.Generator(bits).random((count, draws)))
    return np.concatenate(drawn, axis=1)


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


def noise_values(side: int) -> int:
    """Length of the noise of which each tile of `side` pixels takes a part, see histo.augmentation.changes."""
    return max(2**18, 8 * 3 * side**2)


def from_draws(
    u: np.ndarray,
    settings: Augmentation,
    *,
    side: int,
    mean: np.ndarray,
    std: np.ndarray,
    geometry: Geometry = COMPETITION,
) -> Plan:
    """The plan of tiles with these random numbers; u: see `draw`, the rest: see `plan`."""
    result = Plan(side=side)
    views = (8 * u[:, 0]).astype(np.int64) if settings.flips else None
    if any(getattr(settings, name) for name in GEOMETRY):
        result.theta = affine_matrices(u[:, 1:6], side, settings, views, geometry.tile_side)
    else:
        result.views = views
    # Columns from 40 on are of the second sequence.
    chosen = u[:, 49:55, None] < settings.probability
    if settings.stain or settings.stain_scale:
        factor = np.where(chosen[:, 0], 1 + between(u[:, 6:9], settings.stain), 1)
        offset = np.where(chosen[:, 0], between(u[:, 9:12], settings.stain), 0)
        factor *= np.where(chosen[:, 1], 1 + between(u[:, 43:46], settings.stain_scale), 1)
        result.stain = torch.from_numpy(stain_matrices(factor, offset).astype(np.float32))
    if any(getattr(settings, name) for name in COLOURS):
        matrices = colour_matrices(u[:, 12:22], settings, mean, std)
        matrices = np.where(chosen[:, 2, :, None], matrices, np.eye(3, 4))
        result.colour = torch.from_numpy(matrices.astype(np.float32))
    if settings.gamma:
        exponent = np.where(chosen[:, 3], np.exp(between(u[:, 40:43], settings.gamma)), 1)
        result.gamma = torch.from_numpy(exponent.astype(np.float32))
    if settings.sharpness:
        factor = np.where(chosen[:, 4, 0], 1 + between(u[:, 46], settings.sharpness), 1)
        result.sharpness = torch.from_numpy(factor.astype(np.float32))
    if settings.noise:
        deviation = np.where(chosen[:, 5, 0], settings.noise / 255 * u[:, 47], 0)
        result.noise = torch.from_numpy(deviation.astype(np.float32))
        result.noise_start = ((noise_values(side) - 3 * side * side + 1) * u[:, 48]).astype(np.int64)
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
    return from_draws(draw(seed, epoch, start, count), settings, side=side, mean=mean, std=std, geometry=geometry)


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
