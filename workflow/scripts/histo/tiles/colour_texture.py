"""Colour and texture features of a tile, for classical models.

Computed separately for the whole tile and for its central square, which decides the label:

- colour: mean, standard deviation, skewness and five quantiles of red, green, blue and of the densities of haematoxylin
  and eosin;
- texture of the green channel and of the haematoxylin density: the shares of the ten rotation-invariant uniform local
  binary patterns (Ojala et al. 2002, IEEE TPAMI 24:971; radius 1, 8 neighbours on the square grid) and the mean
  absolute gradient at 1, 2 and 4 pixels.

All features are invariant under the eight flips and 90° rotations, up to rounding. Channels and densities have 8 bits,
so that one histogram per channel gives all colour features.
"""

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from histo.geometry import CENTRE
from histo.tiles.stain_normalisation import REFERENCE, absorbance, with_third_stain

REGIONS = ("tile", "centre")
CHANNELS = ("red", "green", "blue", "haematoxylin", "eosin")
TEXTURED = ("green", "haematoxylin")
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
MOMENTS = ("mean", "std", "skew")
PATTERNS = 10
STEPS = (1, 2, 4)  # pixels

_COLOURS = (*MOMENTS, *(f"q{q * 100:02.0f}" for q in QUANTILES))
_TEXTURES = (*(f"pattern{k}" for k in range(PATTERNS)), *(f"gradient{step}" for step in STEPS))
NAMES = tuple(
    f"{region}_{channel}_{statistic}"
    for region in REGIONS
    for channels, statistics in ((CHANNELS, _COLOURS), (TEXTURED, _TEXTURES))
    for channel in channels
    for statistic in statistics
)
SCHEMA = pa.schema([("id", pa.string()), *((name, pa.float32()) for name in NAMES)])

DENSITY = 100  # levels per unit of log10 density; a black pixel has less than 255 levels
BATCH = 16  # tiles processed at a time; they stay in the processor's cache
_FROM_ABSORBANCE = np.linalg.inv(with_third_stain(REFERENCE))[:, :2]


def _pattern_classes() -> npt.NDArray[np.uint8]:
    """Return the class of each of the 256 neighbour codes of `patterns`, uint8 [256].

    A uniform pattern, whose set bits are adjacent, has the number of its set bits (0 to 8); all others have 9.
    """
    bits = (np.arange(256)[:, None] >> np.arange(8)) & 1
    changes = (bits != np.roll(bits, 1, axis=1)).sum(axis=1)
    return np.where(changes <= 2, bits.sum(axis=1), PATTERNS - 1).astype(np.uint8)


_CLASS = _pattern_classes()
_NEIGHBOURS = ((-1, -1), (-1, 0), (-1, 1), (0, 1), (1, 1), (1, 0), (1, -1), (0, -1))  # clockwise: dy, dx
_POWERS = np.arange(256.0)[:, None] ** np.arange(1, 4)


def densities(planes: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Return the densities of haematoxylin and eosin in hundredths, uint8 [2, …].

    planes: red, green and blue, uint8 [3, …]. Stain colours: `histo.tiles.stain_normalisation.REFERENCE`. Negative
    densities become 0.
    """
    flat = absorbance(planes).reshape(3, -1)
    density = (_FROM_ABSORBANCE.T * DENSITY).astype(np.float32) @ flat
    clipped: npt.NDArray[np.float32] = np.clip(density, 0, 255, out=density)
    return clipped.astype(np.uint8).reshape(2, *planes.shape[1:])


def histograms(values: npt.NDArray[np.uint8]) -> npt.NDArray[np.int64]:
    """Return the histogram of each image, int64 [channels, N, 256]; values: uint8 [channels, N, rows, columns]."""
    rows = values.reshape(-1, values.shape[2] * values.shape[3])
    return np.stack([np.bincount(row, minlength=256) for row in rows]).reshape(*values.shape[:2], 256)


def colour(counts: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Return the MOMENTS (skewness 0 where all pixels are equal) and QUANTILES, float64 [channels, N, 8].

    counts: histograms, int64 [channels, N, 256], all of the same number of pixels.
    """
    total = counts[0, 0].sum()
    # Raw moments lose no precision here: sums of integers up to 255³ × 512² are exact in float64.
    mean, square, cube = np.moveaxis(counts.astype(np.float64) @ _POWERS / total, -1, 0)
    variance = square - mean**2
    std = np.sqrt(np.where(variance > 1e-6, variance, 0))
    skew = np.where(std > 0, cube - 3 * mean * square + 2 * mean**3, 0) / np.where(std > 0, std, 1) ** 3
    below = np.cumsum(counts, axis=-1)
    quantiles = [(below < q * total).sum(axis=-1) for q in QUANTILES]
    return np.stack([mean, std, skew, *quantiles], axis=-1)


def patterns(planes: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Return the local binary pattern of each inner pixel: one bit per neighbour, set if it is at least as bright.

    uint8 [channels, N, side, side] → uint8 [channels, N, side - 2, side - 2].
    """
    side = planes.shape[-1]
    flat, edge = planes.reshape(-1), side + 1
    codes = np.zeros(flat.shape, np.uint8)
    # Computed over all images as one line of pixels, which is fast; the wrong codes at the edges are cut off below.
    inside, middle = codes[edge:-edge], flat[edge:-edge]
    for bit, (y, x) in enumerate(_NEIGHBOURS):
        start = edge + y * side + x
        brighter = flat[start : start + len(middle)] >= middle
        inside |= brighter.view(np.uint8) << np.uint8(bit)
    return codes.reshape(planes.shape)[..., 1:-1, 1:-1]


def gradients(planes: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """Return the mean absolute difference of pixels at each distance of STEPS, over both axes.

    uint8 [channels, N, side, side] → float32 [channels, N, 3].
    """
    signed = planes.astype(np.float32)
    means = []
    for step in STEPS:
        pairs = (signed[:, :, step:] - signed[:, :, :-step], signed[..., step:] - signed[..., :-step])
        lines = [np.abs(pair, out=pair).reshape(*planes.shape[:2], -1) for pair in pairs]
        # A product with ones is the fastest sum, and exact: integers below 2²⁴.
        ones = np.ones(lines[0].shape[2], np.float32)
        means.append((lines[0] @ ones + lines[1] @ ones) / (2 * len(ones)))
    return np.stack(means, axis=-1)


def texture(planes: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
    """Return the shares of the pattern classes and the mean absolute gradients.

    uint8 [channels, N, side, side] → float64 [channels, N, 13].
    """
    codes = patterns(planes)
    shares = histograms(codes) @ (_CLASS[:, None] == np.arange(PATTERNS)) / codes[0, 0].size
    return np.concatenate([shares, gradients(planes)], axis=-1)


def features(images: npt.NDArray[np.uint8], centre_side: int = CENTRE) -> npt.NDArray[np.float32]:
    """Return the features NAMES of each tile, float32 [N, len(NAMES)]; images: uint8 [N, side, side, 3].

    centre_side: of the central square, pixels.
    """
    side = images.shape[1]
    centre = slice((side - centre_side) // 2, (side + centre_side) // 2)
    values = np.empty((len(images), len(NAMES)), np.float32)
    for start in range(0, len(images), BATCH):
        batch = images[start : start + BATCH]
        planes = np.ascontiguousarray(np.moveaxis(batch, 3, 0))
        planes = np.concatenate([planes, densities(planes)])
        columns = []
        for region in (planes, np.ascontiguousarray(planes[:, :, centre, centre])):
            textured = region[[CHANNELS.index(name) for name in TEXTURED]]
            columns += [*colour(histograms(region)), *texture(textured)]
        values[start : start + BATCH] = np.concatenate(columns, axis=1)
    return values
