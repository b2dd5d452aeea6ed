"""Matrices of the changes of geometry and colour, from uniform random numbers.

Brightness, contrast, saturation, hue and the per-channel changes are affine in RGB; their product is one 3 × 4 matrix
per tile, so together they cost one pass over the pixels. Changes of stain are affine in absorbance.
"""

import math

import numpy as np
import torch
from torch import Tensor

from histo.config.train import Augmentation
from histo.geometry import SIDE

# Optical density of haematoxylin, eosin and DAB per channel (Ruifrok & Johnston 2001, Anal Quant Cytol Histol 23:291).
_HED = np.array([[0.65, 0.70, 0.29], [0.07, 0.99, 0.11], [0.27, 0.57, 0.78]])
HED = _HED / np.linalg.norm(_HED, axis=1, keepdims=True)  # rows of length 1
_FROM_HED, _TO_HED = HED, np.linalg.inv(HED)

LUMA = np.array([0.299, 0.587, 0.114])
_YIQ = np.array([LUMA, [0.596, -0.274, -0.322], [0.211, -0.523, 0.312]])
_FROM_YIQ = np.linalg.inv(_YIQ)


def between(u: np.ndarray, strength: float) -> np.ndarray:
    """Return uniform numbers `u` in 0..1, mapped to ± strength."""
    return (2 * u - 1) * strength


def affine_matrices(
    u: np.ndarray, side: int, settings: Augmentation, views: np.ndarray | None = None, tile_side: int = SIDE
) -> Tensor:
    """Matrices float32 [N, 2, 3] that map a pixel of the result to a position in the tile of `tile_side` pixels.

    In the units of affine_grid; u: float64 [N, 5]; views: flips and 90° rotations of the result.
    """
    angle = np.radians(between(u[:, 0], settings.rotation))
    zoom = 1 + between(u[:, 1], settings.zoom)
    shear = np.tan(np.radians(between(u[:, 2], settings.shear)))
    cos, sin = np.cos(angle), np.sin(angle)
    rotation = np.stack([np.stack([cos, -sin], -1), np.stack([sin, cos], -1)], 1)
    shearing = np.zeros_like(rotation)
    shearing[:, 0, 0] = shearing[:, 1, 1] = 1
    shearing[:, 0, 1] = shear
    theta = np.empty((len(u), 2, 3))
    theta[:, :, :2] = rotation @ shearing * (side / tile_side / zoom[:, None, None])
    theta[:, :, 2] = between(u[:, 3:5], settings.shift) * 2 / tile_side
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
        1 + between(u[:, i, None, None], strength)
        for i, strength in enumerate((settings.brightness, settings.contrast, settings.saturation))
    )
    angle = 2 * np.pi * between(u[:, 3], settings.hue)
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
    scale = 1 + between(u[:, 4:7], settings.channel_scale)
    offset = between(u[:, 7:10], settings.channel_offset)
    matrix, shift = scale[:, :, None] * matrix, scale * (shift - mean) + mean + std * offset
    return np.concatenate([matrix, shift[:, :, None]], axis=2)
