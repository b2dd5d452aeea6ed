"""Statistics of colour and texture of a tile, for models that are no networks.

Of the whole tile and of its central 32 × 32 pixels, which decide the label, apart:

- colour: mean, standard deviation, skewness and five quantiles of red, green, blue and of the densities of haematoxylin
  and eosin;
- texture of the green channel and of haematoxylin: the shares of the ten rotation-invariant uniform local binary
  patterns (Ojala et al. 2002, IEEE TPAMI 24:971; radius 1, 8 neighbours on the square grid) and the mean absolute
  gradient at 1, 2 and 4 pixels.

All are invariant under flips, and all but nothing changes under quarter turns. Channels and densities have 8 bits, so
that a histogram holds everything about their colour.
"""

import numpy as np
import pyarrow as pa

from histo.tiles.geometry import CENTRE, SIDE
from histo.tiles.stain_normalisation import REFERENCE, absorbance, complete

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
    f"{region}_{channel}_{what}"
    for region in REGIONS
    for channels, all_of in ((CHANNELS, _COLOURS), (TEXTURED, _TEXTURES))
    for channel in channels
    for what in all_of
)
SCHEMA = pa.schema([("id", pa.string()), *((name, pa.float32()) for name in NAMES)])

DENSITY = 100  # levels per unit of log10 density; 255 is more than a black pixel has
AT_ONCE = 16  # tiles worked on at once, so that they stay in the cache
_MIDDLE = slice((SIDE - CENTRE) // 2, (SIDE + CENTRE) // 2)
_FROM_ABSORBANCE = np.linalg.inv(complete(REFERENCE))[:, :2]


def _pattern_classes() -> np.ndarray:
    """Class of each of the 256 patterns of neighbours: the number that are at least as bright (0 to 8) where these
    stand together, else 9."""
    bits = (np.arange(256)[:, None] >> np.arange(8)) & 1
    changes = (bits != np.roll(bits, 1, axis=1)).sum(axis=1)
    return np.where(changes <= 2, bits.sum(axis=1), PATTERNS - 1).astype(np.uint8)


_CLASS = _pattern_classes()
_AROUND = ((-1, -1), (-1, 0), (-1, 1), (0, 1), (1, 1), (1, 0), (1, -1), (0, -1))  # in a circle
_POWERS = np.arange(256.0)[:, None] ** np.arange(1, 4)


def densities(planes: np.ndarray) -> np.ndarray:
    """Densities of haematoxylin and eosin in hundredths, uint8 [2, …]; planes: red, green and blue, uint8 [3, …].

    By the stains of `histo.tiles.stain_normalisation.REFERENCE`; negative ones count as none.
    """
    flat = absorbance(planes).reshape(3, -1)
    found = (_FROM_ABSORBANCE.T * DENSITY).astype(np.float32) @ flat
    return np.clip(found, 0, 255, out=found).astype(np.uint8).reshape(2, *planes.shape[1:])


def histograms(values: np.ndarray) -> np.ndarray:
    """Histogram of each image, int64 [channels, N, 256]; values: uint8 [channels, N, rows, columns]."""
    rows = values.reshape(-1, values.shape[2] * values.shape[3])
    return np.stack([np.bincount(row, minlength=256) for row in rows]).reshape(*values.shape[:2], 256)


def colour(counts: np.ndarray) -> np.ndarray:
    """MOMENTS (skewness 0 where all pixels are equal) and QUANTILES of histograms, float64 [channels, N, 8].

    counts: int64 [channels, N, 256], all of equally many pixels.
    """
    total = counts[0, 0].sum()
    # Sums of whole numbers up to 255³ × 9216 are exact in float64, so that nothing is lost by taking them from 0.
    mean, square, cube = np.moveaxis(counts.astype(np.float64) @ _POWERS / total, -1, 0)
    variance = square - mean**2
    std = np.sqrt(np.where(variance > 1e-6, variance, 0))
    skew = np.where(std > 0, cube - 3 * mean * square + 2 * mean**3, 0) / np.where(std > 0, std, 1) ** 3
    below = np.cumsum(counts, axis=-1)
    quantiles = [(below < q * total).sum(axis=-1) for q in QUANTILES]
    return np.stack([mean, std, skew, *quantiles], axis=-1)


def patterns(planes: np.ndarray) -> np.ndarray:
    """Code of the neighbours of each inner pixel, one bit for each that is at least as bright.

    uint8 [channels, N, side, side] → uint8 [channels, N, side - 2, side - 2].
    """
    side = planes.shape[-1]
    flat, edge = planes.reshape(-1), side + 1
    codes = np.zeros(flat.shape, np.uint8)
    # In one line from the first pixel to the last, which is fast; what lies over an edge is not returned.
    inside, middle = codes[edge:-edge], flat[edge:-edge]
    for bit, (y, x) in enumerate(_AROUND):
        start = edge + y * side + x
        brighter = flat[start : start + len(middle)] >= middle
        inside |= brighter.view(np.uint8) << np.uint8(bit)
    return codes.reshape(planes.shape)[..., 1:-1, 1:-1]


def gradients(planes: np.ndarray) -> np.ndarray:
    """Mean absolute difference of pixels so many STEPS apart, down and across.

    uint8 [channels, N, side, side] → float32 [channels, N, 3].
    """
    signed = planes.astype(np.float32)
    found = []
    for step in STEPS:
        pairs = (signed[:, :, step:] - signed[:, :, :-step], signed[..., step:] - signed[..., :-step])
        lines = [np.abs(pair, out=pair).reshape(*planes.shape[:2], -1) for pair in pairs]
        # A product with ones is the fastest sum, and exact: whole numbers below 2²⁴.
        ones = np.ones(lines[0].shape[2], np.float32)
        found.append(sum(line @ ones for line in lines) / (2 * len(ones)))
    return np.stack(found, axis=-1)


def texture(planes: np.ndarray) -> np.ndarray:
    """Shares of the PATTERNS and mean absolute gradients.

    uint8 [channels, N, side, side] → float64 [channels, N, 13].
    """
    codes = patterns(planes)
    shares = histograms(codes) @ (_CLASS[:, None] == np.arange(PATTERNS)) / codes[0, 0].size
    return np.concatenate([shares, gradients(planes)], axis=-1)


def features(images: np.ndarray) -> np.ndarray:
    """NAMES of each tile, float32 [N, len(NAMES)]; images: uint8 [N, 96, 96, 3]."""
    made = np.empty((len(images), len(NAMES)), np.float32)
    for start in range(0, len(images), AT_ONCE):
        part = images[start : start + AT_ONCE]
        planes = np.ascontiguousarray(np.moveaxis(part, 3, 0))
        planes = np.concatenate([planes, densities(planes)])
        columns = []
        for region in (planes, np.ascontiguousarray(planes[:, :, _MIDDLE, _MIDDLE])):
            textured = region[[CHANNELS.index(name) for name in TEXTURED]]
            columns += [*colour(histograms(region)), *texture(textured)]
        made[start : start + AT_ONCE] = np.concatenate(columns, axis=1)
    return made
